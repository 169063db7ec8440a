//! `/config_dump`: everything the proxy was given, as Envoy's `ConfigDump`. Private keys are redacted.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use regex_automata::meta::Regex;
use serde_json::{Map, Value, json};

use super::AdminState;
use super::server_info::timestamp;
use portolan_agent::serve::{json as json_response, param, query, text};
use portolan_dataplane::config::{DumpEntry, DumpState, ResourceKind};

/// Package of the dump messages.
const ADMIN: &str = "type.googleapis.com/envoy.admin.v3.";
/// Longest `name_regex`.
const MAX_REGEX: usize = 1024;
/// Type name of the filter that holds inline routes.
const HTTP_CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

pub(super) fn config_dump(state: &AdminState, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let query = query(request.uri());
    let include_eds = param(&query, "include_eds").is_some();
    let name_regex = match param(&query, "name_regex")
        .map(|p| (p.len() <= MAX_REGEX).then(|| Regex::new(p).ok()).flatten())
    {
        None => None,
        Some(Some(regex)) => Some(regex),
        Some(None) => return text(StatusCode::BAD_REQUEST, "name_regex is not a valid regular expression\n"),
    };
    let mask: Vec<&str> = param(&query, "mask").map(|mask| mask.split(',').collect()).unwrap_or_default();
    let mut entries = state.store.dump();
    if let Some(regex) = &name_regex {
        entries.retain(|entry| regex.is_match(entry.name.as_str()));
    }
    let configs = configs(state, &entries, include_eds);
    let Some(resource) = param(&query, "resource") else {
        let configs: Vec<Value> = configs.into_iter().map(|config| masked(config, &mask)).collect();
        return json_response(&json!({"configs": configs}));
    };
    let found = configs.into_iter().find_map(|config| {
        let holder = config.get("@type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let item = item_type(resource)?;
        match config.get(resource)? {
            Value::Array(list) => Some(
                list.iter()
                    .map(|entry| {
                        let mut map = Map::new();
                        map.insert("@type".into(), format!("{holder}.{item}").into());
                        map.extend(entry.as_object().cloned().unwrap_or_default());
                        masked(Value::Object(map), &mask)
                    })
                    .collect::<Vec<_>>(),
            ),
            _ => None,
        }
    });
    match (found, item_type(resource)) {
        (Some(configs), _) => json_response(&json!({"configs": configs})),
        (None, Some(_)) => json_response(&json!({"configs": []})),
        (None, None) => text(StatusCode::NOT_FOUND, format!("{resource} not found in config dump\n")),
    }
}

/// The message type of one item of a repeated field of a dump.
fn item_type(resource: &str) -> Option<&'static str> {
    Some(match resource {
        "static_clusters" => "StaticCluster",
        "dynamic_active_clusters" | "dynamic_warming_clusters" => "DynamicCluster",
        "static_listeners" => "StaticListener",
        "dynamic_listeners" => "DynamicListener",
        "static_route_configs" => "StaticRouteConfig",
        "dynamic_route_configs" => "DynamicRouteConfig",
        "static_endpoint_configs" => "StaticEndpointConfig",
        "dynamic_endpoint_configs" => "DynamicEndpointConfig",
        "static_secrets" => "StaticSecret",
        "dynamic_active_secrets" | "dynamic_warming_secrets" => "DynamicSecret",
        _ => return None,
    })
}

/// Keeps only the masked paths of a dump (`@type` always, at every level).
fn masked(config: Value, mask: &[&str]) -> Value {
    if mask.is_empty() {
        return config;
    }
    let mut out = Value::Object(Map::new());
    if let (Some(kind), Some(map)) = (config.get("@type"), out.as_object_mut()) {
        map.insert("@type".into(), kind.clone());
    }
    for path in mask {
        keep(&config, &mut out, path);
    }
    out
}

fn keep(from: &Value, to: &mut Value, path: &str) {
    let (head, rest) = path.split_once('.').map_or((path, None), |(head, rest)| (head, Some(rest)));
    let Some(found) = from.get(head) else { return };
    let Some(map) = to.as_object_mut() else { return };
    // Without its type a reader can make nothing of an `Any`.
    if let Some(kind) = from.get("@type") {
        map.insert("@type".into(), kind.clone());
    }
    match rest {
        None => {
            map.insert(head.into(), found.clone());
        }
        Some(rest) => keep(found, map.entry(head).or_insert_with(|| Value::Object(Map::new())), rest),
    }
}

fn configs(state: &AdminState, entries: &[DumpEntry], include_eds: bool) -> Vec<Value> {
    let of = |kind: ResourceKind| entries.iter().filter(move |entry| entry.kind == kind);
    let mut out = vec![json!({
        "@type": format!("{ADMIN}BootstrapConfigDump"),
        "bootstrap": state.bootstrap,
        "last_updated": timestamp(state.started),
    })];
    out.push(clusters(of(ResourceKind::Cluster)));
    if include_eds {
        out.push(endpoints(of(ResourceKind::Endpoints)));
    }
    let mut inline_routes = Vec::new();
    out.push(listeners(of(ResourceKind::Listener), &mut inline_routes));
    out.push(json!({"@type": format!("{ADMIN}ScopedRoutesConfigDump")}));
    out.push(routes(of(ResourceKind::Routes), inline_routes));
    out.push(secrets(of(ResourceKind::Secret)));
    out
}

fn body(entry: &DumpEntry) -> Value {
    portolan_xds::json::any_to_json(entry.kind.type_url(), &entry.body)
}

/// `{version_info, <field>, last_updated, error_state}` of one resource.
fn item(entry: &DumpEntry, field: &str) -> Value {
    let mut map = Map::new();
    if entry.state != DumpState::Static && !entry.version.is_empty() {
        map.insert("version_info".into(), entry.version.clone().into());
    }
    map.insert(field.into(), body(entry));
    map.insert("last_updated".into(), timestamp(entry.last_updated).into());
    if let Some(error) = error_state(entry) {
        map.insert("error_state".into(), error);
    }
    Value::Object(map)
}

fn error_state(entry: &DumpEntry) -> Option<Value> {
    let (when, version, reason) = entry.error.as_ref()?;
    Some(json!({"last_update_attempt": timestamp(*when), "details": reason, "version_info": version}))
}

/// A dump with its repeated fields, empty ones left out.
fn dump(name: &str, fields: Vec<(&str, Vec<Value>)>) -> Value {
    let mut map = Map::new();
    map.insert("@type".into(), format!("{ADMIN}{name}").into());
    for (field, list) in fields {
        if !list.is_empty() {
            map.insert(field.into(), list.into());
        }
    }
    Value::Object(map)
}

/// The version of the newest resource, which Envoy shows for the whole dump.
fn with_version(mut dump: Value, newest: Option<(std::time::SystemTime, String)>) -> Value {
    if let (Some((_, version)), Some(map)) = (newest, dump.as_object_mut()) {
        map.shift_insert(1, "version_info".into(), version.into());
    }
    dump
}

fn newest<'a>(entries: impl Iterator<Item = &'a DumpEntry>) -> Option<(std::time::SystemTime, String)> {
    entries
        .filter(|entry| entry.state != DumpState::Static && !entry.version.is_empty())
        .map(|entry| (entry.last_updated, entry.version.clone()))
        .max()
}

fn clusters<'a>(entries: impl Iterator<Item = &'a DumpEntry> + Clone) -> Value {
    let list =
        |state| entries.clone().filter(move |e| e.state == state).map(|e| item(e, "cluster")).collect();
    let all = dump(
        "ClustersConfigDump",
        vec![
            ("static_clusters", list(DumpState::Static)),
            ("dynamic_active_clusters", list(DumpState::Active)),
            ("dynamic_warming_clusters", list(DumpState::Warming)),
        ],
    );
    with_version(all, newest(entries))
}

fn endpoints<'a>(entries: impl Iterator<Item = &'a DumpEntry> + Clone) -> Value {
    let list = |fixed: bool| {
        let chosen = entries.clone().filter(move |e| (e.state == DumpState::Static) == fixed);
        chosen.map(|e| item(e, "endpoint_config")).collect()
    };
    dump(
        "EndpointsConfigDump",
        vec![("static_endpoint_configs", list(true)), ("dynamic_endpoint_configs", list(false))],
    )
}

fn listeners<'a>(
    entries: impl Iterator<Item = &'a DumpEntry> + Clone,
    inline_routes: &mut Vec<Value>,
) -> Value {
    let (mut fixed, mut dynamic) = (Vec::new(), Vec::<Value>::new());
    for entry in entries.clone() {
        let mut state = item(entry, "listener");
        if entry.state != DumpState::Warming {
            collect_routes(&state["listener"], &state["last_updated"], inline_routes);
        }
        if entry.state == DumpState::Static {
            fixed.push(state);
            continue;
        }
        let error = state.as_object_mut().and_then(|map| map.remove("error_state"));
        let field = if entry.state == DumpState::Warming { "warming_state" } else { "active_state" };
        // One listener may have both an active and a warming version.
        let slot = match dynamic.iter().position(|listener| listener["name"] == entry.name.as_str()) {
            Some(index) => index,
            None => {
                dynamic.push(json!({"name": entry.name}));
                dynamic.len() - 1
            }
        };
        if let Some(map) = dynamic.get_mut(slot).and_then(Value::as_object_mut) {
            map.insert(field.into(), state);
            if let Some(error) = error {
                map.insert("error_state".into(), error);
            }
        }
    }
    let all = dump("ListenersConfigDump", vec![("static_listeners", fixed), ("dynamic_listeners", dynamic)]);
    with_version(all, newest(entries))
}

/// Route tables inside listeners show as static route configurations (istioctl and Kiali read them there).
fn collect_routes(value: &Value, last_updated: &Value, out: &mut Vec<Value>) {
    match value {
        Value::Array(list) => list.iter().for_each(|item| collect_routes(item, last_updated, out)),
        Value::Object(map) => {
            let is_http = map
                .get("@type")
                .and_then(Value::as_str)
                .is_some_and(|kind| kind.ends_with(HTTP_CONNECTION_MANAGER));
            if is_http && let Some(Value::Object(routes)) = map.get("route_config") {
                let mut config = Map::new();
                config.insert("@type".into(), ResourceKind::Routes.type_url().into());
                config.extend(routes.clone());
                out.push(json!({"route_config": config, "last_updated": last_updated}));
                return;
            }
            map.values().for_each(|item| collect_routes(item, last_updated, out));
        }
        _ => {}
    }
}

fn routes<'a>(entries: impl Iterator<Item = &'a DumpEntry> + Clone, inline: Vec<Value>) -> Value {
    let mut fixed: Vec<Value> =
        entries.clone().filter(|e| e.state == DumpState::Static).map(|e| item(e, "route_config")).collect();
    fixed.extend(inline);
    let dynamic = entries.filter(|e| e.state != DumpState::Static).map(|e| item(e, "route_config")).collect();
    dump("RoutesConfigDump", vec![("static_route_configs", fixed), ("dynamic_route_configs", dynamic)])
}

fn secrets<'a>(entries: impl Iterator<Item = &'a DumpEntry> + Clone) -> Value {
    let list = |state| {
        let chosen = entries.clone().filter(move |e| e.state == state);
        chosen
            .map(|entry| {
                let mut map = Map::new();
                map.insert("name".into(), entry.name.clone().into());
                if let Value::Object(rest) = item(entry, "secret") {
                    map.extend(rest);
                }
                Value::Object(map)
            })
            .collect()
    };
    dump(
        "SecretsConfigDump",
        vec![
            ("static_secrets", list(DumpState::Static)),
            ("dynamic_active_secrets", list(DumpState::Active)),
            ("dynamic_warming_secrets", list(DumpState::Warming)),
        ],
    )
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use prost::Message;

    use super::*;
    use portolan_agent::certificates::certificate_secret;

    fn entry(kind: ResourceKind, name: &str, state: DumpState, body: Vec<u8>) -> DumpEntry {
        DumpEntry {
            kind,
            name: name.into(),
            version: "7".into(),
            state,
            last_updated: SystemTime::UNIX_EPOCH,
            body: body.into(),
            error: None,
        }
    }

    fn encode(kind: ResourceKind, json: Value) -> Vec<u8> {
        portolan_xds::json::from_json(kind.type_url(), &json).unwrap().to_vec()
    }

    #[test]
    fn keys_are_redacted() {
        let secret = certificate_secret("default", b"CHAIN".to_vec(), b"PRIVATE".to_vec()).encode_to_vec();
        let dump =
            secrets([entry(ResourceKind::Secret, "default", DumpState::Active, secret)].iter()).to_string();
        use base64::Engine;
        let encoded = |text| base64::engine::general_purpose::STANDARD.encode(text);
        assert!(dump.contains(&encoded("CHAIN")));
        assert!(!dump.contains(&encoded("PRIVATE")) && !dump.contains("PRIVATE"));
    }

    #[test]
    fn listeners_show_states_errors_and_inline_routes() {
        let listener = encode(
            ResourceKind::Listener,
            json!({"name": "virtualInbound", "filter_chains": [{"filters": [{
            "name": "hcm",
            "typed_config": {
                "@type": format!("type.googleapis.com/{HTTP_CONNECTION_MANAGER}"),
                "stat_prefix": "in",
                "route_config": {"name": "inbound|9080||"}
            }}]}]}),
        );
        let mut active = entry(ResourceKind::Listener, "virtualInbound", DumpState::Active, listener.clone());
        active.error = Some((SystemTime::UNIX_EPOCH, "8".into(), "bad chain".into()));
        let warming = entry(ResourceKind::Listener, "virtualInbound", DumpState::Warming, listener);
        let mut inline = Vec::new();
        let dump = listeners([active, warming].iter(), &mut inline);
        assert_eq!(dump["version_info"], "7");
        let only = &dump["dynamic_listeners"][0];
        assert_eq!(only["active_state"]["listener"]["name"], "virtualInbound");
        assert!(only["warming_state"].is_object());
        assert_eq!(only["error_state"]["details"], "bad chain");
        assert_eq!(inline.len(), 1);
        assert_eq!(inline[0]["route_config"]["name"], "inbound|9080||");
        portolan_xds::json::from_json("envoy.admin.v3.ListenersConfigDump", &strip_type(dump)).unwrap();
    }

    fn strip_type(mut value: Value) -> Value {
        value.as_object_mut().unwrap().remove("@type");
        value
    }

    #[test]
    fn masks_keep_paths() {
        let config = json!({"@type": "t", "a": {"b": 1, "c": 2}, "d": 3});
        assert_eq!(masked(config, &["a.b"]), json!({"@type": "t", "a": {"b": 1}}));
    }
}
