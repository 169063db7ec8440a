//! Routes of sidecars (docs/reference/xds.md): `<port>`, or `<host>:<port>` where the protocol is sniffed.

use std::sync::Arc;

use portolan_mesh::{Protocol, Service, is_wildcard};
use portolan_names::names::MESH_GATEWAY;
use portolan_xds::names::{self, ClusterName};

use super::{
    base::{route_configuration, to_cluster, virtual_host},
    domains::{self, Taken},
    http, matches,
};
use crate::{context::Context, pb::*};

/// Hosts of VirtualServices that are no service are served on this port only.
const DEFAULT_HTTP_PORT: u16 = 80;

pub(super) fn configuration(ctx: &Context<'_>, name: &str) -> Option<route::RouteConfiguration> {
    let (only, port) = match name.rsplit_once(':') {
        Some((host, port)) => (Some(host), port.parse::<u16>().ok()?),
        None => (None, name.parse::<u16>().ok()?),
    };
    let mut taken = Taken::default();
    let mut hosts = Vec::new();
    for service in services(ctx, only, port) {
        let domains = taken.claim(domains::of_service(&service, port, ctx.node));
        if !domains.is_empty() {
            let name = format!("{}:{port}", service.host);
            hosts.push(virtual_host(&name, domains, service_routes(ctx, &service, port)));
        }
    }
    if only.is_none() {
        hosts.extend(virtual_service_hosts(ctx, port, &mut taken));
    }
    hosts.push(fall_through(ctx));
    Some(route_configuration(name, hosts))
}

/// The services of a route configuration: real hosts before wildcards, each by age.
fn services(ctx: &Context<'_>, only: Option<&str>, port: u16) -> Vec<Arc<Service>> {
    let on_port = |s: &Arc<Service>| {
        s.port(port).is_some_and(|p| match only {
            Some(host) => s.host == host,
            // Sniffed ports with an address have a listener and routes of their own.
            None => {
                p.protocol.is_http() || (p.protocol == Protocol::Auto && s.virtual_addresses().is_empty())
            }
        })
    };
    let mut out: Vec<_> = match only {
        Some(host) => ctx.scope.visible_exact(host).into_iter().filter(on_port).collect(),
        None => ctx.scope.services().values().filter(|s| on_port(s)).cloned().collect(),
    };
    out.sort_by(|a, b| (is_wildcard(&a.host), a.age, &a.host).cmp(&(is_wildcard(&b.host), b.age, &b.host)));
    out
}

fn service_routes(ctx: &Context<'_>, service: &Service, port: u16) -> Vec<route::Route> {
    if let Some(vs) = ctx.scope.virtual_service_for(&service.host) {
        let routes = http::routes(ctx, &vs, MESH_GATEWAY, port);
        if !routes.is_empty() {
            return routes;
        }
    }
    vec![default_route(ctx, service, port)]
}

/// Everything to the service itself, with the default retries.
fn default_route(ctx: &Context<'_>, service: &Service, port: u16) -> route::Route {
    let name = ClusterName::outbound(port, "", &service.host);
    let mut made = to_cluster("default", &name.to_string(), &format!("{}:{port}/*", service.host));
    if let Some(route::route::Action::Route(action)) = &mut made.action {
        action.retry_policy = http::retry_policy(None);
        action.hash_policy = http::hash_policies_of(ctx, &name);
    }
    made
}

/// Hosts of VirtualServices that are no service of the registry, most specific objects first by age.
fn virtual_service_hosts(ctx: &Context<'_>, port: u16, taken: &mut Taken) -> Vec<route::VirtualHost> {
    if port != DEFAULT_HTTP_PORT {
        return Vec::new();
    }
    let mut out = Vec::new();
    for vs in ctx.scope.virtual_services_of(MESH_GATEWAY) {
        for host in vs.spec.hosts.iter().filter(|h| *h != "*" && ctx.scope.visible_exact(h).is_none()) {
            // A wildcard over services holds for those services; alone it would also take hosts of outside.
            if is_wildcard(host) && ctx.scope.any_host_matches(host) {
                continue;
            }
            let routes = http::routes(ctx, &vs, MESH_GATEWAY, port);
            let domains = taken.claim(domains::with_port(host, port));
            if !routes.is_empty() && !domains.is_empty() {
                out.push(virtual_host(&format!("{host}:{port}"), domains, routes));
            }
        }
    }
    out
}

/// What happens to hosts that nobody knows.
fn fall_through(ctx: &Context<'_>) -> route::VirtualHost {
    let all = vec!["*".to_owned()];
    if ctx.scope.allow_any() {
        return virtual_host("allow_any", all, vec![to_cluster("allow_any", names::PASSTHROUGH, "")]);
    }
    let refuse = route::Route {
        name: "block_all".to_owned(),
        r#match: Some(matches::everything()),
        action: Some(route::route::Action::DirectResponse(route::DirectResponseAction {
            status: 502,
            ..Default::default()
        })),
        ..Default::default()
    };
    virtual_host("block_all", all, vec![refuse])
}
