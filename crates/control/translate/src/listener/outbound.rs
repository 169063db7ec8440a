//! Listeners of a sidecar's outbound traffic (docs/reference/xds.md). None of them binds: `virtualOutbound` hands
//! connections over by original destination.

use std::collections::{BTreeMap, BTreeSet};

use portolan_mesh::{EndpointAddress, Protocol, Service, ServicePort};
use portolan_names::names::{MESH_GATEWAY, UNSPECIFIED_IP};
use portolan_xds::names::{self, ClusterName};

use super::{
    base::{base, http_inspector, sniffing, tls_inspector},
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

/// What one service wants of one listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// HTTP, by the routes of the port.
    Http,
    /// Whatever is sniffed, on an address of the service's own.
    Auto,
    /// Whatever is sniffed, on a port that services without address share.
    SharedAuto,
    /// Opaque TCP on an address of the service's own.
    Tcp,
    /// Opaque TCP on a port that services without address share.
    SharedTcp,
    /// Opaque TCP at an endpoint of a headless service.
    Endpoint,
    /// TLS with the service's host as SNI, to these ranges of addresses (empty: any).
    Sni(Vec<String>),
    /// Opaque TCP to these ranges of addresses.
    Ranges(Vec<String>),
}

/// Where a claim is made.
pub(crate) type At = (String, u16);

/// Single addresses of a service; CIDRs are chain matches on the wildcard listener.
fn addresses(service: &Service) -> (Vec<String>, Vec<String>) {
    service.virtual_addresses().into_iter().partition(|a| !a.contains('/'))
}

/// What a service wants: the same for all proxies that see it so.
pub(super) fn claims(ctx: &Context<'_>, host: &str) -> Vec<(At, Claim)> {
    let Some(service) = ctx.scope.visible_exact(host) else { return Vec::new() };
    service.ports.iter().flat_map(|port| claims_of_port(ctx, &service, port)).collect()
}

fn claims_of_port(ctx: &Context<'_>, service: &Service, port: &ServicePort) -> Vec<(At, Claim)> {
    let shared = |claim: Claim| vec![((UNSPECIFIED_IP.to_owned(), port.number), claim)];
    if port.protocol.is_http() {
        return shared(Claim::Http);
    }
    let sniffed = port.protocol == Protocol::Auto;
    let (ips, ranges) = addresses(service);
    if !ips.is_empty() {
        let claim = if sniffed { Claim::Auto } else { Claim::Tcp };
        return ips.into_iter().map(|ip| ((ip, port.number), claim.clone())).collect();
    }
    if sniffed {
        return shared(Claim::SharedAuto);
    }
    if service.headless {
        let endpoints = ctx.model.endpoints_of(&service.host);
        return endpoints
            .iter()
            .flat_map(|e| e.port(port.number))
            .take(MAX_HEADLESS_LISTENERS)
            .filter_map(|endpoint| match &endpoint.address {
                EndpointAddress::Ip(ip) => Some(((ip.to_string(), port.number), Claim::Endpoint)),
                EndpointAddress::Dns(_) | EndpointAddress::Unix(_) => None,
            })
            .collect();
    }
    // A host that is nothing but a wildcard has no name that an SNI could be.
    let named = !(service.host.contains('*') && service.host.len() < 3);
    shared(match (port.protocol.is_tls() && named, ranges.is_empty()) {
        // Several hosts share the port: the SNI tells them apart.
        (true, _) => Claim::Sni(ranges),
        (false, false) => Claim::Ranges(ranges),
        (false, true) => Claim::SharedTcp,
    })
}

/// Which of the claimants gives which part of a listener. The first to claim a part keeps it.
#[derive(Default)]
pub(super) struct Plan<'a> {
    /// Route configuration of HTTP connections.
    pub(super) route: Option<String>,
    /// Whose filters take everything that no chain matches.
    tcp: Option<&'a str>,
    /// Whose chains there are, in order: those that its VirtualService makes, then one of its own with a match.
    chains: Vec<(&'a str, Option<listener::FilterChainMatch>)>,
}

impl<'a> Plan<'a> {
    pub(super) fn of(port: u16, claimants: &'a [(String, Claim)]) -> Self {
        let mut plan = Self::default();
        for (host, claim) in claimants {
            plan.add(port, host, claim);
        }
        plan
    }

    fn add(&mut self, port: u16, host: &'a str, claim: &Claim) {
        let to = |ranges: &[String]| listener::FilterChainMatch {
            prefix_ranges: cidrs(ranges),
            ..Default::default()
        };
        match claim {
            Claim::Http => {
                self.route.get_or_insert_with(|| port.to_string());
            }
            Claim::SharedAuto => {
                self.route.get_or_insert_with(|| port.to_string());
                self.tcp.get_or_insert(host);
                self.chains.push((host, None));
            }
            Claim::SharedTcp => {
                self.tcp.get_or_insert(host);
                self.chains.push((host, None));
            }
            // Two services cannot have one address and port; the older keeps it.
            Claim::Auto | Claim::Tcp if self.tcp.is_some() => {}
            Claim::Auto => {
                self.route = Some(format!("{host}:{port}"));
                self.tcp = Some(host);
                self.chains.push((host, None));
            }
            Claim::Tcp => {
                self.tcp = Some(host);
                self.chains.push((host, None));
            }
            Claim::Endpoint => {
                self.tcp.get_or_insert(host);
            }
            Claim::Sni(ranges) => {
                let own = listener::FilterChainMatch {
                    server_names: vec![host.to_owned()],
                    transport_protocol: "tls".to_owned(),
                    ..to(ranges)
                };
                self.chains.push((host, Some(own)));
            }
            Claim::Ranges(ranges) => self.chains.push((host, Some(to(ranges)))),
        }
    }
}

/// One listener of the services that claim it, oldest first.
pub(crate) fn listener(
    ctx: &Context<'_>,
    address: &str,
    port: u16,
    claimants: &[(String, Claim)],
) -> listener::Listener {
    let plan = Plan::of(port, claimants);
    let hosts: BTreeSet<&str> =
        plan.tcp.into_iter().chain(plan.chains.iter().map(|(host, _)| *host)).collect();
    let filters: BTreeMap<&str, _> =
        hosts.into_iter().map(|host| (host, service_filters(ctx, host, port))).collect();
    let mut parts = Parts { route: plan.route, ..Parts::default() };
    parts.tcp = plan.tcp.and_then(|host| filters.get(host)).map(|(_, own)| own.clone());
    for (host, own_match) in plan.chains {
        let Some((matched, own)) = filters.get(host) else { continue };
        parts.chains.extend(matched.iter().cloned());
        if own_match.is_some() {
            parts.chains.push(listener::FilterChain {
                filter_chain_match: own_match,
                filters: own.clone(),
                ..Default::default()
            });
        }
    }
    finish(ctx, address, port, parts)
}

/// What a listener is made of before its form is known.
#[derive(Default)]
struct Parts {
    /// Route configuration of HTTP connections.
    route: Option<String>,
    /// Chains with a match of their own (SNI, addresses).
    chains: Vec<listener::FilterChain>,
    /// Filters of everything else.
    tcp: Option<Vec<listener::Filter>>,
}

/// Chains that a VirtualService makes for a service's port, and the filters of everything else.
fn service_filters(
    ctx: &Context<'_>,
    host: &str,
    port: u16,
) -> (Vec<listener::FilterChain>, Vec<listener::Filter>) {
    let cluster = ClusterName::outbound(port, "", host).to_string();
    let mut own = tcp::to_cluster(ctx, &cluster, &cluster);
    let mut matched = Vec::new();
    if let Some(vs) = ctx.scope.virtual_service_for(host) {
        let tls_rules = tcp::tls_rule_chains(ctx, &vs, MESH_GATEWAY, port);
        for chain in tls_rules.into_iter().chain(tcp::tcp_rule_chains(ctx, &vs, MESH_GATEWAY, port)) {
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
