//! `virtualInbound`: filter chains of every workload port (docs/reference/xds.md).

use std::{collections::BTreeMap, time::Duration as StdDuration};

use portolan_mesh::{MtlsModes, Protocol};
use portolan_names::{names::UNSPECIFIED_IP, ports};
use portolan_resources::security::MtlsMode;
use portolan_xds::names::{self, ClusterName};

use super::base::{base, http_inspector, listener_filter, original_dst, sniffing, tls_inspector};
use crate::{
    authz::{self, Authorization},
    context::Context,
    filters::{Routes, Side, connection_manager},
    pb::*,
    route, tcp,
    tls::{self, ISTIO_HTTP_ALPN, ISTIO_TCP_ALPN, PLAIN_HTTP_ALPN},
};

/// Mark of connections that TPROXY delivered (docs/reference/xds.md).
const TPROXY_MARK: u32 = 1337;
/// Longest wait for bytes that tell the protocol when the mesh sets none: a client of a server-first protocol sends none.
const INBOUND_DETECTION_TIMEOUT: StdDuration = StdDuration::from_secs(1);

/// What the application speaks on a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http,
    Tcp,
    /// Sniffed.
    Auto,
}

impl Spoken {
    fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Auto => Self::Auto,
            p if p.is_http() => Self::Http,
            _ => Self::Tcp,
        }
    }
}

/// One filter chain to make: what must match and what is done.
struct Chain {
    transport: &'static str,
    alpn: Vec<&'static str>,
    http: bool,
    mtls: bool,
}

/// The chains of one port, in order.
fn chains(spoken: Spoken, mode: MtlsMode) -> Vec<Chain> {
    let chain =
        |transport, alpn: &[&'static str], http, mtls| Chain { transport, alpn: alpn.to_vec(), http, mtls };
    let istio_any: Vec<&'static str> = ISTIO_TCP_ALPN.iter().chain(&ISTIO_HTTP_ALPN).copied().collect();
    match (mode, spoken) {
        (MtlsMode::Disable, Spoken::Http) => vec![chain("", &[], true, false)],
        (MtlsMode::Disable, Spoken::Tcp) => vec![chain("", &[], false, false)],
        (MtlsMode::Disable, Spoken::Auto) => {
            vec![chain("", &PLAIN_HTTP_ALPN, true, false), chain("", &[], false, false)]
        }
        (MtlsMode::Strict, Spoken::Http) => vec![chain("tls", &[], true, true)],
        (MtlsMode::Strict, Spoken::Tcp) => vec![chain("tls", &[], false, true)],
        (MtlsMode::Strict, Spoken::Auto) => {
            vec![chain("tls", &ISTIO_HTTP_ALPN, true, true), chain("tls", &[], false, true)]
        }
        (MtlsMode::Permissive | MtlsMode::Unset, Spoken::Http) => {
            vec![chain("tls", &istio_any, true, true), chain("raw_buffer", &[], true, false)]
        }
        (MtlsMode::Permissive | MtlsMode::Unset, Spoken::Tcp) => vec![
            chain("tls", &istio_any, false, true),
            chain("raw_buffer", &[], false, false),
            // TLS that the application itself terminates.
            chain("tls", &[], false, false),
        ],
        (MtlsMode::Permissive | MtlsMode::Unset, Spoken::Auto) => vec![
            chain("tls", &ISTIO_HTTP_ALPN, true, true),
            chain("raw_buffer", &PLAIN_HTTP_ALPN, true, false),
            chain("tls", &ISTIO_TCP_ALPN, false, true),
            chain("raw_buffer", &[], false, false),
            chain("tls", &[], false, false),
        ],
    }
}

/// A workload port.
struct Port {
    protocol: Protocol,
    /// Host and port of the oldest service on it, for the names of traces.
    operation: String,
}

pub(crate) fn virtual_inbound(ctx: &Context<'_>) -> listener::Listener {
    let modes = ctx.model.mtls_modes(&ctx.node.namespace, &ctx.labels);
    let authorization = authz::of_proxy(ctx);
    let mut made =
        base(ctx, names::VIRTUAL_INBOUND, UNSPECIFIED_IP, ports::INBOUND, core::TrafficDirection::Inbound);
    made.transparent = ctx.node.metadata.tproxy.then_some(BoolValue { value: true });

    let mut filter_chains = vec![listener::FilterChain {
        name: "virtualInbound-blackhole".to_owned(),
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: u32v(u32::from(ports::INBOUND)),
            ..Default::default()
        }),
        filters: tcp::to_cluster(ctx, names::BLACK_HOLE, names::BLACK_HOLE),
        ..Default::default()
    }];
    let served = served_ports(ctx);
    let mut sniffed = false;
    let address = ctx.node.address().map_or_else(|| UNSPECIFIED_IP.to_owned(), |ip| ip.to_string());
    for (number, port) in &served {
        let spoken = Spoken::of(port.protocol);
        sniffed |= spoken == Spoken::Auto;
        let cluster = ClusterName::inbound(*number).to_string();
        for chain in chains(spoken, modes.port(*number)) {
            let made = filter_chain(ctx, &chain, Some(*number), &cluster, port, &authorization);
            filter_chains.push(listener::FilterChain { name: format!("{address}_{number}"), ..made });
        }
    }
    // Ports with a mode of their own that no service names.
    for number in modes.ports.keys().filter(|n| !served.contains_key(n)) {
        filter_chains.extend(passthrough(ctx, Some(*number), &modes, &authorization));
        sniffed = true;
    }
    filter_chains.extend(passthrough(ctx, None, &modes, &authorization));
    made.filter_chains = filter_chains;

    made.listener_filters.push(original_dst());
    // Our own proxy does not know the filter and would refuse the whole listener for it.
    if ctx.node.metadata.tproxy && !ctx.ours() {
        let mark = original_src::OriginalSrc { mark: TPROXY_MARK, ..Default::default() };
        made.listener_filters.push(listener_filter("envoy.filters.listener.original_src", any(&mark)));
    }
    made.listener_filters.push(tls_inspector());
    let mut inspector = http_inspector();
    // Ports whose protocol is declared need no sniffing.
    inspector.filter_disabled = disabled_for(
        &served
            .iter()
            .filter(|(_, p)| Spoken::of(p.protocol) != Spoken::Auto)
            .map(|(n, _)| *n)
            .collect::<Vec<_>>(),
    );
    made.listener_filters.push(inspector);
    sniffing(ctx, &mut made);
    let unset = made.listener_filters_timeout.as_ref().is_none_or(|t| t.seconds == 0 && t.nanos == 0);
    if unset && sniffed {
        made.listener_filters_timeout = Some(duration(INBOUND_DETECTION_TIMEOUT));
    }
    made
}

/// Workload ports with what is spoken on them. Two services may lead to one port: the older one says what it speaks.
fn served_ports(ctx: &Context<'_>) -> BTreeMap<u16, Port> {
    let mut out = BTreeMap::new();
    let ingress = ctx.model.sidecar_ingress(ctx.node);
    if !ingress.is_empty() {
        for i in ingress {
            out.insert(
                i.port.number,
                Port { protocol: i.port.protocol, operation: format!("{}:{}/*", i.port.name, i.port.number) },
            );
        }
        return out;
    }
    for instance in ctx.model.instances_of(ctx.node) {
        out.entry(instance.target).or_insert_with(|| Port {
            protocol: instance.port.protocol,
            operation: format!("{}:{}/*", instance.service.host, instance.port.number),
        });
    }
    out
}

fn filter_chain(
    ctx: &Context<'_>,
    chain: &Chain,
    port: Option<u16>,
    cluster: &str,
    served: &Port,
    authorization: &Authorization,
) -> listener::FilterChain {
    let filters = if chain.http {
        let number = port.unwrap_or_default();
        let routes = Routes::Inline(Box::new(route::inbound(cluster, number, &served.operation)));
        let prefix = match port {
            Some(number) => format!("inbound_0.0.0.0_{number}"),
            None => names::INBOUND_PASSTHROUGH.to_owned(),
        };
        vec![connection_manager(ctx, Side::Inbound, &prefix, routes, authorization)]
    } else {
        let mut filters = authorization.network.clone();
        filters.extend(tcp::to_cluster(ctx, cluster, cluster));
        filters
    };
    listener::FilterChain {
        filter_chain_match: Some(listener::FilterChainMatch {
            destination_port: port.and_then(|p| u32v(u32::from(p))),
            transport_protocol: chain.transport.to_owned(),
            application_protocols: chain.alpn.iter().map(|s| (*s).to_owned()).collect(),
            ..Default::default()
        }),
        filters,
        transport_socket: chain.mtls.then(|| tls::mesh_server(ctx, chain.http)),
        ..Default::default()
    }
}

/// Chains of ports that no service names: to wherever the client wanted to go.
fn passthrough(
    ctx: &Context<'_>,
    port: Option<u16>,
    modes: &MtlsModes,
    authorization: &Authorization,
) -> Vec<listener::FilterChain> {
    let mode = port.map_or(modes.default, |p| modes.port(p));
    let served = Port { protocol: Protocol::Auto, operation: format!("{}/*", names::INBOUND_PASSTHROUGH) };
    chains(Spoken::Auto, mode)
        .iter()
        .map(|chain| {
            let mut made = filter_chain(ctx, chain, port, names::INBOUND_PASSTHROUGH, &served, authorization);
            made.name = if chain.http { "virtualInbound-catchall-http" } else { "virtualInbound" }.to_owned();
            made
        })
        .collect()
}

/// A listener filter's condition that turns it off for some ports.
fn disabled_for(ports: &[u16]) -> Option<listener::ListenerFilterChainMatchPredicate> {
    use listener::{
        ListenerFilterChainMatchPredicate as Predicate,
        listener_filter_chain_match_predicate::{MatchSet, Rule},
    };
    let mut rules: Vec<Predicate> = ports
        .iter()
        .map(|p| Predicate {
            rule: Some(Rule::DestinationPortRange(types::Int32Range {
                start: i32::from(*p),
                end: i32::from(*p) + 1,
            })),
        })
        .collect();
    match rules.len() {
        0 => None,
        1 => rules.pop(),
        // A set needs two rules at least.
        _ => Some(Predicate { rule: Some(Rule::OrMatch(MatchSet { rules })) }),
    }
}
