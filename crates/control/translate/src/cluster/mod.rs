//! Clusters (CDS).

mod inbound;
mod outbound;
mod policy;

use std::time::Duration as StdDuration;

pub(crate) use inbound::inbound;
pub(crate) use outbound::outbound;
pub(crate) use policy::traffic_policy;
use portolan_xds::names;

use crate::{context::Context, pb::*};

/// Key of the HTTP options among a cluster's extensions.
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
/// Streams that we open at most on one HTTP/2 connection: no limit of our own (spec/istio.md 3.8).
const MAX_CONCURRENT_STREAMS: u32 = 1_073_741_824;

/// What a cluster speaks upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum UpstreamHttp {
    /// Opaque.
    None,
    Http1,
    Http2,
    /// What the downstream connection speaks.
    AsDownstream,
}

fn http2_options() -> core::Http2ProtocolOptions {
    core::Http2ProtocolOptions { max_concurrent_streams: u32v(MAX_CONCURRENT_STREAMS), ..Default::default() }
}

/// Puts the HTTP options into a cluster.
fn set_http(cluster: &mut cluster::Cluster, kind: UpstreamHttp, common: Option<core::HttpProtocolOptions>) {
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

fn of_type(kind: cluster::cluster::DiscoveryType) -> Option<cluster::cluster::ClusterDiscoveryType> {
    Some(cluster::cluster::ClusterDiscoveryType::Type(kind as i32))
}

fn connect_timeout(ctx: &Context<'_>) -> Option<crate::pb::Duration> {
    Some(duration(ctx.mesh().connect_timeout()))
}

/// No limits but those that a DestinationRule sets (spec/istio.md 3.8).
fn unlimited() -> cluster::circuit_breakers::Thresholds {
    cluster::circuit_breakers::Thresholds {
        max_connections: u32v(u32::MAX),
        max_pending_requests: u32v(u32::MAX),
        max_requests: u32v(u32::MAX),
        max_retries: u32v(u32::MAX),
        track_remaining: true,
        ..Default::default()
    }
}

fn breakers(thresholds: cluster::circuit_breakers::Thresholds) -> Option<cluster::CircuitBreakers> {
    Some(cluster::CircuitBreakers { thresholds: vec![thresholds], ..Default::default() })
}

/// Clusters that every sidecar has, whatever the mesh: black hole and pass-through both ways.
pub(crate) fn special(ctx: &Context<'_>) -> Vec<cluster::Cluster> {
    let black_hole = cluster::Cluster {
        name: names::BLACK_HOLE.to_owned(),
        cluster_discovery_type: of_type(cluster::cluster::DiscoveryType::Static),
        connect_timeout: connect_timeout(ctx),
        ..Default::default()
    };
    if ctx.node.is_router() {
        return vec![black_hole];
    }
    let original = |name: &str| {
        let mut made = cluster::Cluster {
            name: name.to_owned(),
            cluster_discovery_type: of_type(cluster::cluster::DiscoveryType::OriginalDst),
            lb_policy: cluster::cluster::LbPolicy::ClusterProvided as i32,
            connect_timeout: connect_timeout(ctx),
            circuit_breakers: breakers(unlimited()),
            ..Default::default()
        };
        set_http(&mut made, UpstreamHttp::AsDownstream, None);
        made
    };
    let mut inbound = original(names::INBOUND_PASSTHROUGH);
    // Capture leaves this source address alone, so the connection reaches the application instead of us again.
    inbound.upstream_bind_config = Some(core::BindConfig {
        source_address: Some(core::SocketAddress {
            address: names::INBOUND_PASSTHROUGH_SOURCE.to_owned(),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(0)),
            ..Default::default()
        }),
        ..Default::default()
    });
    vec![black_hole, original(names::PASSTHROUGH), inbound]
}

/// Idle timeout and requests per connection.
fn common_http(
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
