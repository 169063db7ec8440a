//! Addresses and names of one embedded cluster on this machine. Pure: everything follows from the cluster's name and slot.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

/// Clusters per machine; each has a slot from 0.
pub const MAX_SLOTS: u8 = 16;
/// The bridge in the host's namespace that joins the clusters.
pub const LINK_BRIDGE: &str = "ptl-link";
/// The host's own address on the link, and the default route of every node namespace.
pub const LINK_HOST: Ipv4Addr = Ipv4Addr::new(172, 31, 240, 1);
/// The link's subnet.
pub const LINK_NETWORK: &str = "172.31.240.0/22";
/// Prefix length of [`LINK_NETWORK`].
pub const LINK_PREFIX: u8 = 22;
/// LoadBalancer addresses per cluster.
pub const LB_POOL_SIZE: u8 = 14;
/// Name of the link's leg inside the node namespace.
pub const LINK_LEG: &str = "link0";
/// Default gateway of a Pod; exists only as a permanent neighbour entry.
pub const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
/// Hardware address of the node's side of every Pod link.
pub const POD_GATEWAY_MAC: &str = "ee:ee:ee:ee:ee:ee";
/// Longest cluster name: namespace names stay readable and below the limit of a path component.
pub const MAX_NAME: usize = 32;
/// Port of the API server on the node address.
pub const API_PORT: u16 = 6443;
/// Name of the cluster's DNS domain.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// A name or slot that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// Bad cluster name.
    #[error(
        "cluster name `{0}`: use 1 to {MAX_NAME} lower-case letters, digits and `-`, starting and ending with a letter or digit"
    )]
    Name(String),
    /// Bad slot.
    #[error("slot {0}: must be below {MAX_SLOTS}")]
    Slot(u8),
}

/// The addresses of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    cluster: String,
    slot: u8,
}

impl Plan {
    /// The plan of cluster `cluster` in slot `slot`.
    pub fn new(cluster: &str, slot: u8) -> Result<Plan, PlanError> {
        let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = cluster.as_bytes();
        let good = !bytes.is_empty()
            && bytes.len() <= MAX_NAME
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
        if !good {
            return Err(PlanError::Name(cluster.to_owned()));
        }
        if slot >= MAX_SLOTS {
            return Err(PlanError::Slot(slot));
        }
        Ok(Plan { cluster: cluster.to_owned(), slot })
    }

    /// The cluster's name.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The cluster's slot.
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// Name of the node namespace, and of the Node object.
    pub fn node_name(&self) -> String {
        node_netns(&self.cluster)
    }

    /// Name of a Pod's namespace.
    pub fn pod_netns(&self, uid: &str) -> String {
        format!("{}-{}", self.node_name(), short_uid(uid))
    }

    /// Name of the node's side of a Pod's link.
    pub fn pod_link(&self, uid: &str) -> String {
        format!("ptl-{}", short_uid(uid))
    }

    /// Name of the host's side of the cluster's link leg. Its existence claims the slot.
    pub fn link_port(&self) -> String {
        format!("{LINK_BRIDGE}{}", self.slot)
    }

    /// The node's address on the link.
    pub fn node_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(172, 31, 241, 10 + self.slot)
    }

    /// Where the API server listens inside the node namespace.
    pub fn api_address(&self) -> SocketAddr {
        SocketAddr::V4(SocketAddrV4::new(self.node_address(), API_PORT))
    }

    /// Addresses for Services of type LoadBalancer.
    pub fn lb_pool(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let first = 16 * self.slot + 1;
        (first..first + LB_POOL_SIZE).map(|last| Ipv4Addr::new(172, 31, 242, last))
    }

    /// Network of the Pods' addresses.
    pub fn pod_cidr(&self) -> String {
        format!("10.{}.0.0/16", 64 + self.slot)
    }

    /// Addresses for Pods, lowest first; the first two stay free.
    pub fn pod_addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let second = 64 + self.slot;
        (2..u16::MAX).map(move |n| {
            let [hi, lo] = n.to_be_bytes();
            Ipv4Addr::new(10, second, hi, lo)
        })
    }

    /// Network of the ClusterIPs.
    pub fn service_cidr(&self) -> String {
        format!("10.{}.0.0/16", 96 + self.slot)
    }

    /// ClusterIP of `default/kubernetes`.
    pub fn kubernetes_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96 + self.slot, 0, 1)
    }

    /// Address of the cluster's DNS server.
    pub fn dns_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 96 + self.slot, 0, 10)
    }
}

/// Name of the node namespace of `cluster`.
pub(crate) fn node_netns(cluster: &str) -> String {
    format!("ptl-{cluster}")
}

/// Whether `netns` is the node namespace or a Pod namespace of `cluster`. Another cluster whose name begins the same is told apart
/// by the form of the suffix.
pub(crate) fn belongs_to(netns: &str, cluster: &str) -> bool {
    let Some(rest) = netns.strip_prefix(&node_netns(cluster)) else { return false };
    rest.is_empty()
        || rest.strip_prefix('-').is_some_and(|uid| {
            uid.len() == SHORT_UID && uid.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
}

const SHORT_UID: usize = 8;

/// The first eight hexadecimal digits of a uid. Collisions are refused by the kernel: the namespace exists already.
fn short_uid(uid: &str) -> String {
    let mut short: String = uid.chars().filter(char::is_ascii_hexdigit).take(SHORT_UID).collect();
    short.make_ascii_lowercase();
    while short.len() < SHORT_UID {
        short.push('0');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let plan = Plan::new("east", 1).unwrap();
        assert_eq!(plan.node_address().to_string(), "172.31.241.11");
        assert_eq!(plan.lb_pool().next().unwrap().to_string(), "172.31.242.17");
        assert_eq!(plan.lb_pool().last().unwrap().to_string(), "172.31.242.30");
        assert_eq!(plan.pod_cidr(), "10.65.0.0/16");
        assert_eq!(plan.pod_addresses().next().unwrap().to_string(), "10.65.0.2");
        assert_eq!(plan.pod_addresses().last().unwrap().to_string(), "10.65.255.254");
        assert_eq!(plan.dns_address().to_string(), "10.97.0.10");
        let last = Plan::new("x", 15).unwrap();
        assert_eq!(last.lb_pool().last().unwrap().to_string(), "172.31.242.254");
        assert!(last.link_port().len() <= 15);
    }

    #[test]
    fn names() {
        for bad in ["", "-a", "a-", "A", "a/b", "a b", &"x".repeat(33)] {
            assert!(Plan::new(bad, 0).is_err(), "{bad}");
        }
        assert_eq!(Plan::new("a", 16), Err(PlanError::Slot(16)));
        let plan = Plan::new("east", 0).unwrap();
        let uid = "1234ABCD-5678-90ab-cdef-000000000000";
        assert_eq!(plan.pod_netns(uid), "ptl-east-1234abcd");
        assert_eq!(plan.pod_link(uid), "ptl-1234abcd");
    }

    #[test]
    fn ownership() {
        for (netns, ours) in [
            ("ptl-east", true),
            ("ptl-east-1234abcd", true),
            ("ptl-east-2", false),
            ("ptl-east-2-1234abcd", false),
            ("ptl-eastern", false),
            ("ptl-east-1234abcg", false),
        ] {
            assert_eq!(belongs_to(netns, "east"), ours, "{netns}");
        }
    }
}
