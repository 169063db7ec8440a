//! Listeners of gateways (Istio 1.9 reference, Gateway; docs/reference/federation.md).

use std::sync::Arc;

use portolan_mesh::{GatewayServer, ResolvedVirtualService};
use portolan_resources::networking::{RouteDestination, ServerTlsMode, ServerTlsSettings};
use portolan_xds::names::{self, ClusterName};

use super::{
    base::{base, tls_inspector},
    chains::without_duplicates,
};
use crate::{
    authz::{self, Authorization},
    context::Context,
    filters::{Routes, Side, connection_manager},
    gateway_port::{GatewayPort, gateway_ports},
    naming::{RouteKind, route_kind},
    pb::*,
    tcp, tls,
};

/// Names of all route configurations of a gateway.
pub(crate) fn route_names(ctx: &Context<'_>) -> Vec<String> {
    let mut names: Vec<String> = gateway_ports(ctx)
        .iter()
        .flat_map(|p| &p.servers)
        .filter_map(|s| match route_kind(s) {
            RouteKind::Http(name) | RouteKind::Https(name) => Some(name),
            RouteKind::None => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

pub(crate) fn listeners(ctx: &Context<'_>) -> Vec<listener::Listener> {
    let authorization = authz::of_proxy(ctx);
    gateway_ports(ctx).iter().filter_map(|port| one(ctx, port, &authorization)).collect()
}

fn one(ctx: &Context<'_>, port: &GatewayPort, authorization: &Authorization) -> Option<listener::Listener> {
    let name = format!("{}_{}", port.bind, port.target);
    let mut made = base(ctx, &name, &port.bind, port.target, core::TrafficDirection::Outbound);
    let manager = |routes: String| {
        let prefix = format!("outbound_{name}");
        connection_manager(ctx, Side::Gateway, &prefix, Routes::Named(routes), authorization)
    };
    let mut chains = Vec::new();
    let mut inspects_tls = false;
    if port.plain_http {
        let filters = vec![manager(format!("http.{}", port.number))];
        chains.push(listener::FilterChain { filters, ..Default::default() });
    } else {
        for server in &port.servers {
            if let RouteKind::Https(routes) = route_kind(server) {
                let Some(settings) = &server.server.tls else { continue };
                let Some(socket) = tls::gateway_server(ctx, settings, true) else { continue };
                inspects_tls = true;
                chains.push(listener::FilterChain {
                    filter_chain_match: sni_match(server_names(server)),
                    filters: vec![manager(routes)],
                    transport_socket: Some(socket),
                    ..Default::default()
                });
                continue;
            }
            let opaque = match &server.server.tls {
                Some(settings) => tls_chains(ctx, server, settings, authorization),
                None => tcp_chains(ctx, server, authorization),
            };
            inspects_tls |= server.server.tls.is_some();
            chains.extend(opaque);
        }
    }
    if chains.is_empty() {
        return None;
    }
    made.filter_chains = without_duplicates(chains);
    if inspects_tls {
        made.listener_filters.push(tls_inspector());
    }
    Some(made)
}

/// Hosts of a server as SNI; empty means any.
fn server_names(server: &GatewayServer) -> Vec<String> {
    let names: Vec<String> = server.hosts.iter().map(|h| h.host.clone()).collect();
    if names.iter().any(|n| n == "*") { Vec::new() } else { names }
}

fn sni_match(server_names: Vec<String>) -> Option<listener::FilterChainMatch> {
    (!server_names.is_empty()).then(|| listener::FilterChainMatch { server_names, ..Default::default() })
}

/// VirtualServices bound to a server, oldest first.
fn bound<'a>(
    ctx: &Context<'_>,
    server: &'a GatewayServer,
    gateway: &str,
) -> impl Iterator<Item = (Arc<ResolvedVirtualService>, Vec<String>)> + use<'a> {
    ctx.scope.virtual_services_of(gateway).into_iter().filter_map(move |vs| {
        let hosts = server.bound_hosts(&vs.meta.key.namespace, &vs.spec.hosts);
        (!hosts.is_empty()).then_some((vs, hosts))
    })
}

fn with_authorization(
    authorization: &Authorization,
    filters: Vec<listener::Filter>,
) -> Vec<listener::Filter> {
    authorization.network.iter().cloned().chain(filters).collect()
}

/// Opaque TCP.
fn tcp_chains(
    ctx: &Context<'_>,
    server: &GatewayServer,
    authorization: &Authorization,
) -> Vec<listener::FilterChain> {
    let gateway = server.gateway.to_string();
    bound(ctx, server, &gateway)
        .flat_map(|(vs, _)| tcp::tcp_rule_chains(ctx, &vs, &gateway, server.port))
        .map(|mut chain| {
            chain.filters = with_authorization(authorization, chain.filters);
            chain
        })
        .collect()
}

/// TLS that is passed on, or terminated with opaque TCP inside.
fn tls_chains(
    ctx: &Context<'_>,
    server: &GatewayServer,
    settings: &ServerTlsSettings,
    authorization: &Authorization,
) -> Vec<listener::FilterChain> {
    let gateway = server.gateway.to_string();
    match settings.mode.unwrap_or_default() {
        ServerTlsMode::AutoPassthrough => {
            let mut filters =
                vec![network_filter("envoy.filters.network.sni_cluster", any(&sni_cluster::SniCluster {}))];
            filters.extend(tcp::to_cluster(ctx, names::BLACK_HOLE, names::BLACK_HOLE));
            vec![listener::FilterChain {
                filter_chain_match: sni_match(server_names(server)),
                filters: with_authorization(authorization, filters),
                ..Default::default()
            }]
        }
        ServerTlsMode::Passthrough => bound(ctx, server, &gateway)
            .flat_map(|(vs, hosts)| {
                let tls_rules = tcp::tls_rule_chains(ctx, &vs, &gateway, server.port);
                let tcp_rules = tcp::tcp_rule_chains(ctx, &vs, &gateway, server.port);
                tls_rules.into_iter().chain(tcp_rules).map(move |mut chain| {
                    let matches = chain.filter_chain_match.get_or_insert_with(Default::default);
                    if matches.server_names.is_empty() {
                        matches.server_names = hosts.iter().filter(|h| *h != "*").cloned().collect();
                    }
                    chain
                })
            })
            .map(|mut chain| {
                chain.filters = with_authorization(authorization, chain.filters);
                chain
            })
            .collect(),
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::IstioMutual => {
            terminated(ctx, server, settings, authorization, &gateway)
        }
    }
}

/// Chains of a terminating server. The oldest VirtualService has the server's hosts; another one only the hosts that are
/// its own. Where a destination names no port, the port in the SNI chooses it (`outbound_.P_._.host`), so that services
/// with several ports work across federation.
fn terminated(
    ctx: &Context<'_>,
    server: &GatewayServer,
    settings: &ServerTlsSettings,
    authorization: &Authorization,
    gateway: &str,
) -> Vec<listener::FilterChain> {
    let Some(socket) = tls::gateway_server(ctx, settings, false) else { return Vec::new() };
    let chain = |server_names: Vec<String>, filters: Vec<listener::Filter>| listener::FilterChain {
        filter_chain_match: sni_match(server_names),
        filters: with_authorization(authorization, filters),
        transport_socket: Some(socket.clone()),
        ..Default::default()
    };
    let mut by_port = Vec::new();
    let mut by_host = Vec::new();
    let mut by_server = Vec::new();
    for (vs, hosts) in bound(ctx, server, gateway) {
        let rule = vs.spec.tcp.iter().find(|r| {
            r.match_.is_empty() || r.match_.iter().any(|m| tcp::l4_applies(ctx, m, gateway, server.port))
        });
        let Some(rule) = rule else { continue };
        for (port, routes) in per_port(ctx, &rule.route) {
            let Some(filters) = tcp::to_destinations(ctx, &routes, port) else { continue };
            let named = hosts.iter().filter(|h| !h.starts_with('*'));
            let sni = named.map(|h| ClusterName::outbound(port, "", h).sni()).collect::<Vec<_>>();
            if !sni.is_empty() {
                by_port.push(chain(sni, filters));
            }
        }
        // Without a port in the SNI there must be one that the destination has: better no chain than one that leads to
        // a cluster that does not exist.
        if !tcp::ports_exist(ctx, &rule.route, server.port) {
            continue;
        }
        if let Some(filters) = tcp::to_destinations(ctx, &rule.route, server.port) {
            if !hosts.iter().any(|h| h == "*") {
                by_host.push(chain(hosts, filters.clone()));
            }
            by_server.push(chain(server_names(server), filters));
        }
    }
    by_port.into_iter().chain(by_host).chain(by_server).collect()
}

/// The destinations of a rule with each port of their service, when none of them names a port.
fn per_port(ctx: &Context<'_>, routes: &[RouteDestination]) -> Vec<(u16, Vec<RouteDestination>)> {
    let explicit = routes.iter().filter_map(|r| r.destination.as_ref()).any(|d| d.port.is_some());
    let service = routes.first().and_then(|r| r.destination.as_ref()).and_then(|d| ctx.service(&d.host));
    let Some(service) = service.filter(|_| !explicit) else { return Vec::new() };
    service
        .ports
        .iter()
        .map(|port| {
            let mut with_port = routes.to_vec();
            for d in with_port.iter_mut().filter_map(|r| r.destination.as_mut()) {
                d.port =
                    Some(portolan_resources::networking::PortSelector { number: u32::from(port.number) });
            }
            (port.number, with_port)
        })
        .collect()
}
