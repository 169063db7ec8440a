//! Routes of gateways: `http.<port>` and `https.<port>.<port name>.<gateway>.<namespace>`.

use std::collections::BTreeMap;

use portolan_mesh::{GatewayServer, host_matches, host_specificity};

use super::{
    base::{route_configuration, virtual_host},
    domains::{self, Taken},
    http, matches,
};
use crate::{
    context::Context,
    gateway_port::gateway_ports,
    naming::{RouteKind, route_kind},
    pb::*,
};

pub(crate) fn configuration(ctx: &Context<'_>, name: &str) -> Option<route::RouteConfiguration> {
    let ports = gateway_ports(ctx);
    let mut number = None;
    let mut servers: Vec<&GatewayServer> = Vec::new();
    for port in &ports {
        for server in &port.servers {
            let mine = match route_kind(server) {
                RouteKind::Http(n) | RouteKind::Https(n) => n == name,
                RouteKind::None => false,
            };
            if mine {
                number = Some(port.number);
                servers.push(server);
            }
        }
    }
    let port = number?;
    let mut by_host: BTreeMap<String, Vec<route::Route>> = BTreeMap::new();
    let mut redirects: Vec<&str> = Vec::new();
    for server in &servers {
        if server.server.tls.as_ref().is_some_and(|t| t.https_redirect) {
            redirects.extend(server.hosts.iter().map(|h| h.host.as_str()));
        }
        let gateway = server.gateway.to_string();
        for vs in ctx.scope.virtual_services_of(&gateway) {
            let hosts = server.bound_hosts(&vs.meta.key.namespace, &vs.spec.hosts);
            if hosts.is_empty() {
                continue;
            }
            // All VirtualServices of a host on a gateway are put together, oldest first
            // (Istio 1.9 reference, Virtual Service).
            let routes = http::routes(ctx, &vs, &gateway, port);
            for host in hosts {
                let list = by_host.entry(host).or_default();
                let ends = list.last().and_then(|r| r.r#match.as_ref()).is_some_and(matches::is_catch_all);
                if !ends {
                    list.extend(routes.iter().cloned());
                }
            }
        }
    }
    // A host that only redirects needs no VirtualService.
    for host in &redirects {
        by_host.entry((*host).to_owned()).or_default();
    }
    let mut hosts: Vec<(String, Vec<route::Route>)> = by_host.into_iter().collect();
    hosts.sort_by(|a, b| host_specificity(&a.0, &b.0));
    let mut taken = Taken::default();
    let mut virtual_hosts: Vec<route::VirtualHost> = hosts
        .into_iter()
        .filter_map(|(host, routes)| {
            let domains = taken.claim(domains::with_port(&host, port));
            let redirects = redirects.iter().any(|r| host_matches(r, &host));
            if domains.is_empty() || (routes.is_empty() && !redirects) {
                return None;
            }
            let mut made = virtual_host(&format!("{host}:{port}"), domains, routes);
            if redirects {
                made.require_tls = route::virtual_host::TlsRequirementType::All as i32;
            }
            Some(made)
        })
        .collect();
    if virtual_hosts.is_empty() {
        // Known port without routes: 404, as Istio's blackhole host.
        virtual_hosts.push(virtual_host(&format!("blackhole:{port}"), vec!["*".to_owned()], Vec::new()));
    }
    Some(route_configuration(name, virtual_hosts))
}
