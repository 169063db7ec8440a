//! Clusters for the tests of the rooms above.

use std::collections::HashMap;
use std::os::unix::net::UnixListener;
use std::rc::Rc;
use std::sync::Arc;

use super::config::ClusterConfig;
use super::environment::now;
use super::{Cluster, ClusterShared, Host, WorkerCluster};
use crate::pb::{cluster, core, endpoint};

/// A host that accepts connections on a path, and a cluster of it alone.
pub(crate) struct Backend {
    pub(crate) socket: UnixListener,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) own: Rc<WorkerCluster>,
    pub(crate) host: Arc<Host>,
    _directory: tempfile::TempDir,
}

impl Backend {
    pub(crate) fn new(change: impl FnOnce(&mut cluster::Cluster)) -> Backend {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let socket = UnixListener::bind(&path).unwrap();
        let pipe = core::Pipe { path: path.to_str().unwrap().into(), mode: 0 };
        let address = core::Address { address: Some(core::address::Address::Pipe(pipe)) };
        let endpoint = endpoint::Endpoint { address: Some(address), ..Default::default() };
        let endpoint = endpoint::LbEndpoint {
            host_identifier: Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
            ..Default::default()
        };
        let assignment = endpoint::ClusterLoadAssignment {
            cluster_name: "backend".into(),
            endpoints: vec![endpoint::LocalityLbEndpoints {
                lb_endpoints: vec![endpoint],
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut message = cluster::Cluster {
            name: "backend".into(),
            load_assignment: Some(assignment.clone()),
            ..Default::default()
        };
        change(&mut message);
        let config = Arc::new(ClusterConfig::compile(&message).unwrap());
        let hosts = Arc::new(config.hosts(&assignment, None, &HashMap::new(), now()).unwrap());
        let host = hosts.iter().next().unwrap().clone();
        let shared = Arc::new(ClusterShared::new(1, Arc::default()));
        let cluster = Arc::new(Cluster::new(config, hosts, shared));
        let own = Rc::new(WorkerCluster::new(0, cluster.clone()));
        Backend { socket, cluster, own, host, _directory: directory }
    }
}

/// Circuit breakers of the default priority.
pub(crate) fn breakers(
    change: impl FnOnce(&mut cluster::circuit_breakers::Thresholds),
) -> cluster::CircuitBreakers {
    let mut thresholds = cluster::circuit_breakers::Thresholds::default();
    change(&mut thresholds);
    cluster::CircuitBreakers { thresholds: vec![thresholds], ..Default::default() }
}
