//! How far proxies are.

use portolan_xds::{server::Watch, type_url};
use serde_json::{Map, Value, json};

use crate::ads::{Connection, Connections, TypeStatus};

/// Types with fields of their own, by the prefix of the fields.
const TYPES: [(&str, &str); 5] = [
    ("cluster", type_url::CLUSTER),
    ("listener", type_url::LISTENER),
    ("route", type_url::ROUTE),
    ("endpoint", type_url::ENDPOINT),
    ("extensionconfig", type_url::EXTENSION_CONFIG),
];

/// `/debug/syncz`: nonces; a type is synced when what was sent is what was acknowledged.
pub(super) fn syncz(connections: &Connections) -> Value {
    connections.all().iter().map(|connection| proxy(connection)).collect()
}

fn proxy(connection: &Connection) -> Value {
    let node = &connection.node;
    let mut fields = Map::new();
    let mut set = |key: String, value: Value| {
        fields.insert(key, value);
    };
    set("cluster_id".into(), node.metadata.cluster_id.as_str().into());
    set("proxy".into(), format!("{}.{}", node.name, node.namespace).into());
    set("proxy_type".into(), if node.is_router() { "router".into() } else { "sidecar".into() });
    set("proxy_version".into(), connection.proxy_version.as_str().into());
    set("istio_version".into(), node.metadata.istio_version.as_str().into());
    let types = connection.types.lock();
    for (prefix, type_url) in TYPES {
        let Some(state) = types.get(type_url) else { continue };
        set(format!("{prefix}_sent"), state.status.sent.as_str().into());
        set(format!("{prefix}_acked"), state.status.acked.as_str().into());
    }
    let resources: Map<String, Value> =
        types.iter().map(|(name, state)| (name.to_string(), detail(state))).collect();
    let errors: Vec<&str> = types.values().filter_map(|state| state.status.last_error.as_deref()).collect();
    set("resources".into(), Value::Object(resources));
    if !errors.is_empty() {
        set("lastError".into(), errors.join("; ").into());
    }
    Value::Object(fields)
}

fn detail(state: &TypeStatus) -> Value {
    let mut detail = json!({
        "sent": state.status.sent,
        "acked": state.status.acked,
        "resources": state.status.resources,
        "generation": state.generation,
    });
    if let Some(at) = state.sent_at {
        detail["sentTime"] = at.to_string().into();
    }
    if let Some(error) = &state.status.last_error {
        detail["lastError"] = error.as_str().into();
    }
    detail
}

/// `/debug/adsz`: who watches what.
pub(super) fn adsz(connections: &Connections) -> Value {
    let clients: Vec<Value> = connections
        .all()
        .iter()
        .map(|connection| {
            let types = connection.types.lock();
            let watches: Map<String, Value> =
                types.iter().map(|(name, state)| (name.to_string(), watched(&state.watch))).collect();
            json!({
                "connectionId": connection.id,
                "connectedAt": connection.connected_at.to_string(),
                "address": connection.address.map(|address| address.to_string()),
                "identity": connection.identity,
                "labels": connection.node.metadata.labels,
                "watches": watches,
                "limitations": &*connection.limitations.lock(),
            })
        })
        .collect();
    json!({"totalClients": clients.len(), "clients": clients})
}

/// Names that are asked for, after `*` for everything.
fn watched(watch: &Watch) -> Value {
    watch.wildcard.then_some("*").into_iter().chain(watch.names.iter().map(|name| &**name)).collect()
}
