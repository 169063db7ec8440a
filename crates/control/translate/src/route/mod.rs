//! Route configurations (RDS, and inline for inbound listeners).

mod domains;
mod gateway;
mod http;
mod matches;
mod sidecar;

use crate::{context::Context, pb::*};

/// The route configuration of a name; `None` when the proxy has no listener that would ask for it.
pub(crate) fn configuration(ctx: &Context<'_>, name: &str) -> Option<route::RouteConfiguration> {
    if ctx.node.is_router() { gateway::configuration(ctx, name) } else { sidecar::configuration(ctx, name) }
}

fn route_configuration(name: &str, virtual_hosts: Vec<route::VirtualHost>) -> route::RouteConfiguration {
    route::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        // Routes may arrive before their clusters.
        validate_clusters: boolv(false),
        ..Default::default()
    }
}

fn virtual_host(name: &str, domains: Vec<String>, routes: Vec<route::Route>) -> route::VirtualHost {
    route::VirtualHost {
        name: name.to_owned(),
        domains,
        routes,
        include_request_attempt_count: true,
        ..Default::default()
    }
}

/// A route that takes everything to one cluster.
#[expect(deprecated, reason = "max_grpc_timeout: see route_action")]
fn to_cluster(name: &str, cluster: &str, operation: &str) -> route::Route {
    route::Route {
        name: name.to_owned(),
        r#match: Some(matches::everything()),
        decorator: (!operation.is_empty())
            .then(|| route::Decorator { operation: operation.to_owned(), ..Default::default() }),
        action: Some(route::route::Action::Route(route::RouteAction {
            cluster_specifier: Some(route::route_action::ClusterSpecifier::Cluster(cluster.to_owned())),
            timeout: zero(),
            max_grpc_timeout: zero(),
            ..Default::default()
        })),
        ..Default::default()
    }
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
