//! The mesh's settings out of their ConfigMap.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::core::v1::ConfigMap;
use portolan_names::names;
use portolan_resources::{MeshConfig, support, validation::Report};
use serde_json::{Value, json};

use crate::watch::Change;

/// Key of the networks of a mesh, which is about meshes of several clusters.
const NETWORKS_KEY: &str = "meshNetworks";

/// MeshConfig, typed and, for what is passed on to proxies, as written.
#[derive(Clone, Debug)]
pub(crate) struct MeshSettings {
    pub(crate) mesh: MeshConfig,
    pub(crate) default_config: Arc<Value>,
    /// What of them does not work.
    pub(crate) report: Report,
}

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("ConfigMap istio, key mesh: not valid YAML: {0}")]
    Yaml(String),
    #[error("ConfigMap istio, key mesh: {0}")]
    Form(serde_json::Error),
}

impl MeshSettings {
    /// Without a ConfigMap or without the key the defaults hold.
    pub(crate) fn read(change: Change<ConfigMap>) -> Result<Self, SettingsError> {
        let map = match change {
            Change::Replace(maps) => maps.into_iter().next(),
            Change::Apply(map) => Some(map),
            Change::Delete(_) => None,
        };
        let data = map.as_ref().and_then(|map| map.data.as_ref());
        let value = data.map_or_else(|| Ok(json!({})), document)?;
        let report = data.map(judge).unwrap_or_default();
        let default_config = Arc::new(value.get("defaultConfig").cloned().unwrap_or_else(|| json!({})));
        let mesh = serde_json::from_value(value).map_err(SettingsError::Form)?;
        Ok(Self { mesh, default_config, report })
    }
}

/// The document of the settings.
fn document(data: &BTreeMap<String, String>) -> Result<Value, SettingsError> {
    match data.get(names::MESH_CONFIG_KEY).filter(|text| !text.trim().is_empty()) {
        Some(text) => serde_saphyr::from_str(text).map_err(|error| SettingsError::Yaml(error.to_string())),
        None => Ok(json!({})),
    }
}

/// What there is to say about the ConfigMap: what can't be read, is not supported, or has no effect.
pub(crate) fn judge(data: &BTreeMap<String, String>) -> Report {
    let place = format!("data.{}", names::MESH_CONFIG_KEY);
    let mut report = Report::default();
    let settings = document(data).and_then(|value| {
        report.extend(support::judge_settings(&value, &place));
        serde_json::from_value::<MeshConfig>(value).map_err(SettingsError::Form)
    });
    if let Err(error) = settings {
        report.error(place, error.to_string());
    }
    let networks = data.get(NETWORKS_KEY).and_then(|text| serde_saphyr::from_str::<Value>(text).ok());
    if networks.is_some_and(|networks| networks["networks"].as_object().is_some_and(|all| !all.is_empty())) {
        report.warn(
            format!("data.{NETWORKS_KEY}"),
            "has no effect: a mesh is one cluster; meshes are federated",
        );
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Change<ConfigMap> {
        let data = [("mesh".to_owned(), text.to_owned())].into();
        Change::Apply(Arc::new(ConfigMap { data: Some(data), ..Default::default() }))
    }

    #[test]
    fn reads_yaml_and_keeps_what_it_does_not_know() {
        let settings = MeshSettings::read(map(
            "trustDomain: west.local\ndefaultConfig:\n  concurrency: 1\n  new: {a: b}\n",
        ))
        .unwrap();
        assert_eq!(settings.mesh.trust_domain, "west.local");
        assert_eq!(settings.default_config["new"]["a"], "b");
        assert_eq!(MeshSettings::read(Change::Replace(vec![])).unwrap().mesh, MeshConfig::default());
        assert!(MeshSettings::read(map("a: [")).is_err());
        assert!(MeshSettings::read(map("trustDomain: [1]")).unwrap_err().to_string().contains("key mesh"));
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let judged = |entries: &[(&str, &str)]| {
            let data = entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
            let report = judge(&data);
            (report.errors.len(), report.warnings.len())
        };
        for (entries, expected) in [
            (&[][..], (0, 0)),
            (&[("mesh", "trustDomain: a.b\nthriftConfig: {rateLimitUrl: x}\nmistyped: 1\n")], (0, 2)),
            (&[("mesh", "ca: {address: x}\n")], (1, 0)),
            (&[("mesh", "a: [")], (1, 0)),
            (&[("mesh", "trustDomain: [1]")], (1, 0)),
            (&[("mesh", "{}"), ("meshNetworks", "networks: {}")], (0, 0)),
            (&[("mesh", "{}"), ("meshNetworks", "networks: {a: {}}")], (0, 1)),
        ] {
            assert_eq!(judged(entries), expected, "{entries:?}");
        }
    }
}
