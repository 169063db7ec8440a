//! `ProxyConfig` of the mesh API, as the injector hands it over in env `PROXY_CONFIG`, overlaid with the
//! Pod's annotation `proxy.istio.io/config`.

use std::time::Duration;

use portolan_names::{annotations, env, names, ports};
use serde_json::{Map, Value};

use super::duration;
use crate::yaml;

/// A text that is not a `ProxyConfig`.
#[derive(Debug, thiserror::Error)]
pub enum ProxyConfigError {
    /// Neither YAML nor JSON.
    #[error("{origin} is not valid YAML: {reason}")]
    Syntax {
        /// Environment variable or annotation.
        origin: &'static str,
        /// The parser's words.
        reason: String,
    },
    /// Not a mapping.
    #[error("{0} must be a mapping of ProxyConfig fields")]
    NotAMapping(&'static str),
    /// A field has the wrong type or form.
    #[error("ProxyConfig field {field}: {reason}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is expected.
        reason: &'static str,
    },
}

/// The fields that the agent acts on, plus the whole document for the node's metadata.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyConfig {
    /// `discoveryAddress`: `host:port` of istiod.
    pub discovery_address: String,
    /// `configPath`: where sockets and the Envoy bootstrap live.
    pub config_path: String,
    /// `binaryPath`: Envoy's program.
    pub binary_path: String,
    /// `serviceCluster`.
    pub service_cluster: String,
    /// `drainDuration`.
    pub drain_duration: Duration,
    /// `parentShutdownDuration`.
    pub parent_shutdown_duration: Duration,
    /// `terminationDrainDuration`.
    pub termination_drain_duration: Duration,
    /// `proxyAdminPort`.
    pub proxy_admin_port: u16,
    /// `statusPort`.
    pub status_port: u16,
    /// `concurrency`; 0 = one worker per CPU, absent = decided by flag or default.
    pub concurrency: Option<u32>,
    /// `tracing.zipkin.address`.
    pub zipkin_address: Option<String>,
    /// `envoyAccessLogService.address`.
    pub access_log_service: Option<String>,
    /// `proxyMetadata`: further environment variables of the agent.
    pub proxy_metadata: Vec<(String, String)>,
    /// `proxyStatsMatcher` inclusion lists: prefixes, suffixes, regular expressions.
    pub stats_matcher: StatsMatcher,
    /// The document itself.
    pub document: Map<String, Value>,
}

/// Which Envoy statistics are kept in addition to the few default ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsMatcher {
    /// `inclusionPrefixes`
    pub prefixes: Vec<String>,
    /// `inclusionSuffixes`
    pub suffixes: Vec<String>,
    /// `inclusionRegexps`
    pub regexps: Vec<String>,
}

impl Default for ProxyConfig {
    /// Istio's defaults (`MeshConfig.defaultConfig` of version 1.9).
    fn default() -> Self {
        ProxyConfig {
            discovery_address: names::DISCOVERY_ADDRESS.to_owned(),
            config_path: "./etc/istio/proxy".to_owned(),
            binary_path: "envoy".to_owned(),
            service_cluster: names::PROXY_CONTAINER.to_owned(),
            drain_duration: Duration::from_secs(45),
            parent_shutdown_duration: Duration::from_secs(60),
            termination_drain_duration: Duration::from_secs(5),
            proxy_admin_port: ports::ADMIN,
            status_port: ports::AGENT_STATUS,
            concurrency: None,
            zipkin_address: None,
            access_log_service: None,
            proxy_metadata: Vec::new(),
            stats_matcher: StatsMatcher::default(),
            document: Map::new(),
        }
    }
}

impl ProxyConfig {
    /// Reads the environment's document and the annotation's on top of it.
    pub fn load(env: Option<&str>, annotation: Option<&str>) -> Result<Self, ProxyConfigError> {
        let mut document = Map::new();
        for (origin, text) in [(env::PROXY_CONFIG, env), (annotations::PROXY_CONFIG, annotation)] {
            if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
                merge(&mut document, parse(origin, text)?);
            }
        }
        Self::from_document(document)
    }

    fn from_document(document: Map<String, Value>) -> Result<Self, ProxyConfigError> {
        let base = ProxyConfig::default();
        let tracing = document.get("tracing").and_then(|tracing| tracing.get("zipkin"));
        let matcher = document.get("proxyStatsMatcher");
        Ok(ProxyConfig {
            discovery_address: string(&document, "discoveryAddress")?.unwrap_or(base.discovery_address),
            config_path: string(&document, "configPath")?.unwrap_or(base.config_path),
            binary_path: string(&document, "binaryPath")?.unwrap_or(base.binary_path),
            service_cluster: string(&document, "serviceCluster")?.unwrap_or(base.service_cluster),
            drain_duration: time(&document, "drainDuration")?.unwrap_or(base.drain_duration),
            parent_shutdown_duration: time(&document, "parentShutdownDuration")?
                .unwrap_or(base.parent_shutdown_duration),
            termination_drain_duration: time(&document, "terminationDrainDuration")?
                .unwrap_or(base.termination_drain_duration),
            proxy_admin_port: port(&document, "proxyAdminPort")?.unwrap_or(base.proxy_admin_port),
            status_port: port(&document, "statusPort")?.unwrap_or(base.status_port),
            concurrency: match document.get("concurrency") {
                None | Some(Value::Null) => None,
                Some(value) => Some(value.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or(
                    ProxyConfigError::Field { field: "concurrency", reason: "expected a whole number" },
                )?),
            },
            zipkin_address: tracing
                .and_then(|zipkin| zipkin.get("address"))
                .and_then(Value::as_str)
                .map(str::to_owned),
            access_log_service: document
                .get("envoyAccessLogService")
                .and_then(|service| service.get("address"))
                .and_then(Value::as_str)
                .map(str::to_owned),
            proxy_metadata: document
                .get("proxyMetadata")
                .and_then(Value::as_object)
                .map(|map| map.iter().map(|(key, value)| (key.clone(), scalar(value))).collect())
                .unwrap_or_default(),
            stats_matcher: StatsMatcher {
                prefixes: strings(matcher, "inclusionPrefixes"),
                suffixes: strings(matcher, "inclusionSuffixes"),
                regexps: strings(matcher, "inclusionRegexps"),
            },
            document,
        })
    }
}

fn parse(origin: &'static str, text: &str) -> Result<Map<String, Value>, ProxyConfigError> {
    let value = yaml::parse(text).map_err(|reason| ProxyConfigError::Syntax { origin, reason })?;
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(Map::new()),
        _ => Err(ProxyConfigError::NotAMapping(origin)),
    }
}

/// Deep merge: mappings field by field, everything else replaced.
fn merge(base: &mut Map<String, Value>, overlay: Map<String, Value>) {
    for (key, value) in overlay {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn string(document: &Map<String, Value>, field: &'static str) -> Result<Option<String>, ProxyConfigError> {
    match document.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ProxyConfigError::Field { field, reason: "expected a string" }),
    }
}

fn time(document: &Map<String, Value>, field: &'static str) -> Result<Option<Duration>, ProxyConfigError> {
    match string(document, field)? {
        None => Ok(None),
        Some(text) => duration::parse(&text)
            .map(Some)
            .ok_or(ProxyConfigError::Field { field, reason: "expected a duration such as 45s" }),
    }
}

fn port(document: &Map<String, Value>, field: &'static str) -> Result<Option<u16>, ProxyConfigError> {
    match document.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_u64()
            .and_then(|port| u16::try_from(port).ok())
            .map(Some)
            .ok_or(ProxyConfigError::Field { field, reason: "expected a port number" }),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn strings(parent: Option<&Value>, field: &str) -> Vec<String> {
    parent
        .and_then(|parent| parent.get(field))
        .and_then(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotation_overlays_the_environment() {
        let config = ProxyConfig::load(
            Some(r#"{"discoveryAddress":"istiod.west:15012","proxyMetadata":{"A":"1","B":"2"},"concurrency":2}"#),
            Some("drainDuration: 10s\nproxyMetadata:\n  B: three\n"),
        )
        .unwrap();
        assert_eq!(config.discovery_address, "istiod.west:15012");
        assert_eq!(config.drain_duration, Duration::from_secs(10));
        assert_eq!(config.concurrency, Some(2));
        assert_eq!(config.proxy_metadata, [("A".into(), "1".into()), ("B".into(), "three".into())]);
        assert_eq!(config.proxy_admin_port, 15000);
    }

    #[test]
    fn each_field_is_taken_over() {
        let config = ProxyConfig::load(
            Some(
                r#"{"discoveryAddress":"a:1","configPath":"/c","binaryPath":"/b","serviceCluster":"s","drainDuration":"1s",
                "parentShutdownDuration":"2s","terminationDrainDuration":"3s","proxyAdminPort":4,"statusPort":5,
                "concurrency":6,"proxyMetadata":{"A":"b"},"proxyStatsMatcher":{"inclusionPrefixes":["p"],
                "inclusionSuffixes":["q"],"inclusionRegexps":["r"]}}"#,
            ),
            None,
        )
        .unwrap();
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let expected = ProxyConfig {
            discovery_address: "a:1".into(),
            config_path: "/c".into(),
            binary_path: "/b".into(),
            service_cluster: "s".into(),
            drain_duration: Duration::from_secs(1),
            parent_shutdown_duration: Duration::from_secs(2),
            termination_drain_duration: Duration::from_secs(3),
            proxy_admin_port: 4,
            status_port: 5,
            concurrency: Some(6),
            proxy_metadata: vec![("A".into(), "b".into())],
            stats_matcher: StatsMatcher {
                prefixes: texts(&["p"]),
                suffixes: texts(&["q"]),
                regexps: texts(&["r"]),
            },
            document: config.document.clone(),
            ..ProxyConfig::default()
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (text, message) in [
            ("[]", "PROXY_CONFIG must be a mapping of ProxyConfig fields"),
            ("statusPort: 70000", "ProxyConfig field statusPort: expected a port number"),
            ("drainDuration: soon", "ProxyConfig field drainDuration: expected a duration such as 45s"),
        ] {
            assert_eq!(ProxyConfig::load(Some(text), None).unwrap_err().to_string(), message);
        }
    }
}
