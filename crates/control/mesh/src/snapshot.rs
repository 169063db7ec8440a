//! What lies beneath the model: an immutable value. How it is built stands in `build`, what one proxy may see of it in
//! `visibility`, what holds for one workload in `policies` and `instances`, how others read it in `model`.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
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
    scope::{ScopeKey, Visible},
    service::{Service, ServiceEndpoints},
    sidecar,
    virtual_service::ResolvedVirtualService,
    workload::{Workload, Workloads},
};

/// An immutable model of the mesh. Cheap to share (`Arc<Snapshot>`), made anew for every change; read through
/// [`crate::Model`].
#[derive(Debug)]
pub struct Snapshot {
    /// Facts of the cluster.
    pub(crate) cluster: Arc<ClusterContext>,
    /// Settings of the mesh.
    pub(crate) mesh_config: Arc<MeshConfig>,
    /// Root certificates of our own trust domain (PEM).
    pub(crate) root_certificates: Arc<str>,
    /// JSON Web Key Sets by URI or issuer.
    pub(crate) jwks: BTreeMap<String, Arc<str>>,
    /// Roots of other trust domains.
    pub(crate) trust: Arc<TrustBundles>,
    /// All services, by host.
    pub(crate) services: Arc<BTreeMap<String, Arc<Service>>>,
    /// Endpoints, by service host.
    pub(crate) endpoints: Arc<BTreeMap<String, Arc<ServiceEndpoints>>>,
    /// VirtualServices, oldest first, delegates merged in.
    pub(crate) virtual_services: Arc<[Arc<ResolvedVirtualService>]>,
    /// DestinationRules, oldest first, merged per host and namespace.
    pub(crate) destination_rules: Arc<[Arc<ResolvedDestinationRule>]>,
    /// Gateways, oldest first.
    pub(crate) gateways: Arc<[Arc<Resolved<GatewaySpec>>]>,
    /// Kubernetes Services as they are, for target ports.
    pub(crate) kube_services: BTreeMap<ObjectKey, Arc<KubeService>>,
    pub(crate) workloads: Workloads,
    pub(crate) sidecars: sidecar::Sidecars,
    pub(crate) peer_authentications: authn::Policies,
    pub(crate) authorization_policies: authz::ByNamespace<AuthorizationPolicySpec>,
    pub(crate) request_authentications: authz::ByNamespace<RequestAuthenticationSpec>,
    pub(crate) auto_addresses: BTreeMap<String, Ipv4Addr>,
    /// Scopes made so far. Filled on demand; only a cache, so that reading it never changes what is seen.
    pub(crate) scopes: Mutex<BTreeMap<ScopeKey, Arc<Visible>>>,
}

impl Snapshot {
    /// Labels of a proxy's workload: the Pod's, else what the proxy says.
    pub(crate) fn labels_of(&self, node: &ProxyNode) -> Arc<BTreeMap<String, String>> {
        match self.workload_of(node) {
            Some(w) => w.labels.clone(),
            None => Arc::new(node.metadata.labels.clone()),
        }
    }

    /// The Pod of a proxy, by name, else by address.
    pub(crate) fn workload_of(&self, node: &ProxyNode) -> Option<&Arc<Workload>> {
        let by_name = self.workloads.by_pod.get(&(node.namespace.clone(), node.name.clone()));
        by_name.or_else(|| node.addresses.iter().find_map(|ip| self.workloads.by_address.get(ip)))
    }
}
