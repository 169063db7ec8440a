//! What the model is made from.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Namespace, Node, Pod, Service as KubeService},
    discovery::v1::EndpointSlice,
};
use portolan_names::{names, ports};
use portolan_resources::{
    AuthorizationPolicy, DestinationRule, Gateway, MeshConfig, PeerAuthentication, RequestAuthentication,
    ServiceEntry, Sidecar, VirtualService, WorkloadEntry,
};

use crate::{
    object::ObjectKey,
    service::{Service, ServiceEndpoints},
};

/// Facts of the cluster that no object states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterContext {
    /// Cluster id, shown in metrics.
    pub cluster_id: String,
    /// DNS domain of the cluster.
    pub domain: String,
    /// Network of the cluster's own workloads; empty when it has no name.
    pub network: String,
    /// Namespace of the control plane.
    pub control_plane_namespace: String,
    /// Host and port of the control plane's discovery for federation gateways.
    pub federation_discovery_port: u16,
}

impl Default for ClusterContext {
    fn default() -> Self {
        Self {
            cluster_id: names::CLUSTER_ID.to_owned(),
            domain: names::CLUSTER_DOMAIN.to_owned(),
            network: String::new(),
            control_plane_namespace: names::ISTIO_SYSTEM.to_owned(),
            federation_discovery_port: ports::FEDERATION_DISCOVERY,
        }
    }
}

/// Everything that the model is made from. Maps are keyed by [`ObjectKey`]; values are shared with the watch caches.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Facts of the cluster.
    pub cluster: ClusterContext,
    /// Settings of the mesh.
    pub mesh_config: Arc<MeshConfig>,
    /// Root certificates of our own trust domain (PEM).
    pub root_certificates: String,
    /// JSON Web Key Sets by `jwksUri`, or by issuer where a rule names no URI. The control plane fetches none: a rule
    /// without keys of its own finds none here, and tokens of its issuer are refused.
    pub jwks: BTreeMap<String, String>,
    /// Kubernetes Services.
    pub services: BTreeMap<ObjectKey, Arc<KubeService>>,
    /// Kubernetes Pods.
    pub pods: BTreeMap<ObjectKey, Arc<Pod>>,
    /// Kubernetes EndpointSlices.
    pub endpoint_slices: BTreeMap<ObjectKey, Arc<EndpointSlice>>,
    /// Kubernetes Namespaces (key with empty namespace).
    pub namespaces: BTreeMap<ObjectKey, Arc<Namespace>>,
    /// Kubernetes Nodes (key with empty namespace).
    pub nodes: BTreeMap<ObjectKey, Arc<Node>>,
    /// VirtualServices.
    pub virtual_services: BTreeMap<ObjectKey, Arc<VirtualService>>,
    /// DestinationRules.
    pub destination_rules: BTreeMap<ObjectKey, Arc<DestinationRule>>,
    /// Gateways.
    pub gateways: BTreeMap<ObjectKey, Arc<Gateway>>,
    /// ServiceEntries.
    pub service_entries: BTreeMap<ObjectKey, Arc<ServiceEntry>>,
    /// WorkloadEntries.
    pub workload_entries: BTreeMap<ObjectKey, Arc<WorkloadEntry>>,
    /// Sidecars.
    pub sidecars: BTreeMap<ObjectKey, Arc<Sidecar>>,
    /// PeerAuthentications.
    pub peer_authentications: BTreeMap<ObjectKey, Arc<PeerAuthentication>>,
    /// AuthorizationPolicies.
    pub authorization_policies: BTreeMap<ObjectKey, Arc<AuthorizationPolicy>>,
    /// RequestAuthentications.
    pub request_authentications: BTreeMap<ObjectKey, Arc<RequestAuthentication>>,
    /// What federation adds.
    pub federation: FederationInputs,
}

/// What federation adds to the model: a second registry, configuration that lives in memory only, and trust
/// (docs/reference/federation.md).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FederationInputs {
    /// Two services per import: the exported host (visible to gateways) and the local host.
    pub services: Vec<Arc<Service>>,
    /// Endpoints of those services, by host.
    pub endpoints: BTreeMap<String, Arc<ServiceEndpoints>>,
    /// Configuration objects.
    pub configs: FederationConfigs,
    /// Roots of other trust domains and who gets them.
    pub trust: TrustBundles,
}

/// In-memory configuration objects of federation; they need namespace and name in their metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FederationConfigs {
    /// Gateways.
    pub gateways: Vec<Arc<Gateway>>,
    /// VirtualServices. Those without creation time sort after all others: a user's own object wins.
    pub virtual_services: Vec<Arc<VirtualService>>,
    /// DestinationRules.
    pub destination_rules: Vec<Arc<DestinationRule>>,
    /// ServiceEntries.
    pub service_entries: Vec<Arc<ServiceEntry>>,
    /// AuthorizationPolicies.
    pub authorization_policies: Vec<Arc<AuthorizationPolicy>>,
}

/// Roots of other trust domains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustBundles {
    /// Trust domain to roots (PEM, one or more certificates).
    pub bundles: BTreeMap<String, String>,
    /// Canonical names of the gateways (in the control plane's namespace) that get the bundles.
    pub gateways: Vec<String>,
}

/// Why an object cannot be taken into [`Inputs`].
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// Not a kind that the model uses.
    #[error("{0} is not a kind that the mesh model uses")]
    UnknownKind(String),
    /// The object does not have its kind's form.
    #[error("{kind} cannot be read: {source}")]
    Malformed {
        /// Kind.
        kind: String,
        /// Where it broke.
        source: serde_json::Error,
    },
}

impl Inputs {
    /// Takes in one object in JSON form, by its `kind`; for tools and tests that read manifests.
    pub fn insert(&mut self, object: serde_json::Value) -> Result<(), InsertError> {
        let kind = object.get("kind").and_then(|k| k.as_str()).unwrap_or_default().to_owned();
        let text =
            |key: &str| object["metadata"].get(key).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        let key = ObjectKey::new(text("namespace"), text("name"));
        macro_rules! put {
            ($map:ident) => {{
                let typed = serde_json::from_value(object)
                    .map_err(|source| InsertError::Malformed { kind: kind.clone(), source })?;
                self.$map.insert(key, Arc::new(typed));
            }};
        }
        match kind.as_str() {
            "Service" => put!(services),
            "Pod" => put!(pods),
            "EndpointSlice" => put!(endpoint_slices),
            "Namespace" => put!(namespaces),
            "Node" => put!(nodes),
            "VirtualService" => put!(virtual_services),
            "DestinationRule" => put!(destination_rules),
            "Gateway" => put!(gateways),
            "ServiceEntry" => put!(service_entries),
            "WorkloadEntry" => put!(workload_entries),
            "Sidecar" => put!(sidecars),
            "PeerAuthentication" => put!(peer_authentications),
            "AuthorizationPolicy" => put!(authorization_policies),
            "RequestAuthentication" => put!(request_authentications),
            _ => return Err(InsertError::UnknownKind(kind)),
        }
        Ok(())
    }
}
