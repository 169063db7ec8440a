//! Route configurations (RDS, and inline for inbound listeners).

mod base;
mod domains;
mod gateway;
mod http;
mod matches;
mod owners;
mod sidecar;

pub(crate) use gateway::configuration as gateway_configuration;
pub(crate) use owners::{hosts_of, own_hosts};
pub(crate) use sidecar::{
    configuration as sidecar_configuration, fall_through, host as sidecar_host, hosts_apart,
};

use base::{route_configuration, to_cluster, virtual_host};

use crate::pb::*;

/// The inline routes of a workload port.
pub(crate) fn inbound(cluster: &str, port: u16, operation: &str) -> route::RouteConfiguration {
    let host = virtual_host(
        &format!("inbound|http|{port}"),
        vec!["*".to_owned()],
        vec![to_cluster("default", cluster, operation)],
    );
    route_configuration(cluster, vec![host])
}
