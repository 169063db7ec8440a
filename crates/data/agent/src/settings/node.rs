//! The xDS node: id and metadata that a control plane knows a proxy by.

use std::collections::BTreeMap;

use portolan_envoy_api::pb::envoy::config::core::v3::{Locality, Node};
use portolan_envoy_api::pb::google::protobuf::{ListValue, Struct, Value as PbValue, value::Kind};
use portolan_names::{env, labels, names};
use serde_json::{Map, Value};

use super::config::{AgentConfig, DataPlaneChoice};

/// The metadata document.
pub fn metadata(config: &AgentConfig) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in &config.env {
        if let Some(key) = name.strip_prefix(env::ISTIO_METAJSON_PREFIX) {
            // LABELS and ANNOTATIONS are merged with the Pod's own below.
            if let (Ok(value), false) = (serde_json::from_str(value), matches!(key, "LABELS" | "ANNOTATIONS"))
            {
                out.insert(key.to_owned(), value);
            }
        } else if let Some(key) = name.strip_prefix(env::ISTIO_META_PREFIX) {
            out.insert(key.to_owned(), Value::String(value.clone()));
        }
    }
    let mut set = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    set("NAME", config.pod_name.clone().into());
    set("NAMESPACE", config.pod_namespace.clone().into());
    set("SERVICE_ACCOUNT", config.service_account.clone().into());
    set("INSTANCE_IPS", config.instance_ips.join(",").into());
    set("CLUSTER_ID", config.cluster_id.clone().into());
    set("LABELS", strings(&config.labels));
    set("ANNOTATIONS", strings(&config.annotations));
    set("PROXY_CONFIG", Value::Object(config.proxy.document.clone()));
    set(
        env::PORTOLAN_PROXY,
        match config.data_plane {
            DataPlaneChoice::Portolan => names::PROXY_PORTOLAN,
            DataPlaneChoice::Envoy(_) => names::PROXY_ENVOY,
        }
        .into(),
    );
    out.entry("ISTIO_VERSION").or_insert_with(|| names::ISTIO_VERSION.into());
    out.entry("INTERCEPTION_MODE").or_insert_with(|| "REDIRECT".into());
    if let Some(mesh) = config.env.get(env::ISTIO_META_MESH_ID).or(Some(&config.trust_domain)) {
        out.entry("MESH_ID").or_insert_with(|| mesh.clone().into());
    }
    for (label, key) in [
        (labels::CANONICAL_NAME, env::CANONICAL_SERVICE),
        (labels::CANONICAL_REVISION, env::CANONICAL_REVISION),
    ] {
        // Workloads that were not injected by a template with these labels have them in the environment.
        if let (None, Some(value)) = (config.labels.get(label), config.env.get(key))
            && let Some(Value::Object(labels)) = out.get_mut("LABELS")
        {
            labels.insert(label.to_owned(), value.clone().into());
        }
    }
    out
}

fn strings(map: &BTreeMap<String, String>) -> Value {
    Value::Object(map.iter().map(|(key, value)| (key.clone(), Value::String(value.clone()))).collect())
}

/// The node message.
pub fn node(config: &AgentConfig) -> Node {
    let cluster = match config.labels.get("app") {
        Some(app) => format!("{app}.{}", config.pod_namespace),
        None => config.service_cluster.clone(),
    };
    Node {
        id: config.node_id(),
        cluster,
        metadata: Some(to_struct(&metadata(config))),
        locality: config.labels.get(labels::LOCALITY).map(|text| locality(text)),
        user_agent_name: "portolan".to_owned(),
        user_agent_version_type: Some(
            portolan_envoy_api::pb::envoy::config::core::v3::node::UserAgentVersionType::UserAgentVersion(
                env!("CARGO_PKG_VERSION").to_owned(),
            ),
        ),
        ..Node::default()
    }
}

fn locality(text: &str) -> Locality {
    let text = if text.contains('/') { text.to_owned() } else { text.replace('.', "/") };
    let mut parts = text.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Locality { region: next(), zone: next(), sub_zone: next() }
}

/// JSON object to protobuf Struct.
pub fn to_struct(map: &Map<String, Value>) -> Struct {
    Struct { fields: map.iter().map(|(key, value)| (key.clone(), to_value(value))).collect() }
}

fn to_value(value: &Value) -> PbValue {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => Kind::ListValue(ListValue { values: list.iter().map(to_value).collect() }),
        Value::Object(map) => Kind::StructValue(to_struct(map)),
    };
    PbValue { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use super::super::resolve::tests::sidecar;
    use super::*;

    #[test]
    fn variables_become_metadata() {
        let config = sidecar(&[
            ("ISTIO_META_WORKLOAD_NAME", "productpage"),
            ("ISTIO_METAJSON_LABELS", r#"{"app":"productpage","version":"v1"}"#),
            ("ISTIO_META_POD_PORTS", "[{\"containerPort\":9080}]"),
            ("ISTIO_METAJSON_EXTRA", r#"{"a":[1,true]}"#),
            ("CANONICAL_SERVICE", "productpage"),
            ("CANONICAL_REVISION", "v1"),
            ("TRUST_DOMAIN", "west.local"),
        ]);
        let data = metadata(&config);
        let text = |key: &str| data.get(key).and_then(Value::as_str);
        assert_eq!(text("WORKLOAD_NAME"), Some("productpage"));
        assert_eq!(text("NAMESPACE"), Some("bookinfo"));
        assert_eq!(text("POD_PORTS"), Some("[{\"containerPort\":9080}]"));
        assert_eq!(text("PORTOLAN_PROXY"), Some("portolan"));
        assert_eq!(text("MESH_ID"), Some("west.local"));
        assert_eq!(data["EXTRA"]["a"][1], Value::Bool(true));
        assert_eq!(data["LABELS"]["version"], "v1");
        assert_eq!(data["LABELS"]["service.istio.io/canonical-name"], "productpage");
        assert_eq!(data["LABELS"]["service.istio.io/canonical-revision"], "v1");
        let node = node(&config);
        assert_eq!(node.cluster, "productpage.bookinfo");
        assert_eq!(node.metadata.unwrap().fields.len(), data.len());
    }

    #[test]
    fn locality_label() {
        let parts = |text| {
            let l = locality(text);
            (l.region, l.zone, l.sub_zone)
        };
        assert_eq!(parts("eu.eu-1.rack2"), ("eu".into(), "eu-1".into(), "rack2".into()));
        assert_eq!(parts("eu/eu.1"), ("eu".into(), "eu.1".into(), String::new()));
    }
}
