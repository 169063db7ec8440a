//! The network of one cluster: the link bridge, the node namespace, Pod links and LoadBalancer addresses.
//!
//! Everything is made by the `ip` program in batches, because a batch costs one process whatever its length. Every name
//! starts with `ptl-`, setting up is idempotent, and [`cleanup`] removes all that a killed supervisor left.

mod cleanup;
mod command;
mod error;
mod handle;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

pub use cleanup::cleanup;
pub(crate) use cleanup::kill_processes_in;
pub use error::{NetworkError, check_privilege};
pub use handle::NetnsHandle;
pub use portolan_command::CommandError;

use crate::plan::{
    LINK_BRIDGE, LINK_HOST, LINK_LEG, LINK_PREFIX, MAX_SLOTS, POD_GATEWAY, POD_GATEWAY_MAC, Plan,
};

/// Slots of clusters that exist on this machine, by the link ports in the host's namespace.
pub fn used_slots() -> BTreeSet<u8> {
    let Ok(links) = std::fs::read_dir("/sys/class/net") else { return BTreeSet::new() };
    links
        .flatten()
        .filter_map(|link| link.file_name().to_str()?.strip_prefix(LINK_BRIDGE)?.parse().ok())
        .collect()
}

/// The lowest slot that no cluster uses.
pub fn free_slot() -> Result<u8, NetworkError> {
    let used = used_slots();
    (0..MAX_SLOTS).find(|slot| !used.contains(slot)).ok_or(NetworkError::NoSlot)
}

/// The network of a running cluster.
#[derive(Debug, Clone)]
pub struct Network {
    plan: Plan,
    handle: NetnsHandle,
}

/// Makes the link bridge (if it is the first cluster) and the node namespace of `plan`, in which sockets can then be opened.
/// What an earlier, killed run of the same cluster left is removed first. Blocks for some tens of milliseconds.
pub fn setup(plan: &Plan) -> Result<Network, NetworkError> {
    check_privilege()?;
    let lock = cleanup::MachineLock::take()?;
    cleanup::remove(plan.cluster(), &lock)?;
    if used_slots().contains(&plan.slot()) {
        return Err(NetworkError::SlotTaken(plan.slot()));
    }
    let result = make(plan);
    if result.is_err() {
        // Half a network is worse than none; the first error is the one to report.
        let _ = cleanup::remove(plan.cluster(), &lock);
    }
    result
}

fn make(plan: &Plan) -> Result<Network, NetworkError> {
    let netns = plan.node_name();
    let port = plan.link_port();
    let node = plan.node_address();
    if !std::path::Path::new("/sys/class/net").join(LINK_BRIDGE).exists() {
        // Two clusters that start at the same time may both try; the loser finds the bridge made.
        let made = command::ip_batch(&format!("link add {LINK_BRIDGE} type bridge\n"));
        if let Err(error) = made
            && !command::is_exists(&error)
        {
            return Err(error.into());
        }
        let _ = command::ip_batch(&format!("addr add {LINK_HOST}/{LINK_PREFIX} dev {LINK_BRIDGE}\n"));
        command::ip_batch(&format!("link set {LINK_BRIDGE} up\n"))?;
    }
    command::ip_batch(&format!("netns add {netns}\n"))?;
    // The same at every start: neighbours that remember the last one's would otherwise lose us for half a minute.
    let mac = format!("02:70:74:6c:00:{:02x}", plan.slot());
    command::ip_batch(&format!(
        "link add {port} type veth peer name {LINK_LEG} address {mac} netns {netns}\n\
         link set {port} master {LINK_BRIDGE}\n\
         link set {port} up\n"
    ))
    .map_err(|error| {
        if command::is_exists(&error) { NetworkError::SlotTaken(plan.slot()) } else { error.into() }
    })?;

    let handle = NetnsHandle::enter(&netns)?;
    let dns = plan.dns_address();
    handle.ip_batch_blocking(format!(
        "link set lo up\n\
         addr add {dns}/32 dev lo\n\
         addr add {node}/{LINK_PREFIX} dev {LINK_LEG}\n\
         link set {LINK_LEG} up\n\
         route add default via {LINK_HOST}\n"
    ))?;
    handle.write_sysctl_blocking("net/ipv4/ip_forward", "1")?;
    Ok(Network { plan: plan.clone(), handle })
}

impl Network {
    /// The addresses.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Opens sockets inside the node namespace.
    pub fn handle(&self) -> &NetnsHandle {
        &self.handle
    }

    /// Makes a Pod's namespace with one interface `eth0` that has `address`; everything goes through the node namespace,
    /// Pods share no broadcast domain.
    pub async fn add_pod(&self, uid: &str, address: Ipv4Addr) -> Result<(), NetworkError> {
        let netns = self.plan.pod_netns(uid);
        let link = self.plan.pod_link(uid);
        let mac = pod_mac(address);
        let node = self.plan.node_address();
        self.handle
            .ip_batch(format!(
                "netns add {netns}\n\
                 link add {link} address {POD_GATEWAY_MAC} type veth peer name eth0 address {mac} netns {netns}\n\
                 link set {link} up\n\
                 route replace {address}/32 dev {link} scope link src {node}\n\
                 neigh replace {address} lladdr {mac} dev {link} nud permanent\n"
            ))
            .await?;
        self.handle
            .ip_batch_in(
                &netns,
                format!(
                    "link set lo up\n\
                     addr add {address}/32 dev eth0\n\
                     link set eth0 up\n\
                     route add {POD_GATEWAY} dev eth0 scope link\n\
                     route add default via {POD_GATEWAY} dev eth0\n\
                     neigh replace {POD_GATEWAY} lladdr {POD_GATEWAY_MAC} dev eth0 nud permanent\n"
                ),
            )
            .await?;
        Ok(())
    }

    /// Kills what still runs in a Pod's namespace and removes the namespace. Missing parts are no error.
    pub async fn delete_pod(&self, uid: &str) -> Result<(), NetworkError> {
        let netns = self.plan.pod_netns(uid);
        let link = self.plan.pod_link(uid);
        let killed = netns.clone();
        // A namespace lives as long as a process is in it.
        let _ = tokio::task::spawn_blocking(move || kill_processes_in(&killed)).await;
        let mut batch = format!("link del {link}\n");
        if std::path::Path::new("/run/netns").join(&netns).exists() {
            batch.push_str(&format!("netns del {netns}\n"));
        }
        self.handle.ip_batch_forced(batch).await
    }

    /// Makes exactly `addresses` (besides the node's own) local on the link leg, so that the node answers ARP for them.
    pub async fn set_lb_addresses(
        &self,
        have: &BTreeSet<Ipv4Addr>,
        want: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), NetworkError> {
        let mut batch = String::new();
        for address in have.difference(want) {
            batch.push_str(&format!("addr del {address}/32 dev {LINK_LEG}\n"));
        }
        for address in want.difference(have) {
            batch.push_str(&format!("addr replace {address}/32 dev {LINK_LEG}\n"));
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.handle.ip_batch_forced(batch).await
    }

    /// Removes everything that this cluster has on the machine.
    pub fn teardown(&self) -> Result<(), NetworkError> {
        cleanup(self.plan.cluster())
    }
}

/// `0a:58` and the address, as other CNIs do: a capture shows at once which Pod it was.
fn pod_mac(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}
