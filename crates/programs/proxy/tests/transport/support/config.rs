//! Builders of Envoy configuration in JSON.

use std::net::SocketAddr;

use serde_json::{Value, json};

/// A message in an `Any`.
pub(crate) fn any(kind: &str, mut fields: Value) -> Value {
    fields["@type"] = json!(format!("type.googleapis.com/envoy.{kind}"));
    fields
}

/// Sets fields of an object.
pub(crate) fn with(mut object: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("no object: {fields}") };
    for (name, value) in fields {
        object[name] = value;
    }
    object
}

/// A listener on a free loopback port; its statistics are at `listener.<name>.`.
pub(crate) fn listener(name: &str, chains: Vec<Value>) -> Value {
    json!({
        "name": name,
        "stat_prefix": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": chains,
    })
}

pub(crate) fn tls_inspector() -> Value {
    json!({
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": any("extensions.filters.listener.tls_inspector.v3.TlsInspector", json!({})),
    })
}

/// A chain of one filter.
pub(crate) fn chain(filter: Value) -> Value {
    json!({"filters": [filter]})
}

/// HTTP connection manager with one virtual host.
pub(crate) fn manager(prefix: &str, routes: Value) -> Value {
    manager_with(prefix, routes, json!({}))
}

pub(crate) fn manager_with(prefix: &str, routes: Value, fields: Value) -> Value {
    let manager = json!({
        "stat_prefix": prefix,
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": any("extensions.filters.http.router.v3.Router", json!({})),
        }],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    });
    json!({
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": any(
            "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            with(manager, fields),
        ),
    })
}

/// Everything is answered with `text`.
pub(crate) fn answering(prefix: &str, text: &str) -> Value {
    manager(
        prefix,
        json!([{
            "match": {"prefix": "/"},
            "direct_response": {"status": 200, "body": {"inline_string": text}},
        }]),
    )
}

/// Everything goes to `cluster`.
pub(crate) fn forwarding(prefix: &str, cluster: &str) -> Value {
    manager(prefix, json!([{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]))
}

pub(crate) fn tcp_proxy(prefix: &str, fields: Value) -> Value {
    json!({
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": any(
            "extensions.filters.network.tcp_proxy.v3.TcpProxy",
            with(json!({"stat_prefix": prefix}), fields),
        ),
    })
}

/// A JSON access log in the proxy's directory.
pub(crate) fn access_log(file: &str, fields: &[&str]) -> Value {
    let format: serde_json::Map<String, Value> =
        fields.iter().map(|field| ((*field).to_owned(), json!(format!("%{field}%")))).collect();
    json!([{
        "name": "envoy.access_loggers.file",
        "typed_config": any("extensions.access_loggers.file.v3.FileAccessLog", json!({
            "path": format!("{{DIR}}/{file}"),
            "log_format": {"json_format": format},
        })),
    }])
}

pub(crate) fn endpoint(address: SocketAddr) -> Value {
    json!({"endpoint": {"address": {"socket_address": {
        "address": address.ip().to_string(), "port_value": address.port(),
    }}}})
}

pub(crate) fn cluster(name: &str, hosts: &[SocketAddr]) -> Value {
    let endpoints: Vec<Value> = hosts.iter().map(|host| endpoint(*host)).collect();
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    })
}

/// `typed_extension_protocol_options` of a cluster.
pub(crate) fn protocol(options: Value) -> Value {
    json!({"typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
            any("extensions.upstreams.http.v3.HttpProtocolOptions", options),
    }})
}

/// HTTP/2 by prior knowledge.
pub(crate) fn http2() -> Value {
    protocol(json!({"explicit_http_config": {"http2_protocol_options": {}}}))
}

pub(crate) fn downstream_tls(common: Value, fields: Value) -> Value {
    json!({"transport_socket": {
        "name": "envoy.transport_sockets.tls",
        "typed_config": any(
            "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            with(json!({"common_tls_context": common}), fields),
        ),
    }})
}

pub(crate) fn upstream_tls(common: Value, fields: Value) -> Value {
    json!({"transport_socket": {
        "name": "envoy.transport_sockets.tls",
        "typed_config": any(
            "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            with(json!({"common_tls_context": common}), fields),
        ),
    }})
}

pub(crate) fn inline(text: &str) -> Value {
    json!({"inline_string": text})
}
