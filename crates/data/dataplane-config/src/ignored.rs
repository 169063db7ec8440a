//! Fields of Envoy's messages that mean nothing here: the one place that lists them.
//!
//! The rule: a field that is set and not honoured is refused when something would be let through, or sent elsewhere,
//! that it forbids; it is listed here when what is lost is an optimisation, a measurement or a convenience. Nothing is
//! dropped in silence.

use std::fmt;

use crate::pb::{cluster, core, ext_authz, hcm, listener, route, tcp_proxy};
use crate::value::{Invalid, Valid, type_of, unpack};

/// A field that is set and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ignored {
    /// Message and field, as Envoy's documentation names them.
    pub field: &'static str,
    /// Why nothing is lost by it.
    pub reason: &'static str,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.reason)
    }
}

/// Whether a field differs from what it is when nobody set it.
trait Set {
    fn is_set(&self) -> bool;
}

impl<T> Set for Option<T> {
    fn is_set(&self) -> bool {
        self.is_some()
    }
}

impl<T> Set for Vec<T> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl Set for String {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl Set for bool {
    fn is_set(&self) -> bool {
        *self
    }
}

impl Set for i32 {
    fn is_set(&self) -> bool {
        *self != 0
    }
}

/// A function that names the fields of a message which are set and ignored.
macro_rules! ignored {
    ($name:ident($message:ty) $prefix:literal { $($field:ident: $reason:literal,)* }) => {
        fn $name(from: &$message, out: &mut Vec<Ignored>) {
            $(
                if from.$field.is_set() {
                    out.push(Ignored { field: concat!($prefix, ".", stringify!($field)), reason: $reason });
                }
            )*
        }
    };
}

/// A function that refuses a message in which one of these fields is set.
macro_rules! refused {
    ($(#[$doc:meta])* $name:ident($message:ty) { $($field:ident,)* }) => {
        $(#[$doc])*
        pub(crate) fn $name(from: &$message) -> Valid<()> {
            $(
                if from.$field.is_set() {
                    return Err(Invalid::new(concat!(stringify!($field), " is not supported")));
                }
            )*
            Ok(())
        }
    };
}

refused! {
    /// Fields on which it depends who a client is taken for, and which path is matched.
    refuse_manager(hcm::HttpConnectionManager) {
        forward_client_cert_matcher,
        original_ip_detection_extensions,
        early_header_mutation_extensions,
        path_normalization_options,
        typed_header_validation_config,
        forward_proto_config,
    }
}

refused! {
    /// Fields on which it depends how a host is spoken to.
    refuse_cluster(cluster::Cluster) {
        transport_socket_matcher,
        upstream_config,
    }
}

refused! {
    /// Fields on which it depends which route is taken.
    refuse_routes(route::RouteConfiguration) {
        vhost_header,
        ignore_path_parameters_in_path_matching,
        route_specifiers,
    }
}

refused! {
    /// Fields on which it depends which route is taken.
    refuse_virtual_host(route::VirtualHost) {
        route_specifiers,
    }
}

refused! {
    /// Fields on which it depends which route is taken.
    refuse_route(route::Route) {
        route_specifiers,
    }
}

refused! {
    /// Fields on which it depends what the first bytes of a connection mean.
    refuse_chain(listener::FilterChain) {
        use_proxy_proto,
    }
}

refused! {
    /// Fields on which it depends who is asked, and what the answer may change.
    refuse_ext_authz(ext_authz::ExtAuthz) {
        filter_enabled_metadata,
        decoder_header_mutation_rules,
        shadow_mode,
    }
}

refused! {
    /// Fields on which it depends what an authorization server is asked.
    refuse_authz_service(ext_authz::HttpService) {
        path_override,
        retry_policy,
    }
}

ignored! {
    authz(ext_authz::ExtAuthz) "ExtAuthz" {
        stat_prefix: "the filters of a connection manager count together",
        validate_mutations: "fields of answers are always checked",
        include_peer_certificate: "only a gRPC server would be told",
        include_tls_session: "only a gRPC server would be told",
        metadata_context_namespaces: "only a gRPC server would be told",
        typed_metadata_context_namespaces: "only a gRPC server would be told",
        route_metadata_context_namespaces: "only a gRPC server would be told",
        route_typed_metadata_context_namespaces: "only a gRPC server would be told",
        bootstrap_metadata_labels_key: "only a gRPC server would be told",
        encode_raw_headers: "only a gRPC server would be told",
        enable_dynamic_metadata_ingestion: "only a gRPC server sends metadata",
        charge_cluster_response_stats: "the cluster of the server counts its answers",
        filter_metadata: "nothing would read it",
        emit_filter_state_stats: "there is no filter state",
        enforce_response_header_limits: "the limits of the codec apply",
        emit_client_span: "requests of filters have no spans",
    }
}

ignored! {
    manager(hcm::HttpConnectionManager) "HttpConnectionManager" {
        add_user_agent: "requests keep the user agent that they have",
        http1_safe_max_connection_duration: "connections have no maximum duration",
        http3_protocol_options: "HTTP/3 is not served",
        scheme_header_transformation: "the scheme says how the request came in",
        stream_flush_timeout: "the idle timeout of the stream also limits its last write",
        drain_timeout: "the drain time of the proxy applies",
        drain_timeout_jitter: "the drain time of the proxy applies",
        delayed_close_timeout: "connections are closed without a delay",
        access_log_flush_interval: "requests are logged at their end only",
        flush_access_log_on_new_request: "requests are logged at their end only",
        access_log_options: "requests are logged at their end only",
        represent_ipv4_remote_address_as_ipv4_mapped_ipv6: "addresses are written as they are",
        request_id_extension: "request ids are UUIDs, which say whether a request is traced",
        stream_error_on_invalid_http_message: "a malformed message ends its connection",
        proxy_status_config: "no Proxy-Status field is written",
        append_x_forwarded_port: "no X-Forwarded-Port field is written",
        append_local_overload: "there is no overload manager",
        add_proxy_protocol_connection_state: "the PROXY protocol is not spoken",
    }
}

ignored! {
    tracing(hcm::http_connection_manager::Tracing) "HttpConnectionManager.Tracing" {
        verbose: "of the events of a request its end is reported",
    }
}

ignored! {
    common_http(core::HttpProtocolOptions) "HttpProtocolOptions" {
        max_connection_duration: "connections have no maximum duration",
        max_connection_duration_jitter: "connections have no maximum duration",
        max_response_headers_kb: "the limit of response heads is fixed",
    }
}

ignored! {
    http1(core::Http1ProtocolOptions) "Http1ProtocolOptions" {
        allow_absolute_url: "absolute URLs are always taken",
        allow_chunked_length: "a message with both a length and chunks is always refused",
        override_stream_error_on_invalid_http_message: "a malformed message ends its connection",
        send_fully_qualified_url: "hosts get paths",
        use_balsa_parser: "the parser is our own",
        allow_custom_methods: "methods are always any token",
        ignore_http_11_upgrade: "upgrades that are not allowed are refused",
    }
}

ignored! {
    http2(core::Http2ProtocolOptions) "Http2ProtocolOptions" {
        hpack_table_size: "the size is fixed",
        initial_stream_window_size: "windows are sized by the proxy",
        initial_connection_window_size: "windows are sized by the proxy",
        allow_connect: "extended CONNECT is not offered",
        allow_metadata: "METADATA frames are skipped",
        max_outbound_frames: "the limits of the codec apply",
        max_outbound_control_frames: "the limits of the codec apply",
        max_consecutive_inbound_frames_with_empty_payload: "the limits of the codec apply",
        max_inbound_priority_frames_per_stream: "the limits of the codec apply",
        max_inbound_window_update_frames_per_data_frame_sent: "the limits of the codec apply",
        stream_error_on_invalid_http_messaging: "the codec decides",
        override_stream_error_on_invalid_http_message: "the codec decides",
        custom_settings_parameters: "no other settings are sent",
        connection_keepalive: "no pings are sent",
    }
}

ignored! {
    tcp(tcp_proxy::TcpProxy) "TcpProxy" {
        on_demand: "clusters are never discovered on demand",
        downstream_idle_timeout: "the idle timeout applies to both sides",
        upstream_idle_timeout: "the idle timeout applies to both sides",
        backoff_options: "the next attempt follows at once",
        max_downstream_connection_duration: "connections have no maximum duration",
        access_log_flush_interval: "connections are logged at their end only",
        flush_access_log_on_connected: "connections are logged at their end only",
        access_log_options: "connections are logged at their end only",
    }
}

ignored! {
    of_one_listener(listener::Listener) "Listener" {
        stats_matcher: "all statistics are kept",
        per_connection_buffer_limit_bytes: "buffers have fixed limits",
        per_connection_buffer_high_watermark_timeout: "buffers have fixed limits",
        drain_type: "a listener drains whenever it is replaced",
        socket_options: "sockets get the options of the listener's own fields only",
        tcp_fast_open_queue_length: "TCP fast open is not used",
        connection_balance_config: "every worker has a socket of its own",
        reuse_port: "every worker has a socket of its own",
        enable_reuse_port: "every worker has a socket of its own",
        max_connections_to_accept_per_socket_event: "connections are accepted one by one",
        enable_mptcp: "MPTCP is not used",
        ignore_global_conn_limit: "there is no overload manager",
        bypass_overload_manager: "there is no overload manager",
    }
}

ignored! {
    of_one_cluster(cluster::Cluster) "Cluster" {
        alt_stat_name: "statistics have the name of the cluster",
        stats_matcher: "all statistics are kept",
        per_connection_buffer_limit_bytes: "buffers have fixed limits",
        per_connection_buffer_high_watermark_timeout: "buffers have fixed limits",
        health_checks: "hosts are judged by their endpoints' health and by outlier detection",
        upstream_http_protocol_options: "ALPN and SNI are chosen by the transport",
        dns_jitter: "names are resolved at their refresh rate",
        dns_failure_refresh_rate: "names are resolved at their refresh rate",
        respect_dns_ttl: "names are resolved at their refresh rate",
        dns_resolvers: "the system resolves names",
        use_tcp_for_dns_lookups: "the system resolves names",
        dns_resolution_config: "the system resolves names",
        typed_dns_resolver_config: "the system resolves names",
        wait_for_warm_on_init: "a cluster always warms",
        cleanup_interval: "hosts of original destinations live as long as their connections",
        close_connections_on_host_health_failure: "requests on an unhealthy host may finish",
        ignore_health_on_host_removal: "a removed host gets no new requests",
        lrs_server: "load is not reported",
        lrs_report_endpoint_metrics: "load is not reported",
        track_timeout_budgets: "timeout budgets are not measured",
        track_cluster_stats: "the usual statistics are kept",
        preconnect_policy: "connections are opened when they are needed",
        connection_pool_per_downstream_connection: "pools are shared by the connections of a worker",
        queuing_policies: "the circuit breakers limit what waits",
    }
}

ignored! {
    table(route::RouteConfiguration) "RouteConfiguration" {
        validate_clusters: "routes may name clusters that come later",
        max_direct_response_body_size_bytes: "Envoy's default limit applies",
        cluster_specifier_plugins: "routes that use one are refused",
    }
}

ignored! {
    virtual_host(route::VirtualHost) "VirtualHost" {
        virtual_clusters: "no statistics are kept of virtual clusters",
        rate_limits: "there is no rate limit filter that would read them",
        retry_policy_typed_config: "retry_policy is what counts",
        hedge_policy: "requests are not hedged",
        include_is_timeout_retry_header: "no such field is written",
        request_body_buffer_limit: "per_request_buffer_limit_bytes is what counts",
    }
}

ignored! {
    one_route(route::Route) "Route" {
        request_body_buffer_limit: "per_request_buffer_limit_bytes is what counts",
    }
}

ignored! {
    action(route::RouteAction) "RouteAction" {
        flush_timeout: "the idle timeout of the stream also limits its last write",
        early_data_policy: "early data are not taken",
        retry_policy_typed_config: "retry_policy is what counts",
        rate_limits: "there is no rate limit filter that would read them",
        include_vh_rate_limits: "there is no rate limit filter that would read them",
        grpc_timeout_offset: "grpc-timeout is taken as it is",
        internal_redirect_policy: "redirects go to the client",
        internal_redirect_action: "redirects go to the client",
        max_internal_redirects: "redirects go to the client",
        hedge_policy: "requests are not hedged",
    }
}

ignored! {
    retry(route::RetryPolicy) "RetryPolicy" {
        per_try_idle_timeout: "the timeout of a try is what counts",
        retry_priority: "a retry goes by the same priorities as the request",
        retry_options_predicates: "retries keep the options of the request",
        rate_limited_retry_back_off: "retry_back_off is what counts",
    }
}

fn done(mut out: Vec<Ignored>) -> Vec<Ignored> {
    out.sort_unstable();
    out.dedup();
    out
}

/// What is ignored of a route configuration; each field once.
pub fn of_routes(from: &route::RouteConfiguration) -> Vec<Ignored> {
    let mut out = Vec::new();
    routes(from, &mut out);
    done(out)
}

/// What is ignored of a virtual host; each field once.
pub fn of_virtual_host(from: &route::VirtualHost) -> Vec<Ignored> {
    let mut out = Vec::new();
    host(from, &mut out);
    done(out)
}

fn routes(from: &route::RouteConfiguration, out: &mut Vec<Ignored>) {
    table(from, out);
    from.virtual_hosts.iter().for_each(|one| host(one, out));
}

fn host(from: &route::VirtualHost, out: &mut Vec<Ignored>) {
    virtual_host(from, out);
    from.retry_policy.iter().for_each(|policy| retry(policy, out));
    for one in &from.routes {
        one_route(one, out);
        if let Some(route::route::Action::Route(forward)) = &one.action {
            action(forward, out);
            forward.retry_policy.iter().for_each(|policy| retry(policy, out));
        }
    }
}

/// What is ignored of a cluster; each field once.
pub fn of_cluster(from: &cluster::Cluster) -> Vec<Ignored> {
    let mut out = Vec::new();
    of_one_cluster(from, &mut out);
    from.common_http_protocol_options.iter().for_each(|options| common_http(options, &mut out));
    from.http_protocol_options.iter().for_each(|options| http1(options, &mut out));
    from.http2_protocol_options.iter().for_each(|options| http2(options, &mut out));
    done(out)
}

/// What is ignored of a listener and of what its chains hold; each field once.
pub fn of_listener(from: &listener::Listener) -> Vec<Ignored> {
    let mut out = Vec::new();
    of_one_listener(from, &mut out);
    let chains = from.filter_chains.iter().chain(&from.default_filter_chain);
    for filter in chains.flat_map(|chain| &chain.filters) {
        let Some(listener::filter::ConfigType::TypedConfig(config)) = &filter.config_type else { continue };
        match type_of(config) {
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager" => {
                let Ok(from) = unpack::<hcm::HttpConnectionManager>(config) else { continue };
                manager(&from, &mut out);
                for filter in &from.http_filters {
                    let Some(hcm::http_filter::ConfigType::TypedConfig(config)) = &filter.config_type else {
                        continue;
                    };
                    if type_of(config) == "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz" {
                        unpack(config).iter().for_each(|from| authz(from, &mut out));
                    }
                }
                from.tracing.iter().for_each(|one| tracing(one, &mut out));
                from.common_http_protocol_options.iter().for_each(|options| common_http(options, &mut out));
                from.http_protocol_options.iter().for_each(|options| http1(options, &mut out));
                from.http2_protocol_options.iter().for_each(|options| http2(options, &mut out));
                if let Some(hcm::http_connection_manager::RouteSpecifier::RouteConfig(inline)) =
                    &from.route_specifier
                {
                    routes(inline, &mut out);
                }
            }
            "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy" => {
                let Ok(from) = unpack::<tcp_proxy::TcpProxy>(config) else { continue };
                tcp(&from, &mut out);
            }
            _ => {}
        }
    }
    done(out)
}
