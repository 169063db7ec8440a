//! Listeners (LDS).

mod chains;
mod gateway;
mod inbound;
mod outbound;

use portolan_names::{names::UNSPECIFIED_IP, ports};
use portolan_xds::names;

pub(crate) use gateway::{RouteKind, gateway_ports, route_kind};

use crate::{access_log, context::Context, pb::*, tcp};

/// All listeners of a proxy.
pub(crate) fn listeners(ctx: &Context<'_>) -> Vec<listener::Listener> {
    if ctx.node.is_router() {
        return gateway::listeners(ctx);
    }
    let mut out = vec![virtual_outbound(ctx)];
    out.extend(outbound::listeners(ctx));
    out.push(inbound::virtual_inbound(ctx));
    out
}

/// Names of the route configurations that the listeners ask for.
pub(crate) fn route_names(ctx: &Context<'_>) -> Vec<String> {
    if ctx.node.is_router() {
        return gateway::route_names(ctx);
    }
    outbound::route_names(ctx)
}

/// A listener with what all of them have.
fn base(
    ctx: &Context<'_>,
    name: &str,
    address: &str,
    port: u16,
    direction: core::TrafficDirection,
) -> listener::Listener {
    listener::Listener {
        name: name.to_owned(),
        address: Some(socket(address, port)),
        traffic_direction: direction as i32,
        access_log: access_log::listener_loggers(ctx),
        ..Default::default()
    }
}

fn listener_filter(name: &str, config: Any) -> listener::ListenerFilter {
    listener::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn tls_inspector() -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.tls_inspector", any(&tls_inspector::TlsInspector::default()))
}

fn http_inspector() -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.http_inspector", any(&http_inspector::HttpInspector::default()))
}

fn original_dst() -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.original_dst", any(&original_dst::OriginalDst {}))
}

/// How long sniffing may take; it goes on without an answer.
fn sniffing(ctx: &Context<'_>, listener: &mut listener::Listener) {
    listener.listener_filters_timeout = ctx.mesh().protocol_detection_timeout.get().map(duration);
    listener.continue_on_listener_filters_timeout = true;
}

/// Where captured outbound connections arrive; each goes to the listener of its destination, or through here.
fn virtual_outbound(ctx: &Context<'_>) -> listener::Listener {
    let port = ctx.mesh().proxy_listen_port;
    let fallback = if ctx.scope.allow_any { names::PASSTHROUGH } else { names::BLACK_HOLE };
    let mut made = base(ctx, names::VIRTUAL_OUTBOUND, UNSPECIFIED_IP, port, core::TrafficDirection::Outbound);
    made.use_original_dst = boolv(true);
    made.transparent = ctx.node.metadata.tproxy.then_some(BoolValue { value: true });
    made.filter_chains = vec![
        // A connection to our own port would come back to us for ever.
        listener::FilterChain {
            name: "virtualOutbound-blackhole".to_owned(),
            filter_chain_match: Some(listener::FilterChainMatch {
                destination_port: u32v(u32::from(port)),
                ..Default::default()
            }),
            filters: tcp::to_cluster(ctx, names::BLACK_HOLE, names::BLACK_HOLE),
            ..Default::default()
        },
        listener::FilterChain {
            name: "virtualOutbound-catchall-tcp".to_owned(),
            filters: tcp::to_cluster(ctx, fallback, fallback),
            ..Default::default()
        },
    ];
    made
}

/// Ports of the proxy itself: a wildcard listener on one of them would be a second one at the same address.
fn is_own_port(ctx: &Context<'_>, port: u16) -> bool {
    port == ctx.mesh().proxy_listen_port
        || [ports::INBOUND, ports::HEALTH, ports::PROXY_METRICS, ports::ADMIN, ports::AGENT_STATUS]
            .contains(&port)
}
