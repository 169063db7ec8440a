//! The mesh's settings out of their ConfigMap.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use portolan_names::names;
use portolan_resources::MeshConfig;
use serde_json::{Value, json};

use crate::watch::Change;

/// MeshConfig, typed and, for what is passed on to proxies, as written.
#[derive(Clone, Debug)]
pub(super) struct MeshSettings {
    pub(super) mesh: MeshConfig,
    pub(super) default_config: Arc<Value>,
}

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SettingsError {
    #[error("ConfigMap istio, key mesh: not valid YAML: {0}")]
    Yaml(String),
    #[error("ConfigMap istio, key mesh: {0}")]
    Form(serde_json::Error),
}

impl MeshSettings {
    /// Without a ConfigMap or without the key the defaults hold.
    pub(super) fn read(change: Change<ConfigMap>) -> Result<Self, SettingsError> {
        let map = match change {
            Change::Replace(maps) => maps.into_iter().next(),
            Change::Apply(map) => Some(map),
            Change::Delete(_) => None,
        };
        let text = map
            .as_ref()
            .and_then(|map| map.data.as_ref())
            .and_then(|data| data.get(names::MESH_CONFIG_KEY))
            .filter(|text| !text.trim().is_empty());
        let value: Value = match text {
            Some(text) => {
                serde_saphyr::from_str(text).map_err(|error| SettingsError::Yaml(error.to_string()))?
            }
            None => json!({}),
        };
        let default_config = Arc::new(value.get("defaultConfig").cloned().unwrap_or_else(|| json!({})));
        let mesh = serde_json::from_value(value).map_err(SettingsError::Form)?;
        Ok(Self { mesh, default_config })
    }
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
}
