//! What the builders of clusters have in common.

use std::time::Duration as StdDuration;

use crate::{context::Context, pb::*};

/// Key of the HTTP options among a cluster's extensions.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Streams that we open at most on one HTTP/2 connection: no limit of our own (docs/reference/xds.md).
const MAX_CONCURRENT_STREAMS: u32 = 1_073_741_824;

/// What a cluster speaks upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum UpstreamHttp {
    /// Opaque.
    None,
    Http1,
    Http2,
    /// What the downstream connection speaks.
    AsDownstream,
}

pub(super) fn http2_options() -> core::Http2ProtocolOptions {
    core::Http2ProtocolOptions { max_concurrent_streams: u32v(MAX_CONCURRENT_STREAMS), ..Default::default() }
}

/// Puts the HTTP options into a cluster.
pub(super) fn set_http(
    cluster: &mut cluster::Cluster,
    kind: UpstreamHttp,
    common: Option<core::HttpProtocolOptions>,
) {
    use http_options::http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
        explicit_http_config::ProtocolConfig,
    };
    let explicit = |config| {
        UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig { protocol_config: Some(config) })
    };
    let upstream = match kind {
        UpstreamHttp::None => return,
        UpstreamHttp::Http1 => explicit(ProtocolConfig::HttpProtocolOptions(Default::default())),
        UpstreamHttp::Http2 => explicit(ProtocolConfig::Http2ProtocolOptions(http2_options())),
        UpstreamHttp::AsDownstream => {
            UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
                http_protocol_options: Some(Default::default()),
                http2_protocol_options: Some(http2_options()),
                ..Default::default()
            })
        }
    };
    let options = http_options::HttpProtocolOptions {
        common_http_protocol_options: common,
        upstream_protocol_options: Some(upstream),
        ..Default::default()
    };
    cluster.typed_extension_protocol_options.insert(HTTP_OPTIONS.to_owned(), any(&options));
}

pub(super) fn of_type(
    kind: cluster::cluster::DiscoveryType,
) -> Option<cluster::cluster::ClusterDiscoveryType> {
    Some(cluster::cluster::ClusterDiscoveryType::Type(kind as i32))
}

pub(super) fn connect_timeout(ctx: &Context<'_>) -> Option<crate::pb::Duration> {
    Some(duration(ctx.mesh().connect_timeout()))
}

/// No limits but those that a DestinationRule sets (docs/reference/xds.md).
pub(super) fn unlimited() -> cluster::circuit_breakers::Thresholds {
    cluster::circuit_breakers::Thresholds {
        max_connections: u32v(u32::MAX),
        max_pending_requests: u32v(u32::MAX),
        max_requests: u32v(u32::MAX),
        max_retries: u32v(u32::MAX),
        track_remaining: true,
        ..Default::default()
    }
}

pub(super) fn breakers(
    thresholds: cluster::circuit_breakers::Thresholds,
) -> Option<cluster::CircuitBreakers> {
    Some(cluster::CircuitBreakers { thresholds: vec![thresholds], ..Default::default() })
}

/// Idle timeout and requests per connection.
pub(super) fn common_http(
    idle: Option<StdDuration>,
    max_requests_per_connection: Option<u32>,
) -> Option<core::HttpProtocolOptions> {
    if idle.is_none() && max_requests_per_connection.is_none() {
        return None;
    }
    Some(core::HttpProtocolOptions {
        idle_timeout: idle.map(duration),
        max_requests_per_connection: max_requests_per_connection.and_then(u32v),
        ..Default::default()
    })
}
