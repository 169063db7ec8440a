//! HTTP connection managers, compiled.

fn codec(from: i32) -> Valid<Codec> {
    use hcm::http_connection_manager::CodecType as T;
    match T::try_from(from) {
        Ok(T::Http1) => Ok(Codec::Http1),
        Ok(T::Http2) => Ok(Codec::Http2),
        Ok(T::Http3) => Err(Invalid::new("HTTP/3 is not supported")),
        Ok(T::Auto) | Err(_) => Ok(Codec::Auto),
    }
}

/// What is unknown is not forwarded.
fn forward_cert(from: i32) -> ForwardCert {
    use hcm::http_connection_manager::ForwardClientCertDetails as F;
    match F::try_from(from) {
        Ok(F::Sanitize) | Err(_) => ForwardCert::Sanitize,
        Ok(F::ForwardOnly) => ForwardCert::ForwardOnly,
        Ok(F::AppendForward) => ForwardCert::AppendForward,
        Ok(F::SanitizeSet) => ForwardCert::SanitizeSet,
        Ok(F::AlwaysForwardOnly) => ForwardCert::AlwaysForwardOnly,
    }
}

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::compile::Compile;
use crate::access_log::AccessLog;
use crate::cluster::header_case;
use crate::filters::HttpFilters;
use crate::message::Trailers;
use crate::pb::hcm;
use crate::route::RouteTable;
use crate::tracers::settings::Tracing;
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
pub enum Codec {
    /// What the client speaks, by ALPN or its first bytes.
    Auto,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Where routes come from.
#[derive(Debug)]
pub enum Routes {
    /// In the message.
    Inline(Arc<RouteTable>),
    /// In the resource of this name.
    Named(Arc<str>),
}

/// `forward_client_cert_details`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardCert {
    /// The client's is removed.
    Sanitize,
    /// The client's passes if it proved who it is.
    ForwardOnly,
    /// Ours is appended to that of a client that proved who it is.
    AppendForward,
    /// Ours replaces the client's.
    SanitizeSet,
    /// The client's always passes.
    AlwaysForwardOnly,
}

/// `server_header_transformation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerHeader {
    /// Ours replaces the host's.
    Overwrite,
    /// Ours is added where the host sent none.
    AppendIfAbsent,
    /// The host's stands, or none.
    PassThrough,
}

impl ServerHeader {
    fn compile(from: i32) -> Valid<ServerHeader> {
        use hcm::http_connection_manager::ServerHeaderTransformation as T;
        match T::try_from(from) {
            Ok(T::Overwrite) => Ok(ServerHeader::Overwrite),
            Ok(T::AppendIfAbsent) => Ok(ServerHeader::AppendIfAbsent),
            Ok(T::PassThrough) => Ok(ServerHeader::PassThrough),
            Err(_) => Err(Invalid(format!("server_header_transformation: {from} is unknown"))),
        }
    }
}

/// `headers_with_underscores_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underscores {
    /// Such fields pass.
    Allow,
    /// Their requests are refused.
    Reject,
    /// The fields are dropped.
    Drop,
}

impl Underscores {
    fn compile(from: i32) -> Valid<Underscores> {
        use crate::pb::core::http_protocol_options::HeadersWithUnderscoresAction as A;
        match A::try_from(from) {
            Ok(A::Allow) => Ok(Underscores::Allow),
            Ok(A::RejectRequest) => Ok(Underscores::Reject),
            Ok(A::DropHeader) => Ok(Underscores::Drop),
            Err(_) => Err(Invalid(format!("headers_with_underscores_action: {from} is unknown"))),
        }
    }
}

/// `path_with_escaped_slashes_action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay as they are, which is also what the default means.
    Keep,
    /// Their requests are refused.
    Reject,
    /// Clients are sent to the path with plain slashes.
    UnescapeAndRedirect,
    /// The path with plain slashes is used.
    UnescapeAndForward,
}

impl EscapedSlashes {
    fn compile(from: i32) -> Valid<EscapedSlashes> {
        use hcm::http_connection_manager::PathWithEscapedSlashesAction as A;
        match A::try_from(from) {
            Ok(A::ImplementationSpecificDefault | A::KeepUnchanged) => Ok(EscapedSlashes::Keep),
            Ok(A::RejectRequest) => Ok(EscapedSlashes::Reject),
            Ok(A::UnescapeAndRedirect) => Ok(EscapedSlashes::UnescapeAndRedirect),
            Ok(A::UnescapeAndForward) => Ok(EscapedSlashes::UnescapeAndForward),
            Err(_) => Err(Invalid(format!("path_with_escaped_slashes_action: {from} is unknown"))),
        }
    }
}

/// A compiled connection manager.
#[derive(Debug)]
pub struct Hcm {
    /// Of the client's side.
    pub codec: Codec,
    /// Where requests go.
    pub routes: Routes,
    /// What is done to them.
    pub filters: HttpFilters,
    /// Of the listener's traffic.
    pub direction: Direction,
    /// Name of its statistics' scope.
    pub stat_prefix: String,
    /// One line per request.
    pub access_log: Vec<AccessLog>,
    /// Which requests are traced, and how; `None` = none.
    pub tracing: Option<Box<Tracing>>,
    /// Value of `server`.
    pub server_name: HeaderValue,
    /// When it is written.
    pub server_header: ServerHeader,
    /// Value of `via`.
    pub via: Option<HeaderValue>,
    /// Of a request head.
    pub limits: portolan_h1::Limits,
    /// Whether HTTP/1.0 is served.
    pub accept_http10: bool,
    /// Host of HTTP/1.0 requests without one.
    pub default_host_http10: String,
    /// How HTTP/1 field names are written.
    pub header_case: portolan_h1::HeaderCase,
    /// Whether trailers pass to HTTP/1 clients.
    pub trailers: Trailers,
    /// HTTP/2 streams of one client at a time.
    pub max_streams: u32,
    /// After which an idle connection is closed; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// Time for a request head.
    pub head_timeout: Duration,
    /// Time for a whole request; `None` = no limit.
    pub request_timeout: Option<Duration>,
    /// Silence after which a stream is ended; `None` = never.
    pub stream_idle_timeout: Option<Duration>,
    /// Longest life of a stream; `None` = no limit.
    pub max_stream_duration: Option<Duration>,
    /// 0 = no limit.
    pub max_requests: u32,
    /// What happens to fields with underscores.
    pub underscores: Underscores,
    /// Whether the connection's address is the client's.
    pub use_remote_address: bool,
    /// Addresses of clients that may set router headers; none unless configured, as in Envoy since 1.33.
    pub internal: Vec<ipnet::IpNet>,
    /// Trusted proxies in front of this one.
    pub trusted_hops: u32,
    /// Leave `x-forwarded-for` as it is.
    pub skip_xff_append: bool,
    /// Give requests an id.
    pub generate_request_id: bool,
    /// Keep the id of an external client.
    pub preserve_request_id: bool,
    /// Send the id with the response.
    pub return_request_id: bool,
    /// What happens to `x-forwarded-client-cert`.
    pub forward_cert: ForwardCert,
    /// Put the subject in.
    pub cert_subject: bool,
    /// Put the URI names in.
    pub cert_uri: bool,
    /// Put the DNS names in.
    pub cert_dns: bool,
    /// The host answers `Expect: 100-continue`, not we.
    pub proxy_100_continue: bool,
    /// Resolve dot segments and escapes.
    pub normalize_path: bool,
    /// Take several slashes for one.
    pub merge_slashes: bool,
    /// What happens to escaped slashes.
    pub escaped_slashes: EscapedSlashes,
    /// Which port is cut off the authority.
    pub strip_port: StripPort,
    /// Cut a trailing dot off the host.
    pub strip_trailing_dot: bool,
    /// Upgrade types that are allowed, lower case.
    pub upgrades: Vec<String>,
    /// Neither read nor write `x-envoy-` headers.
    pub suppress_envoy_headers: bool,
}

/// Which port is cut off the authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StripPort {
    /// Neither.
    None,
    /// That of the listener.
    Matching,
    /// Each.
    Any,
}

impl Hcm {
    /// Compiles a connection manager.
    pub fn compile(from: &hcm::HttpConnectionManager, context: Compile) -> Valid<Hcm> {
        use hcm::http_connection_manager::{RouteSpecifier as R, StripPortMode};
        crate::ignored::refuse_manager(from)?;
        let routes = match from.route_specifier.as_ref().ok_or_else(|| Invalid::new("no routes"))? {
            R::RouteConfig(config) => {
                Routes::Inline(Arc::new(RouteTable::compile(config, context.load).at("route_config")?))
            }
            R::Rds(rds) => Routes::Named(rds.route_config_name.as_str().into()),
            R::ScopedRoutes(_) => return Err(Invalid::new("scoped_routes is not supported")),
        };
        let filters = HttpFilters::compile(&from.http_filters)?;
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
        Ok(Hcm {
            codec: codec(from.codec_type)?,
            routes,
            suppress_envoy_headers: filters.options.suppress_envoy_headers,
            filters,
            direction: context.direction,
            stat_prefix: from.stat_prefix.clone(),
            access_log: AccessLog::compile_all(&from.access_log, context.load)?,
            tracing: from
                .tracing
                .as_ref()
                .map(|tracing| Tracing::compile(tracing, context.load).map(Box::new))
                .transpose()
                .at("tracing")?,
            server_name: header(name).at("server_name")?,
            server_header: ServerHeader::compile(from.server_header_transformation)?,
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
            underscores: Underscores::compile(common.headers_with_underscores_action)?,
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
            forward_cert: forward_cert(from.forward_client_cert_details),
            cert_subject: bool_or(set.subject.as_ref(), false),
            cert_uri: set.uri,
            cert_dns: set.dns,
            proxy_100_continue: from.proxy_100_continue,
            normalize_path: bool_or(from.normalize_path.as_ref(), false),
            merge_slashes: from.merge_slashes,
            escaped_slashes: EscapedSlashes::compile(from.path_with_escaped_slashes_action)?,
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
    pub fn route_name(&self) -> Option<&str> {
        match &self.routes {
            Routes::Named(name) => Some(name),
            Routes::Inline(_) => None,
        }
    }
}
