//! Watches over the hosts of all clusters: runs their outlier detection and gives the workers balancers for the health
//! that results from it. Runs on the housekeeping thread.

use std::time::Duration;

use portolan_balance::Moment;
use tokio_util::sync::CancellationToken;

use crate::store::ConfigStore;
use crate::upstream::environment::now;
use crate::upstream::outlier;

/// Shortest pause between two rounds, so that hosts that fail all the time do not keep a core busy.
const MIN_PAUSE: Duration = Duration::from_millis(2);
/// Longest pause, for what no event tells of.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Runs until `stop` is cancelled.
pub(super) async fn watch(store: ConfigStore, stop: CancellationToken) {
    let mut changes = store.snapshots();
    let watcher = store.watcher();
    loop {
        let clusters = store.active_clusters();
        let mut changed = false;
        let mut due = Moment::NEVER;
        for cluster in &clusters {
            outlier::judge(cluster);
            // Also one that was put together while another decision was being made.
            changed |= cluster.is_stale();
            due = due.min(cluster.shared.detector.lock().due());
        }
        drop(clusters);
        if changed {
            store.rebalance();
        }
        tokio::time::sleep(MIN_PAUSE).await;
        let pause = due.since(now()).min(MAX_PAUSE);
        tokio::select! {
            () = stop.cancelled() => return,
            () = watcher.notified() => {}
            result = changes.changed() => if result.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portolan_envoy_api::pb::google::protobuf;
    use prost::Message as _;

    use super::*;
    use crate::pb::{Struct, cluster, core, endpoint};
    use crate::store::{ConfigUpdate, ResourceKind, Shared};
    use crate::telemetry::peer::LocalNode;
    use crate::upstream::pick::LbContext;
    use crate::upstream::{Cluster, WorkerCluster, outlier::Outcome};

    /// A cluster of this many hosts that ejects each at its first failure, half of them at most.
    fn fragile(hosts: u32, lb_policy: cluster::cluster::LbPolicy) -> ConfigStore {
        let store = ConfigStore::new(Arc::new(Shared::new(
            1,
            LocalNode::new("", &Struct::default()),
            Duration::from_secs(1),
            u64::MAX,
            crate::telemetry::spans::TracingNode::default(),
        )));
        let endpoints = (1..=hosts).map(|port| {
            let address = core::address::Address::SocketAddress(core::SocketAddress {
                address: "10.0.0.1".to_owned(),
                port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port)),
                ..Default::default()
            });
            let endpoint = endpoint::Endpoint {
                address: Some(core::Address { address: Some(address) }),
                ..Default::default()
            };
            endpoint::LbEndpoint {
                host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
                ..Default::default()
            }
        });
        let group = endpoint::LocalityLbEndpoints { lb_endpoints: endpoints.collect(), ..Default::default() };
        let u32v = |value| Some(protobuf::UInt32Value { value });
        let message = cluster::Cluster {
            name: "c".to_owned(),
            lb_policy: lb_policy as i32,
            load_assignment: Some(endpoint::ClusterLoadAssignment {
                endpoints: vec![group],
                ..Default::default()
            }),
            outlier_detection: Some(cluster::OutlierDetection {
                consecutive_5xx: u32v(1),
                max_ejection_percent: u32v(50),
                ..Default::default()
            }),
            ..Default::default()
        };
        apply(&store, &message);
        store
    }

    fn apply(store: &ConfigStore, message: &cluster::Cluster) {
        let update = ConfigUpdate::new(ResourceKind::Cluster).upsert("c", "", message.encode_to_vec());
        store.apply(update).unwrap();
    }

    fn active(store: &ConfigStore) -> Arc<Cluster> {
        store.active_clusters().remove(0)
    }

    /// The ports that a worker picks for many hashes.
    fn picks(cluster: Arc<Cluster>) -> std::collections::BTreeSet<String> {
        let worker = WorkerCluster::new(0, cluster);
        (0..200u64)
            .map(|at| {
                let hash = Some(portolan_balance::hash::xx_hash(&at.to_le_bytes()));
                worker.pick(&LbContext { hash, ..LbContext::default() }).unwrap().name.to_string()
            })
            .collect()
    }

    fn fail(cluster: &Cluster, at: usize) -> String {
        let host = cluster.hosts.iter().nth(at).unwrap();
        outlier::report(cluster, host, Outcome::Status(503));
        host.name.to_string()
    }

    #[tokio::test]
    async fn a_failure_brings_a_balancer_without_the_host() {
        for policy in [cluster::cluster::LbPolicy::RoundRobin, cluster::cluster::LbPolicy::Maglev] {
            let store = fragile(4, policy);
            let before = active(&store);
            let watch = tokio::spawn(super::watch(store.clone(), CancellationToken::new()));
            let mut snapshots = store.snapshots();
            let bad = fail(&before, 1);
            while Arc::ptr_eq(&snapshots.borrow_and_update().clusters["c"], &before) {
                snapshots.changed().await.unwrap();
            }
            let after = active(&store);
            let seen = picks(after.clone());
            assert!(seen.len() == 3 && !seen.contains(&bad), "{policy:?}: {seen:?}");
            assert!(Arc::ptr_eq(&before.hosts, &after.hosts));
            watch.abort();
        }
    }

    /// A configuration that is put together while an ejection is decided does not bring the host back.
    #[tokio::test]
    async fn a_new_configuration_does_not_forget_an_ejection() {
        let store = fragile(4, cluster::cluster::LbPolicy::RoundRobin);
        let old = active(&store);
        let bad = fail(&old, 0);
        outlier::judge(&old);
        assert!(old.is_stale());
        let next = cluster::Cluster::decode(&*message(&store)).unwrap();
        apply(
            &store,
            &cluster::Cluster { connect_timeout: Some(protobuf::Duration { seconds: 9, nanos: 0 }), ..next },
        );
        assert!(!Arc::ptr_eq(&old.config, &active(&store).config));
        assert!(!picks(active(&store)).contains(&bad));
    }

    fn message(store: &ConfigStore) -> Vec<u8> {
        store.dump().into_iter().find(|entry| entry.name == "c").unwrap().body.to_vec()
    }

    #[tokio::test]
    async fn without_outlier_detection_an_ejected_host_returns() {
        let store = fragile(4, cluster::cluster::LbPolicy::RoundRobin);
        let bad = fail(&active(&store), 0);
        outlier::judge(&active(&store));
        store.rebalance();
        assert!(!picks(active(&store)).contains(&bad));
        let next = cluster::Cluster::decode(&*message(&store)).unwrap();
        apply(&store, &cluster::Cluster { outlier_detection: None, ..next });
        outlier::judge(&active(&store));
        store.rebalance();
        assert!(picks(active(&store)).contains(&bad));
    }
}
