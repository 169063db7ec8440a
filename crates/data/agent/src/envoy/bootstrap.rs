//! The bootstrap that Envoy is started with.
//!
//! Only what stock Envoy has, in its current API. Configuration comes from the agent's XDS socket, certificates
//! from its SDS socket; the two public listeners lead to Envoy's own metrics and to the agent's health check.

use portolan_names::names;
use serde_json::{Value, json};

use crate::settings::{AgentConfig, metadata, node};

/// Statistics that are kept unless `proxyStatsMatcher` adds some: few, because a mesh has many clusters.
const STAT_PREFIXES: [&str; 7] = [
    "reporter=",
    "component",
    "cluster_manager",
    "listener_manager",
    "server",
    "cluster.xds-grpc",
    "http_mixer_filter",
];

/// What a stock Envoy, which has no Istio metrics, tells of mutual TLS.
const TLS_STAT_SUFFIXES: [&str; 4] =
    ["ssl.handshake", "ssl.connection_error", "ssl.fail_verify_error", "ssl.fail_verify_san"];

/// Connections that one Envoy accepts: far above what a Pod's memory carries, so that memory is not the limit.
const MAX_CONNECTIONS: u32 = 100_000;

/// Where the agent's sockets and files are.
#[derive(Debug, Clone)]
pub struct Paths {
    /// SDS socket.
    pub sds: String,
    /// XDS socket.
    pub xds: String,
}

impl Paths {
    /// `<config path>/SDS` and `<config path>/XDS`.
    pub fn new(config_path: &str) -> Self {
        let base = config_path.trim_end_matches('/');
        Paths { sds: format!("{base}/SDS"), xds: format!("{base}/XDS") }
    }
}

/// Renders the bootstrap.
pub fn render(config: &AgentConfig, paths: &Paths) -> Value {
    let node = node(config);
    let mut clusters = vec![
        tcp_cluster("prometheus_stats", "127.0.0.1", config.admin_port),
        tcp_cluster("agent", "127.0.0.1", config.status_port),
        socket_cluster(names::SDS_CLUSTER, &paths.sds),
        socket_cluster(names::XDS_CLUSTER, &paths.xds),
    ];
    let mut bootstrap = json!({
        "node": {
            "id": node.id,
            "cluster": node.cluster,
            "locality": node.locality.map(|l| json!({"region": l.region, "zone": l.zone, "sub_zone": l.sub_zone})),
            "metadata": Value::Object(metadata(config)),
        },
        "layered_runtime": {
            "layers": [
                {"name": "global config", "static_layer": {"re2.max_program_size.error_level": 32768}},
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "stats_config": {
            "use_all_default_tags": false,
            "stats_tags": stats_tags(),
            "stats_matcher": {"inclusion_list": {"patterns": stats_patterns(config)}},
        },
        "overload_manager": {
            "resource_monitors": [{
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": MAX_CONNECTIONS,
                },
            }],
        },
        "admin": {
            "ignore_global_conn_limit": true,
            "access_log": [{
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": "/dev/null",
                },
            }],
            "address": address("127.0.0.1", config.admin_port),
        },
        "dynamic_resources": {
            "lds_config": ads_source(),
            "cds_config": ads_source(),
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": true,
                "grpc_services": [{"envoy_grpc": {"cluster_name": names::XDS_CLUSTER}}],
            },
        },
        "static_resources": {
            "listeners": [
                listener("prometheus_stats", config.prometheus_port, "/stats/prometheus", "prometheus_stats"),
                listener("agent", config.health_port, "/healthz/ready", "agent"),
            ],
        },
    });
    if let Some((host, port)) = config.proxy.zipkin_address.as_deref().and_then(split_address) {
        let mut zipkin = tcp_cluster("zipkin", host, port);
        if let Some(map) = zipkin.as_object_mut() {
            map.insert("type".into(), "STRICT_DNS".into());
        }
        clusters.push(zipkin);
        if let Some(map) = bootstrap.as_object_mut() {
            map.insert("tracing".into(), zipkin_tracer());
        }
    }
    if let Some((host, port)) = config.proxy.access_log_service.as_deref().and_then(split_address) {
        let mut service = tcp_cluster("envoy_accesslog_service", host, port);
        if let Some(map) = service.as_object_mut() {
            map.insert("type".into(), "STRICT_DNS".into());
            map.insert("typed_extension_protocol_options".into(), http2());
        }
        clusters.push(service);
    }
    if let Some(map) = bootstrap.get_mut("static_resources").and_then(Value::as_object_mut) {
        map.insert("clusters".into(), clusters.into());
    }
    // An absent locality must not be written as null, which is not a message.
    if let Some(map) = bootstrap.get_mut("node").and_then(Value::as_object_mut) {
        map.retain(|_, value| !value.is_null());
    }
    bootstrap
}

/// The tracer of connection managers without one of their own: all of a mesh, as in Istio 1.9. Client and server have
/// spans of their own there.
fn zipkin_tracer() -> Value {
    json!({"http": {
        "name": "envoy.tracers.zipkin",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
            "collector_cluster": "zipkin",
            "collector_endpoint": "/api/v2/spans",
            "collector_endpoint_version": "HTTP_JSON",
            "trace_id_128bit": true,
            "shared_span_context": false,
        },
    }})
}

fn ads_source() -> Value {
    json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"})
}

fn address(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}

fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

fn cluster(name: &str, address: Value) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    })
}

fn tcp_cluster(name: &str, host: &str, port: u16) -> Value {
    cluster(name, address(host, port))
}

/// A gRPC cluster on a unix socket, never limited: losing the control plane to a circuit breaker helps nobody.
fn socket_cluster(name: &str, path: &str) -> Value {
    let mut cluster = cluster(name, json!({"pipe": {"path": path}}));
    if let Some(map) = cluster.as_object_mut() {
        map.insert("typed_extension_protocol_options".into(), http2());
        let unlimited = |priority: &str| json!({"priority": priority, "max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000});
        map.insert(
            "circuit_breakers".into(),
            json!({"thresholds": [unlimited("DEFAULT"), unlimited("HIGH")]}),
        );
    }
    cluster
}

fn http2() -> Value {
    json!({
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        },
    })
}

/// A listener that lets one path through to one cluster.
fn listener(name: &str, port: u16, path: &str, cluster: &str) -> Value {
    json!({
        "name": name,
        "address": address("0.0.0.0", port),
        // Health checks and scrapes must get through when the connection limit is reached.
        "ignore_global_conn_limit": true,
        "filter_chains": [{
            "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "codec_type": "AUTO",
                    "stat_prefix": name,
                    "route_config": {
                        "virtual_hosts": [{
                            "name": "backend",
                            "domains": ["*"],
                            "routes": [{"match": {"prefix": path}, "route": {"cluster": cluster}}],
                        }],
                    },
                    "http_filters": [{
                        "name": "envoy.filters.http.router",
                        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                    }],
                },
            }],
        }],
    })
}

/// Cluster names have dots in them, which Envoy's default tags do not expect.
fn stats_tags() -> Value {
    json!([
        {"tag_name": "cluster_name", "regex": r"^cluster\.((.+?(\..+?\.svc\.[^.]+\.[^.]+)?)\.)"},
        {"tag_name": "tcp_prefix", "regex": r"^tcp\.((.*?)\.)\w+?$"},
        {"tag_name": "response_code", "regex": r"_rq(_(\d{3}))$"},
        {"tag_name": "response_code_class", "regex": r"_rq(_(\dxx))$"},
        {"tag_name": "http_conn_manager_listener_prefix", "regex": r"^listener(?=\.).*?\.http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"},
        {"tag_name": "http_conn_manager_prefix", "regex": r"^http\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"},
        {"tag_name": "listener_address", "regex": r"^listener\.(((?:[_.[:digit:]]*|[_\[\]aAbBcCdDeEfF[:digit:]]*))\.)"},
    ])
}

fn stats_patterns(config: &AgentConfig) -> Value {
    let matcher = &config.proxy.stats_matcher;
    let mut patterns: Vec<Value> = STAT_PREFIXES.iter().map(|prefix| json!({"prefix": prefix})).collect();
    patterns.extend(TLS_STAT_SUFFIXES.iter().map(|suffix| json!({"suffix": suffix})));
    patterns.extend(matcher.prefixes.iter().map(|prefix| json!({"prefix": prefix})));
    patterns.extend(matcher.suffixes.iter().map(|suffix| json!({"suffix": suffix})));
    patterns.extend(matcher.regexps.iter().map(|regex| json!({"safe_regex": {"regex": regex}})));
    patterns.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::sidecar;

    #[test]
    fn is_a_valid_bootstrap() {
        let config = sidecar(&[
            ("ENVOY_STATUS_PORT", "25021"),
            (
                "PROXY_CONFIG",
                r#"{"tracing":{"zipkin":{"address":"zipkin.istio-system:9411"}},
              "envoyAccessLogService":{"address":"als:9000"},
              "proxyStatsMatcher":{"inclusionPrefixes":["http."],"inclusionSuffixes":["rq_total"],"inclusionRegexps":["a.*"]}}"#,
            ),
            ("ISTIO_METAJSON_LABELS", r#"{"istio-locality":"eu.eu-1"}"#),
        ]);
        let bootstrap = render(&config, &Paths::new("./etc/istio/proxy/"));
        let loaded =
            crate::bootstrap::from_document(std::path::Path::new("envoy.json"), bootstrap.clone()).unwrap();
        let tracer = &bootstrap["tracing"]["http"]["typed_config"];
        assert_eq!(tracer["collector_cluster"], "zipkin");
        let statics = loaded.message.static_resources.unwrap();
        let names: Vec<_> = statics.clusters.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(
            names,
            ["prometheus_stats", "agent", "sds-grpc", "xds-grpc", "zipkin", "envoy_accesslog_service"]
        );
        assert_eq!(bootstrap["node"]["locality"]["zone"], "eu-1");
        assert_eq!(
            bootstrap["static_resources"]["listeners"][1]["address"]["socket_address"]["port_value"],
            25021
        );
        let pipe = &bootstrap["static_resources"]["clusters"][3]["load_assignment"];
        assert_eq!(
            pipe["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["pipe"]["path"],
            "./etc/istio/proxy/XDS"
        );
    }
}
