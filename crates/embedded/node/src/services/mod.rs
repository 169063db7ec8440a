//! kube-proxy's place: ClusterIPs and LoadBalancer addresses of the node namespace, as one nftables table.
//!
//! The table is computed from all Services and EndpointSlices and replaced in one transaction, so that
//! no connection ever meets half a change.

mod lb;
mod table;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use kube::Client;

use crate::mirror::Mirror;
use crate::network::Network;

/// A failed write is tried again after this time, when no change comes first.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the table up to date until the mirror ends.
pub(crate) async fn run(client: Client, network: Network, mut mirror: Mirror) {
    mirror.ready().await;
    let mut loaded = String::new();
    let mut addresses: BTreeSet<Ipv4Addr> = BTreeSet::new();
    loop {
        let services = mirror.services.state();
        let slices = mirror.slices.state();
        let assigned = lb::assign(network.plan(), &services);
        let mut failed = false;

        let rules = table::render(
            &table::compile(network.plan(), &services, &slices, &assigned.addresses),
            network.plan(),
        );
        if rules != loaded {
            match network.handle().nft(rules.clone()).await {
                Ok(()) => loaded = rules,
                Err(error) => {
                    failed = true;
                    tracing::error!(%error, "service rules not loaded");
                }
            }
        }
        let want: BTreeSet<Ipv4Addr> = assigned.addresses.values().copied().collect();
        if want != addresses {
            match network.set_lb_addresses(&addresses, &want).await {
                Ok(()) => addresses = want,
                Err(error) => {
                    failed = true;
                    tracing::error!(%error, "LoadBalancer addresses not set");
                }
            }
        }
        // Status last: who reads an address there can use it.
        failed |= !lb::publish(&client, &assigned).await;

        if failed {
            tokio::select! {
                more = mirror.changed() => if !more { return },
                () = tokio::time::sleep(RETRY) => {}
            }
        } else if !mirror.changed().await {
            return;
        }
    }
}
