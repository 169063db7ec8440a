//! Route configurations (RDS, and inline for inbound listeners).

mod base;
mod domains;
mod gateway;
mod http;
mod matches;
mod sidecar;

use base::{route_configuration, to_cluster, virtual_host};

use crate::{context::Context, pb::*};

/// The route configuration of a name; `None` when the proxy has no listener that would ask for it.
pub(crate) fn configuration(ctx: &Context<'_>, name: &str) -> Option<route::RouteConfiguration> {
    if ctx.node.is_router() { gateway::configuration(ctx, name) } else { sidecar::configuration(ctx, name) }
}

/// The inline routes of a workload port.
pub(crate) fn inbound(cluster: &str, port: u16, operation: &str) -> route::RouteConfiguration {
    let host = virtual_host(
        &format!("inbound|http|{port}"),
        vec!["*".to_owned()],
        vec![to_cluster("default", cluster, operation)],
    );
    route_configuration(cluster, vec![host])
}
