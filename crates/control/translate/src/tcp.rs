//! Opaque TCP: proxies, and the TCP and TLS rules of VirtualServices.

use portolan_mesh::ResolvedVirtualService;
use portolan_resources::networking::{L4MatchAttributes, RouteDestination, TlsMatchAttributes};
use portolan_xds::names::ClusterName;

use crate::{
    access_log,
    context::Context,
    naming::{METADATA_EXCHANGE, STATS, destination_cluster, destination_port},
    pb::*,
    traffic_policy::traffic_policy,
};

/// Network filter name of TCP proxies.
const TCP_PROXY: &str = "envoy.filters.network.tcp_proxy";

/// Filters that forward a connection to one cluster.
pub(crate) fn to_cluster(ctx: &Context<'_>, stat_prefix: &str, cluster: &str) -> Vec<listener::Filter> {
    proxy(ctx, stat_prefix, tcp_proxy::tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned()), Vec::new())
}

fn proxy(
    ctx: &Context<'_>,
    stat_prefix: &str,
    cluster_specifier: tcp_proxy::tcp_proxy::ClusterSpecifier,
    hash_policy: Vec<types::HashPolicy>,
) -> Vec<listener::Filter> {
    let config = tcp_proxy::TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        access_log: access_log::loggers(ctx),
        cluster_specifier: Some(cluster_specifier),
        hash_policy,
        ..Default::default()
    };
    let mut out = Vec::new();
    if ctx.ours() {
        out.push(network_filter(METADATA_EXCHANGE, empty()));
        out.push(network_filter(STATS, empty()));
    }
    out.push(network_filter(TCP_PROXY, any(&config)));
    out
}

/// Filters that forward a connection by the destinations of a rule; `None` when no destination is left.
pub(crate) fn to_destinations(
    ctx: &Context<'_>,
    routes: &[RouteDestination],
    listener_port: u16,
) -> Option<Vec<listener::Filter>> {
    let mut clusters: Vec<(String, u32)> = routes
        .iter()
        .filter_map(|r| {
            let weight = r.weight.and_then(|w| u32::try_from(w).ok()).unwrap_or_default();
            Some((destination_cluster(ctx, r.destination.as_ref()?, listener_port), weight))
        })
        .collect();
    if clusters.len() > 1 {
        clusters.retain(|(_, weight)| *weight > 0);
    }
    use tcp_proxy::tcp_proxy::{ClusterSpecifier, WeightedCluster, weighted_cluster::ClusterWeight};
    match clusters.as_slice() {
        [] => None,
        [(name, _)] => {
            Some(proxy(ctx, name, ClusterSpecifier::Cluster(name.clone()), source_ip_hash(ctx, name)))
        }
        [(first, _), ..] => {
            let stat_prefix = first.clone();
            let clusters = clusters
                .into_iter()
                .map(|(name, weight)| ClusterWeight { name, weight, ..Default::default() })
                .collect();
            Some(proxy(
                ctx,
                &stat_prefix,
                ClusterSpecifier::WeightedClusters(WeightedCluster { clusters }),
                Vec::new(),
            ))
        }
    }
}

/// Consistent hashing by source address works for TCP too.
fn source_ip_hash(ctx: &Context<'_>, cluster: &str) -> Vec<types::HashPolicy> {
    let Some(name) = ClusterName::parse(cluster) else { return Vec::new() };
    let rule = ctx.scope.destination_rule(&name.host);
    let rule = rule.as_deref();
    let parts = traffic_policy(rule, name.port, &name.subset);
    let hash = parts.load_balancer.and_then(|l| l.consistent_hash.as_ref());
    if hash.and_then(|h| h.use_source_ip) != Some(true) {
        return Vec::new();
    }
    vec![types::HashPolicy {
        policy_specifier: Some(types::hash_policy::PolicySpecifier::SourceIp(
            types::hash_policy::SourceIp {},
        )),
    }]
}

/// Whether every destination leads to a port that its service has; services that are not known count as having it.
pub(crate) fn ports_exist(ctx: &Context<'_>, routes: &[RouteDestination], listener_port: u16) -> bool {
    routes.iter().filter_map(|r| r.destination.as_ref()).all(|d| {
        let service = ctx.service(&d.host);
        service.is_none_or(|s| s.port(destination_port(Some(&s), d, listener_port)).is_some())
    })
}

/// Whether a TCP condition can hold for this proxy and listener.
pub(crate) fn l4_applies(ctx: &Context<'_>, m: &L4MatchAttributes, gateway: &str, port: u16) -> bool {
    is_for(&m.gateways, gateway)
        && m.port.is_none_or(|p| p == u32::from(port))
        && ctx.has_labels(&m.source_labels)
        && m.source_namespace.as_deref().is_none_or(|ns| ctx.is_in(ns))
}

/// Whether a TLS condition can hold for this proxy and listener.
pub(crate) fn tls_applies(ctx: &Context<'_>, m: &TlsMatchAttributes, gateway: &str, port: u16) -> bool {
    is_for(&m.gateways, gateway)
        && m.port.is_none_or(|p| p == u32::from(port))
        && ctx.has_labels(&m.source_labels)
        && m.source_namespace.as_deref().is_none_or(|ns| ctx.is_in(ns))
}

fn is_for(gateways: &[String], gateway: &str) -> bool {
    gateways.is_empty() || gateways.iter().any(|g| g == gateway)
}

/// Filter chains that the TLS rules of a VirtualService make for one listener port, in order.
pub(crate) fn tls_rule_chains(
    ctx: &Context<'_>,
    vs: &ResolvedVirtualService,
    gateway: &str,
    port: u16,
) -> Vec<listener::FilterChain> {
    let mut out = Vec::new();
    for rule in &vs.spec.tls {
        for m in rule.match_.iter().filter(|m| tls_applies(ctx, m, gateway, port)) {
            let Some(filters) = to_destinations(ctx, &rule.route, port) else { continue };
            out.push(listener::FilterChain {
                filter_chain_match: Some(listener::FilterChainMatch {
                    server_names: m
                        .sni_hosts
                        .iter()
                        .map(|s| s.to_ascii_lowercase())
                        .filter(|s| s != "*")
                        .collect(),
                    prefix_ranges: cidrs(&m.destination_subnets),
                    transport_protocol: "tls".to_owned(),
                    ..Default::default()
                }),
                filters,
                ..Default::default()
            });
        }
    }
    out
}

/// Filter chains that the TCP rules of a VirtualService make for one listener port, in order.
pub(crate) fn tcp_rule_chains(
    ctx: &Context<'_>,
    vs: &ResolvedVirtualService,
    gateway: &str,
    port: u16,
) -> Vec<listener::FilterChain> {
    let mut out = Vec::new();
    for rule in &vs.spec.tcp {
        let Some(filters) = to_destinations(ctx, &rule.route, port) else { continue };
        if rule.match_.is_empty() {
            out.push(listener::FilterChain { filters, ..Default::default() });
            break;
        }
        let mut catches_all = false;
        for m in rule.match_.iter().filter(|m| l4_applies(ctx, m, gateway, port)) {
            let prefix_ranges = cidrs(&m.destination_subnets);
            let source_prefix_ranges: Vec<_> = m.source_subnet.iter().filter_map(|s| cidr(s)).collect();
            catches_all |= prefix_ranges.is_empty() && source_prefix_ranges.is_empty();
            let matches =
                listener::FilterChainMatch { prefix_ranges, source_prefix_ranges, ..Default::default() };
            out.push(listener::FilterChain {
                filter_chain_match: (matches != Default::default()).then_some(matches),
                filters: filters.clone(),
                ..Default::default()
            });
        }
        if catches_all {
            break;
        }
    }
    out
}
