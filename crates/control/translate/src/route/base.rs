//! What the builders of routes have in common.

use super::matches;
use crate::pb::*;

pub(super) fn route_configuration(
    name: &str,
    virtual_hosts: Vec<route::VirtualHost>,
) -> route::RouteConfiguration {
    route::RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts,
        // Routes may arrive before their clusters.
        validate_clusters: boolv(false),
        ..Default::default()
    }
}

pub(super) fn virtual_host(
    name: &str,
    domains: Vec<String>,
    routes: Vec<route::Route>,
) -> route::VirtualHost {
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
pub(super) fn to_cluster(name: &str, cluster: &str, operation: &str) -> route::Route {
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
