//! Listeners of a sidecar's outbound traffic (docs/reference/xds.md). None of them binds: `virtualOutbound` hands
//! connections over by original destination.

use std::{collections::BTreeMap, sync::Arc};

use portolan_mesh::{EndpointAddress, Protocol, Service, ServicePort};
use portolan_names::names::{MESH_GATEWAY, UNSPECIFIED_IP};
use portolan_xds::names::{self, ClusterName};

use super::{
    base::{base, http_inspector, is_own_port, sniffing, tls_inspector},
    chains::without_duplicates,
};
use crate::{
    authz::Authorization,
    context::Context,
    filters::{Routes, Side, connection_manager},
    pb::*,
    tcp,
    tls::PLAIN_HTTP_ALPN,
};

/// Listeners per Pod of a headless TCP service; with more Pods than this the rest goes through unproxied.
const MAX_HEADLESS_LISTENERS: usize = 128;

/// What a listener is made of before its form is known. The first service to claim a part keeps it.
#[derive(Default)]
struct Parts {
    /// Route configuration of HTTP connections.
    route: Option<String>,
    /// Chains with a match of their own (SNI, addresses).
    chains: Vec<listener::FilterChain>,
    /// Filters of everything else.
    tcp: Option<Vec<listener::Filter>>,
}

type Listeners = BTreeMap<(String, u16), Parts>;

/// All outbound listeners.
pub(super) fn listeners(ctx: &Context<'_>) -> Vec<listener::Listener> {
    collect(ctx).into_iter().map(|((address, port), parts)| finish(ctx, &address, port, parts)).collect()
}

/// Route configurations that those listeners ask for.
pub(super) fn route_names(ctx: &Context<'_>) -> Vec<String> {
    let mut names: Vec<String> = collect(ctx).into_values().filter_map(|p| p.route).collect();
    names.sort();
    names.dedup();
    names
}

fn collect(ctx: &Context<'_>) -> Listeners {
    let visible = ctx.scope.services();
    let mut services: Vec<&Arc<Service>> = visible.values().collect();
    services.sort_by(|a, b| (a.age, &a.host).cmp(&(b.age, &b.host)));
    let mut out = Listeners::new();
    for service in services {
        for port in &service.ports {
            add(ctx, &mut out, service, port);
        }
    }
    out.retain(|(address, port), _| address != UNSPECIFIED_IP || !is_own_port(ctx, *port));
    out
}

/// Single addresses of a service; CIDRs are chain matches on the wildcard listener.
fn addresses(service: &Service) -> (Vec<String>, Vec<String>) {
    service.virtual_addresses().into_iter().partition(|a| !a.contains('/'))
}

fn add(ctx: &Context<'_>, out: &mut Listeners, service: &Arc<Service>, port: &ServicePort) {
    let wildcard = || (UNSPECIFIED_IP.to_owned(), port.number);
    if port.protocol.is_http() {
        out.entry(wildcard()).or_default().route.get_or_insert_with(|| port.number.to_string());
        return;
    }
    let (ips, ranges) = addresses(service);
    if port.protocol == Protocol::Auto {
        let filters = service_filters(ctx, service, port);
        if ips.is_empty() {
            let parts = out.entry(wildcard()).or_default();
            parts.route.get_or_insert_with(|| port.number.to_string());
            parts.tcp.get_or_insert(filters.1);
            parts.chains.extend(filters.0);
            return;
        }
        for ip in ips {
            let parts = out.entry((ip, port.number)).or_default();
            // Two services cannot have one address and port; the older keeps it.
            if parts.tcp.is_some() {
                continue;
            }
            parts.route = Some(format!("{}:{}", service.host, port.number));
            parts.tcp = Some(filters.1.clone());
            parts.chains.extend(filters.0.clone());
        }
        return;
    }
    let (chains, filters) = service_filters(ctx, service, port);
    for ip in &ips {
        let parts = out.entry((ip.clone(), port.number)).or_default();
        if parts.tcp.is_none() {
            parts.tcp = Some(filters.clone());
            parts.chains.extend(chains.clone());
        }
    }
    if !ips.is_empty() {
        return;
    }
    if service.headless {
        let endpoints = ctx.model.endpoints_of(&service.host);
        let all = endpoints.iter().flat_map(|e| e.port(port.number));
        for endpoint in all.take(MAX_HEADLESS_LISTENERS) {
            // The proxy's own Pod is reached directly.
            let EndpointAddress::Ip(ip) = &endpoint.address else { continue };
            if ctx.node.addresses.contains(ip) {
                continue;
            }
            let parts = out.entry((ip.to_string(), port.number)).or_default();
            parts.tcp.get_or_insert_with(|| filters.clone());
        }
        return;
    }
    let parts = out.entry(wildcard()).or_default();
    let names = if service.host.contains('*') && service.host.len() < 3 {
        Vec::new()
    } else {
        vec![service.host.clone()]
    };
    if port.protocol.is_tls() && !names.is_empty() {
        // Several hosts share the port: the SNI tells them apart.
        parts.chains.extend(chains);
        parts.chains.push(listener::FilterChain {
            filter_chain_match: Some(listener::FilterChainMatch {
                server_names: names,
                prefix_ranges: cidrs(&ranges),
                transport_protocol: "tls".to_owned(),
                ..Default::default()
            }),
            filters,
            ..Default::default()
        });
    } else if !ranges.is_empty() {
        parts.chains.extend(chains);
        parts.chains.push(listener::FilterChain {
            filter_chain_match: Some(listener::FilterChainMatch {
                prefix_ranges: cidrs(&ranges),
                ..Default::default()
            }),
            filters,
            ..Default::default()
        });
    } else {
        parts.chains.extend(chains);
        parts.tcp.get_or_insert(filters);
    }
}

/// Chains that a VirtualService makes for a service's port, and the filters of everything else.
fn service_filters(
    ctx: &Context<'_>,
    service: &Service,
    port: &ServicePort,
) -> (Vec<listener::FilterChain>, Vec<listener::Filter>) {
    let cluster = ClusterName::outbound(port.number, "", &service.host).to_string();
    let mut own = tcp::to_cluster(ctx, &cluster, &cluster);
    let mut matched = Vec::new();
    if let Some(vs) = ctx.scope.virtual_service_for(&service.host) {
        let tls_rules = tcp::tls_rule_chains(ctx, &vs, MESH_GATEWAY, port.number);
        for chain in tls_rules.into_iter().chain(tcp::tcp_rule_chains(ctx, &vs, MESH_GATEWAY, port.number)) {
            match &chain.filter_chain_match {
                None => own = chain.filters,
                Some(_) => matched.push(chain),
            }
        }
    }
    (matched, own)
}

fn finish(ctx: &Context<'_>, address: &str, port: u16, parts: Parts) -> listener::Listener {
    let name = format!("{address}_{port}");
    let mut made = base(ctx, &name, address, port, core::TrafficDirection::Outbound);
    made.bind_to_port = boolv(false);
    let http = parts.route.map(|route| {
        let stat_prefix = format!("outbound_{name}");
        connection_manager(ctx, Side::Outbound, &stat_prefix, Routes::Named(route), &Authorization::default())
    });
    let fallback = || {
        let cluster = if ctx.scope.allow_any() { names::PASSTHROUGH } else { names::BLACK_HOLE };
        tcp::to_cluster(ctx, cluster, cluster)
    };
    let needs_tls = parts.chains.iter().any(|c| {
        c.filter_chain_match
            .as_ref()
            .is_some_and(|m| !m.transport_protocol.is_empty() || !m.server_names.is_empty())
    });
    made.filter_chains = without_duplicates(parts.chains);
    match (http, parts.tcp) {
        (Some(http), None) if made.filter_chains.is_empty() => {
            made.filter_chains.push(listener::FilterChain { filters: vec![http], ..Default::default() });
        }
        (Some(http), tcp) => {
            made.filter_chains.push(listener::FilterChain {
                filter_chain_match: Some(listener::FilterChainMatch {
                    transport_protocol: "raw_buffer".to_owned(),
                    application_protocols: PLAIN_HTTP_ALPN.iter().map(|s| (*s).to_owned()).collect(),
                    ..Default::default()
                }),
                filters: vec![http],
                ..Default::default()
            });
            made.default_filter_chain =
                Some(listener::FilterChain { filters: tcp.unwrap_or_else(fallback), ..Default::default() });
            made.listener_filters = vec![tls_inspector(), http_inspector()];
            sniffing(ctx, &mut made);
        }
        (None, Some(tcp)) if made.filter_chains.is_empty() => {
            made.filter_chains.push(listener::FilterChain { filters: tcp, ..Default::default() });
        }
        (None, tcp) => {
            made.default_filter_chain =
                Some(listener::FilterChain { filters: tcp.unwrap_or_else(fallback), ..Default::default() });
            if needs_tls {
                made.listener_filters = vec![tls_inspector()];
                sniffing(ctx, &mut made);
            }
        }
    }
    made
}
