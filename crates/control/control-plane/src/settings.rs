//! What is asked of the model all the time from async code, kept beside it: nobody waits for the model's lock to let
//! somebody in or to inject a Pod.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::Namespace;
use parking_lot::RwLock;
use portolan_mesh::ClusterContext;
use portolan_resources::MeshConfig;
use serde_json::Value;

use crate::watch::Change;

/// Settings of the mesh and the namespaces of the cluster. Written by the push loop only.
#[derive(Debug, Default)]
pub struct Settings {
    cluster: ClusterContext,
    mesh_config: ArcSwap<MeshConfig>,
    default_config: ArcSwap<Value>,
    namespaces: RwLock<BTreeMap<String, Arc<Namespace>>>,
}

impl Settings {
    /// Defaults, in a cluster.
    pub fn new(cluster: ClusterContext) -> Self {
        Self { cluster, ..Self::default() }
    }

    /// Facts of the cluster.
    pub fn cluster(&self) -> &ClusterContext {
        &self.cluster
    }

    /// Settings of the mesh.
    pub fn mesh_config(&self) -> Arc<MeshConfig> {
        self.mesh_config.load_full()
    }

    /// `defaultConfig` as the user wrote it, for injection.
    pub fn default_config(&self) -> Arc<Value> {
        self.default_config.load_full()
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.namespaces.read().get(name).cloned()
    }

    /// All namespaces, by name.
    pub fn namespaces(&self) -> Vec<Arc<Namespace>> {
        self.namespaces.read().values().cloned().collect()
    }

    pub(crate) fn set_mesh(&self, mesh_config: Arc<MeshConfig>, default_config: Arc<Value>) {
        self.mesh_config.store(mesh_config);
        self.default_config.store(default_config);
    }

    pub(crate) fn take_namespaces(&self, change: &Change<Namespace>) {
        let name = |namespace: &Namespace| namespace.metadata.name.clone().unwrap_or_default();
        let mut known = self.namespaces.write();
        match change {
            Change::Replace(all) => *known = all.iter().map(|n| (name(n), n.clone())).collect(),
            Change::Apply(namespace) => drop(known.insert(name(namespace), namespace.clone())),
            Change::Delete(key) => drop(known.remove(&key.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use portolan_mesh::ObjectKey;

    use super::*;

    #[test]
    fn namespaces_come_and_go() {
        let namespace = |name: &str| {
            let mut namespace = Namespace::default();
            namespace.metadata.name = Some(name.to_owned());
            Arc::new(namespace)
        };
        let names = |settings: &Settings| -> Vec<String> {
            settings.namespaces().iter().filter_map(|n| n.metadata.name.clone()).collect()
        };
        let settings = Settings::default();
        settings.take_namespaces(&Change::Apply(namespace("z")));
        settings.take_namespaces(&Change::Replace(vec![namespace("b"), namespace("a")]));
        settings.take_namespaces(&Change::Apply(namespace("c")));
        settings.take_namespaces(&Change::Delete(ObjectKey::new("", "a")));
        assert_eq!(names(&settings), ["b", "c"]);
        assert!(settings.namespace("b").is_some() && settings.namespace("a").is_none());
    }
}
