//! What the builders of listeners have in common.

use portolan_names::ports;

use crate::{access_log, context::Context, pb::*};

/// A listener with what all of them have.
pub(super) fn base(
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

pub(super) fn listener_filter(name: &str, config: Any) -> listener::ListenerFilter {
    listener::ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener::listener_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

pub(super) fn tls_inspector() -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.tls_inspector", any(&tls_inspector::TlsInspector::default()))
}

pub(super) fn http_inspector() -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.http_inspector", any(&http_inspector::HttpInspector::default()))
}

pub(super) fn original_dst() -> listener::ListenerFilter {
    listener_filter("envoy.filters.listener.original_dst", any(&original_dst::OriginalDst {}))
}

/// How long sniffing may take; it goes on without an answer.
pub(super) fn sniffing(ctx: &Context<'_>, listener: &mut listener::Listener) {
    listener.listener_filters_timeout = ctx.mesh().protocol_detection_timeout.get().map(duration);
    listener.continue_on_listener_filters_timeout = true;
}

/// Ports of the proxy itself: a wildcard listener on one of them would be a second one at the same address.
pub(super) fn is_own_port(ctx: &Context<'_>, port: u16) -> bool {
    port == ctx.mesh().proxy_listen_port
        || [ports::INBOUND, ports::HEALTH, ports::PROXY_METRICS, ports::ADMIN, ports::AGENT_STATUS]
            .contains(&port)
}
