//! The model: an immutable value that everything else reads. How it is built stands in `build`, what one proxy may see of
//! it in `visibility`, what holds for one workload in `policies` and `instances`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
};

use k8s_openapi::api::core::v1::Service as KubeService;
use portolan_resources::{
    MeshConfig,
    networking::GatewaySpec,
    security::{AuthorizationPolicySpec, RequestAuthenticationSpec},
};

use crate::{
    authn, authz,
    destination_rule::ResolvedDestinationRule,
    inputs::{ClusterContext, TrustBundles},
    node::ProxyNode,
    object::{ObjectKey, Resolved},
    scope::Scope,
    service::{Service, ServiceEndpoints},
    sidecar,
    virtual_service::ResolvedVirtualService,
    workload::{Workload, Workloads},
};

/// Namespace and Sidecar object of a [`Scope`]; gateways have scopes of their own.
pub(crate) type ScopeKey = (String, Option<ObjectKey>, bool);

/// An immutable model of the mesh. Cheap to share (`Arc<Snapshot>`), made anew for every change.
#[derive(Debug)]
pub struct Snapshot {
    /// Facts of the cluster.
    pub cluster: ClusterContext,
    /// Settings of the mesh.
    pub mesh_config: Arc<MeshConfig>,
    /// Root certificates of our own trust domain (PEM).
    pub root_certificates: String,
    /// JSON Web Key Sets by URI or issuer.
    pub jwks: BTreeMap<String, String>,
    /// Roots of other trust domains.
    pub trust: TrustBundles,
    /// All services, by host.
    pub services: BTreeMap<String, Arc<Service>>,
    /// Endpoints, by service host.
    pub endpoints: BTreeMap<String, Arc<ServiceEndpoints>>,
    /// VirtualServices, oldest first, delegates merged in.
    pub virtual_services: Vec<Arc<ResolvedVirtualService>>,
    /// DestinationRules, oldest first, merged per host and namespace.
    pub destination_rules: Vec<Arc<ResolvedDestinationRule>>,
    /// Gateways, oldest first.
    pub gateways: Vec<Arc<Resolved<GatewaySpec>>>,
    /// Kubernetes Services as they are, for target ports.
    pub(crate) kube_services: BTreeMap<ObjectKey, Arc<KubeService>>,
    pub(crate) workloads: Workloads,
    pub(crate) sidecars: sidecar::Sidecars,
    pub(crate) peer_authentications: authn::Policies,
    pub(crate) authorization_policies: authz::ByNamespace<AuthorizationPolicySpec>,
    pub(crate) request_authentications: authz::ByNamespace<RequestAuthenticationSpec>,
    pub(crate) auto_addresses: BTreeMap<String, Ipv4Addr>,
    /// Scopes made so far. Filled on demand; only a cache, so that reading it never changes what is seen.
    pub(crate) scopes: Mutex<BTreeMap<ScopeKey, Arc<Scope>>>,
}

impl Snapshot {
    /// Labels of a proxy's workload: the Pod's, else what the proxy says.
    pub fn labels_of(&self, node: &ProxyNode) -> Arc<BTreeMap<String, String>> {
        match self.workload_of(node) {
            Some(w) => w.labels.clone(),
            None => Arc::new(node.metadata.labels.clone()),
        }
    }

    /// The Pod of a proxy, by name, else by address.
    pub fn workload_of(&self, node: &ProxyNode) -> Option<&Arc<Workload>> {
        let by_name = self.workloads.by_pod.get(&(node.namespace.clone(), node.name.clone()));
        by_name.or_else(|| node.addresses.iter().find_map(|ip| self.workloads.by_address.get(ip)))
    }

    /// The Pod with this address.
    pub fn workload_at(&self, address: &IpAddr) -> Option<&Arc<Workload>> {
        self.workloads.by_address.get(address)
    }

    /// All Pods.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.by_pod.values()
    }

    /// Endpoints of a service host.
    pub fn endpoints_of(&self, host: &str) -> Option<&Arc<ServiceEndpoints>> {
        self.endpoints.get(host)
    }
}
