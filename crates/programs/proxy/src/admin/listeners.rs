//! `/listeners`.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::AdminState;
use portolan_agent::serve::{json as json_response, param, query, text};

pub(super) fn listeners(state: &AdminState, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let status = state.store.status();
    let bound = status.listeners.iter().flat_map(|listener| {
        listener.local_addresses.iter().map(|address| (listener.name.as_str(), *address))
    });
    if param(&query(request.uri()), "format") == Some("json") {
        let statuses: Vec<Value> = bound
            .map(|(name, address)| json!({"name": name, "local_address": socket_address(address)}))
            .collect();
        return json_response(&json!({"listener_statuses": statuses}));
    }
    text(StatusCode::OK, bound.map(|(name, address)| format!("{name}::{address}\n")).collect::<String>())
}

/// `envoy.config.core.v3.Address` in JSON.
pub(super) fn socket_address(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}})
}
