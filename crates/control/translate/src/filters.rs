//! HTTP connection managers and their filters, in Istio's order (docs/reference/xds.md).

use portolan_resources::mesh_config::PathNormalizationType;

use crate::{
    access_log,
    authz::Authorization,
    context::Context,
    naming::{CONNECTION_MANAGER_FILTER, CORS_FILTER, FAULT_FILTER, METADATA_EXCHANGE, STATS},
    pb::*,
};

/// Where a connection manager stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Outbound,
    Inbound,
    Gateway,
}

/// Where the routes are.
pub(crate) enum Routes {
    /// Served by RDS.
    Named(String),
    /// Part of the listener.
    Inline(Box<route::RouteConfiguration>),
}

/// Istio's own filter that chooses ALPN by the protocol of the request.
const ALPN: &str = "istio.alpn";

/// Sampling of new traces in per cent unless ProxyConfig says otherwise (PILOT_TRACE_SAMPLING).
const DEFAULT_TRACE_SAMPLING: f64 = 1.0;
/// Longest path in a span.
const MAX_PATH_TAG: u32 = 256;

/// A connection manager as network filter.
pub(crate) fn connection_manager(
    ctx: &Context<'_>,
    side: Side,
    stat_prefix: &str,
    routes: Routes,
    authorization: &Authorization,
) -> listener::Filter {
    use hcm::http_connection_manager::{
        ForwardClientCertDetails, PathWithEscapedSlashesAction, RouteSpecifier, SetCurrentClientCertDetails,
        UpgradeConfig,
    };
    let normalization = ctx.mesh().path_normalization.normalization;
    let merge_slashes = matches!(
        normalization,
        PathNormalizationType::MergeSlashes | PathNormalizationType::DecodeAndMergeSlashes
    );
    let escaped = if normalization == PathNormalizationType::DecodeAndMergeSlashes {
        PathWithEscapedSlashesAction::UnescapeAndForward
    } else {
        PathWithEscapedSlashesAction::KeepUnchanged
    };
    let mut manager = hcm::HttpConnectionManager {
        codec_type: hcm::http_connection_manager::CodecType::Auto as i32,
        stat_prefix: stat_prefix.to_owned(),
        http_filters: http_filters(ctx, side, authorization),
        route_specifier: Some(match routes {
            Routes::Named(name) => {
                RouteSpecifier::Rds(hcm::Rds { config_source: Some(ads()), route_config_name: name })
            }
            Routes::Inline(config) => RouteSpecifier::RouteConfig(*config),
        }),
        use_remote_address: boolv(side == Side::Gateway),
        normalize_path: boolv(normalization != PathNormalizationType::None),
        merge_slashes,
        path_with_escaped_slashes_action: escaped as i32,
        stream_idle_timeout: zero(),
        upgrade_configs: vec![UpgradeConfig { upgrade_type: "websocket".to_owned(), ..Default::default() }],
        access_log: access_log::loggers(ctx),
        tracing: tracing(ctx),
        ..Default::default()
    };
    if ctx.node.metadata.http10 {
        manager.http_protocol_options =
            Some(core::Http1ProtocolOptions { accept_http_10: true, ..Default::default() });
    }
    let details = SetCurrentClientCertDetails {
        subject: boolv(true),
        uri: true,
        dns: side == Side::Inbound,
        cert: side == Side::Gateway,
        ..Default::default()
    };
    match side {
        Side::Outbound => {}
        Side::Inbound => {
            manager.server_name = "istio-envoy".to_owned();
            manager.forward_client_cert_details = ForwardClientCertDetails::AppendForward as i32;
            manager.set_current_client_cert_details = Some(details);
        }
        Side::Gateway => {
            let mesh = ctx.mesh();
            let topology = &mesh.default_config.gateway_topology;
            manager.server_name = "istio-envoy".to_owned();
            manager.xff_num_trusted_hops = topology.num_trusted_proxies;
            manager.forward_client_cert_details = match topology.forward_client_cert_details.as_deref() {
                Some("SANITIZE") => ForwardClientCertDetails::Sanitize,
                Some("FORWARD_ONLY") => ForwardClientCertDetails::ForwardOnly,
                Some("APPEND_FORWARD") => ForwardClientCertDetails::AppendForward,
                Some("ALWAYS_FORWARD_ONLY") => ForwardClientCertDetails::AlwaysForwardOnly,
                _ => ForwardClientCertDetails::SanitizeSet,
            } as i32;
            manager.set_current_client_cert_details = Some(details);
        }
    }
    network_filter(CONNECTION_MANAGER_FILTER, any(&manager))
}

fn http_filters(ctx: &Context<'_>, side: Side, authorization: &Authorization) -> Vec<hcm::HttpFilter> {
    let mut out = Vec::new();
    if ctx.ours() {
        out.push(http_filter(METADATA_EXCHANGE, empty()));
    }
    out.extend(authorization.http.iter().cloned());
    if ctx.ours() && side != Side::Inbound {
        out.push(http_filter(ALPN, empty()));
    }
    out.push(http_filter(CORS_FILTER, any(&cors::Cors {})));
    out.push(http_filter(FAULT_FILTER, any(&fault::HttpFault::default())));
    if ctx.ours() {
        out.push(http_filter(STATS, empty()));
    }
    out.push(http_filter("envoy.filters.http.router", any(&router::Router::default())));
    out
}

fn tracing(ctx: &Context<'_>) -> Option<hcm::http_connection_manager::Tracing> {
    let mesh = ctx.mesh();
    if !mesh.enable_tracing {
        return None;
    }
    let config = mesh.default_config.tracing.as_ref();
    let percent = |value: f64| Some(types::Percent { value });
    let sampling = config.and_then(|t| t.sampling).unwrap_or(DEFAULT_TRACE_SAMPLING);
    Some(hcm::http_connection_manager::Tracing {
        client_sampling: percent(100.0),
        random_sampling: percent(sampling.clamp(0.0, 100.0)),
        overall_sampling: percent(100.0),
        max_path_tag_length: u32v(config.and_then(|t| t.max_path_tag_length).unwrap_or(MAX_PATH_TAG)),
        ..Default::default()
    })
}
