//! What injection needs to know of the mesh.

use std::sync::Arc;

use portolan_resources::MeshConfig;
use serde_json::Value;

/// Settings of injection, the same for all Pods.
#[derive(Clone, Debug)]
pub struct InjectSettings {
    /// Image of proxy and init container.
    pub proxy_image: String,
    /// Revision of the control plane.
    pub revision: String,
    /// Id of this cluster, said in node metadata.
    pub cluster_id: String,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// MeshConfig as the control plane honours it.
    pub mesh: Arc<MeshConfig>,
    /// `defaultConfig` as the user wrote it, which may hold more than we know.
    pub default_config: Arc<Value>,
}
