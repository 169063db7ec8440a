//! HTTP connection managers, compiled.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::compile::Compile;
use crate::filters::{HttpFilter, NamedFilter, compile_http};
use crate::io::Trailers;
use crate::pb::hcm;
use crate::route::RouteTable;
use crate::stats::metrics::{HttpStats, PerWorker};
use crate::telemetry::access_log::AccessLog;
use crate::upstream::config::header_case;
use crate::value::{At as _, Direction, Invalid, Valid, bool_or, cidr, duration, timeout, u32_or};

/// Envoy's `stream_idle_timeout`.
const DEFAULT_STREAM_IDLE: Duration = Duration::from_secs(300);
/// Envoy's connection `idle_timeout`.
const DEFAULT_IDLE: Duration = Duration::from_secs(3600);
/// Time for a request head when `request_headers_timeout` is not set: a slow sender must not hold a connection.
const DEFAULT_HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// HTTP/2 streams of one client at a time, unless configured lower.
const MAX_STREAMS: u32 = 1024;

/// Which codec the downstream side speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Auto,
    Http1,
    Http2,
}

/// Where routes come from.
#[derive(Debug)]
pub(crate) enum Routes {
    Inline(Arc<RouteTable>),
    Named(Arc<str>),
}

/// `forward_client_cert_details`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardCert {
    Sanitize,
    ForwardOnly,
    AppendForward,
    SanitizeSet,
    AlwaysForwardOnly,
}

/// A compiled connection manager.
#[derive(Debug)]
pub(crate) struct Hcm {
    pub(crate) codec: Codec,
    pub(crate) routes: Routes,
    pub(crate) filters: Vec<NamedFilter>,
    pub(crate) has_stats: bool,
    pub(crate) direction: Direction,
    pub(crate) stats: Arc<PerWorker<HttpStats>>,
    pub(crate) access_log: Vec<AccessLog>,
    pub(crate) server_name: HeaderValue,
    pub(crate) server_transformation: i32,
    pub(crate) via: Option<HeaderValue>,
    pub(crate) limits: portolan_h1::Limits,
    pub(crate) accept_http10: bool,
    pub(crate) default_host_http10: String,
    pub(crate) header_case: portolan_h1::HeaderCase,
    pub(crate) trailers: Trailers,
    pub(crate) max_streams: u32,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) head_timeout: Duration,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) stream_idle_timeout: Option<Duration>,
    pub(crate) max_stream_duration: Option<Duration>,
    /// 0 = no limit.
    pub(crate) max_requests: u32,
    pub(crate) underscores: i32,
    pub(crate) use_remote_address: bool,
    /// Addresses of clients that may set router headers; none unless configured, as in Envoy since 1.33.
    pub(crate) internal: Vec<ipnet::IpNet>,
    pub(crate) trusted_hops: u32,
    pub(crate) skip_xff_append: bool,
    pub(crate) generate_request_id: bool,
    pub(crate) preserve_request_id: bool,
    pub(crate) return_request_id: bool,
    pub(crate) forward_cert: ForwardCert,
    pub(crate) cert_subject: bool,
    pub(crate) cert_uri: bool,
    pub(crate) cert_dns: bool,
    pub(crate) proxy_100_continue: bool,
    pub(crate) normalize_path: bool,
    pub(crate) merge_slashes: bool,
    pub(crate) escaped_slashes: i32,
    pub(crate) strip_port: StripPort,
    pub(crate) strip_trailing_dot: bool,
    /// Upgrade types that are allowed, lower case.
    pub(crate) upgrades: Vec<String>,
    pub(crate) suppress_envoy_headers: bool,
}

/// Which port is cut off the authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StripPort {
    None,
    Matching,
    Any,
}

impl Hcm {
    pub(crate) fn compile(from: &hcm::HttpConnectionManager, context: &Compile<'_>) -> Valid<Hcm> {
        use hcm::http_connection_manager::{
            ForwardClientCertDetails as F, RouteSpecifier as R, StripPortMode,
        };
        let routes = match from.route_specifier.as_ref().ok_or_else(|| Invalid::new("no routes"))? {
            R::RouteConfig(config) => {
                Routes::Inline(Arc::new(RouteTable::compile(config).at("route_config")?))
            }
            R::Rds(rds) => Routes::Named(rds.route_config_name.as_str().into()),
            R::ScopedRoutes(_) => return Err(Invalid::new("scoped_routes is not supported")),
        };
        let filters = compile_http(&from.http_filters)?;
        if from.local_reply_config.is_some() {
            return Err(Invalid::new("local_reply_config is not supported"));
        }
        let common = from.common_http_protocol_options.unwrap_or_default();
        let h1 = from.http_protocol_options.clone().unwrap_or_default();
        let h2 = from.http2_protocol_options.clone().unwrap_or_default();
        let set = from.set_current_client_cert_details.unwrap_or_default();
        let head_kib = u32_or(from.max_request_headers_kb.as_ref(), 60).clamp(1, 8192) as usize;
        let name = if from.server_name.is_empty() { "envoy" } else { &from.server_name };
        let header = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| Invalid(format!("{text:?} is no header value")))
        };
        let forward_cert = match F::try_from(from.forward_client_cert_details) {
            Ok(F::Sanitize) | Err(_) => ForwardCert::Sanitize,
            Ok(F::ForwardOnly) => ForwardCert::ForwardOnly,
            Ok(F::AppendForward) => ForwardCert::AppendForward,
            Ok(F::SanitizeSet) => ForwardCert::SanitizeSet,
            Ok(F::AlwaysForwardOnly) => ForwardCert::AlwaysForwardOnly,
        };
        Ok(Hcm {
            codec: match hcm::http_connection_manager::CodecType::try_from(from.codec_type) {
                Ok(hcm::http_connection_manager::CodecType::Http1) => Codec::Http1,
                Ok(hcm::http_connection_manager::CodecType::Http2) => Codec::Http2,
                Ok(hcm::http_connection_manager::CodecType::Http3) => return Err(Invalid::new("HTTP/3 is not supported")),
                _ => Codec::Auto,
            },
            routes,
            has_stats: filters.iter().any(|filter| matches!(filter.filter, HttpFilter::Stats)),
            suppress_envoy_headers: filters.iter().any(
                |filter| matches!(&filter.filter, HttpFilter::Router(options) if options.suppress_envoy_headers),
            ),
            filters,
            direction: context.direction,
            stats: context.http_stats(&from.stat_prefix),
            access_log: AccessLog::compile_all(&from.access_log)?,
            server_name: header(name).at("server_name")?,
            server_transformation: from.server_header_transformation,
            via: if from.via.is_empty() { None } else { Some(header(&from.via).at("via")?) },
            limits: portolan_h1::Limits {
                head_bytes: head_kib * 1024,
                headers: u32_or(common.max_headers_count.as_ref(), 100) as usize,
            },
            accept_http10: h1.accept_http_10,
            default_host_http10: h1.default_host_for_http_10.clone(),
            header_case: header_case(Some(&h1)),
            trailers: Trailers::of(Some(&h1)),
            max_streams: u32_or(h2.max_concurrent_streams.as_ref(), MAX_STREAMS).min(MAX_STREAMS),
            idle_timeout: timeout(common.idle_timeout.as_ref(), Some(DEFAULT_IDLE)).at("idle_timeout")?,
            head_timeout: timeout(from.request_headers_timeout.as_ref(), None)
                .at("request_headers_timeout")?
                .unwrap_or(DEFAULT_HEAD_TIMEOUT),
            request_timeout: timeout(from.request_timeout.as_ref(), None).at("request_timeout")?,
            stream_idle_timeout: timeout(from.stream_idle_timeout.as_ref(), Some(DEFAULT_STREAM_IDLE))
                .at("stream_idle_timeout")?,
            max_stream_duration: duration(common.max_stream_duration.as_ref())
                .at("max_stream_duration")?
                .filter(|limit| !limit.is_zero()),
            max_requests: u32_or(common.max_requests_per_connection.as_ref(), 0),
            underscores: common.headers_with_underscores_action,
            use_remote_address: bool_or(from.use_remote_address.as_ref(), false),
            internal: from
                .internal_address_config
                .iter()
                .flat_map(|config| &config.cidr_ranges)
                .map(cidr)
                .collect::<Valid<_>>()
                .at("internal_address_config")?,
            trusted_hops: from.xff_num_trusted_hops,
            skip_xff_append: from.skip_xff_append,
            generate_request_id: bool_or(from.generate_request_id.as_ref(), true),
            preserve_request_id: from.preserve_external_request_id,
            return_request_id: from.always_set_request_id_in_response,
            forward_cert,
            cert_subject: bool_or(set.subject.as_ref(), false),
            cert_uri: set.uri,
            cert_dns: set.dns,
            proxy_100_continue: from.proxy_100_continue,
            normalize_path: bool_or(from.normalize_path.as_ref(), false),
            merge_slashes: from.merge_slashes,
            escaped_slashes: from.path_with_escaped_slashes_action,
            strip_port: match (&from.strip_port_mode, from.strip_matching_host_port) {
                (Some(StripPortMode::StripAnyHostPort(true)), _) => StripPort::Any,
                (_, true) => StripPort::Matching,
                _ => StripPort::None,
            },
            strip_trailing_dot: from.strip_trailing_host_dot,
            upgrades: from
                .upgrade_configs
                .iter()
                .filter(|upgrade| bool_or(upgrade.enabled.as_ref(), true))
                .map(|upgrade| upgrade.upgrade_type.to_ascii_lowercase())
                .collect(),
        })
    }

    /// The RDS name.
    pub(crate) fn route_name(&self) -> Option<&str> {
        match &self.routes {
            Routes::Named(name) => Some(name),
            Routes::Inline(_) => None,
        }
    }
}
