//! How everything else reads the model: one small interface, by entry where one is enough. Each call reads as little as
//! it says and gives values of its own (or shared ones), never references into what lies beneath.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use portolan_resources::{MeshConfig, networking::GatewaySpec};

use crate::{
    authn::MtlsModes,
    authz::WorkloadPolicies,
    destination_rule::ResolvedDestinationRule,
    dns::DnsEntry,
    gateway::GatewayServer,
    host::host_matches,
    inputs::{ClusterContext, TrustBundles},
    node::ProxyNode,
    object::Resolved,
    scope::{ScopeKey, ServiceInstance, SidecarIngress, Visible},
    service::{Service, ServiceEndpoints},
    snapshot::Snapshot,
    virtual_service::ResolvedVirtualService,
    workload::Workload,
};

/// Reads the mesh model. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Model<'a> {
    snapshot: &'a Snapshot,
}

impl Snapshot {
    /// The model, for reading.
    pub fn model(&self) -> Model<'_> {
        Model { snapshot: self }
    }
}

impl<'a> From<&'a Snapshot> for Model<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        snapshot.model()
    }
}

/// The mesh as a whole.
impl<'a> Model<'a> {
    /// Facts of the cluster.
    pub fn cluster(self) -> Arc<ClusterContext> {
        self.snapshot.cluster.clone()
    }

    /// Settings of the mesh.
    pub fn mesh_config(self) -> Arc<MeshConfig> {
        self.snapshot.mesh_config.clone()
    }

    /// Root certificates of our own trust domain (PEM).
    pub fn root_certificates(self) -> Arc<str> {
        self.snapshot.root_certificates.clone()
    }

    /// The JSON Web Key Set known for a URI or issuer.
    pub fn jwks(self, key: &str) -> Option<Arc<str>> {
        self.snapshot.jwks.get(key).cloned()
    }

    /// Roots of other trust domains.
    pub fn trust(self) -> Arc<TrustBundles> {
        self.snapshot.trust.clone()
    }

    /// The service with exactly this host, whoever may see it.
    pub fn service(self, host: &str) -> Option<Arc<Service>> {
        self.snapshot.services.get(host).cloned()
    }

    /// All services, by host.
    pub fn services(self) -> Arc<BTreeMap<String, Arc<Service>>> {
        self.snapshot.services.clone()
    }

    /// Endpoints of a service host.
    pub fn endpoints_of(self, host: &str) -> Option<Arc<ServiceEndpoints>> {
        self.snapshot.endpoints.get(host).cloned()
    }

    /// All endpoints, by service host.
    pub fn endpoints(self) -> Arc<BTreeMap<String, Arc<ServiceEndpoints>>> {
        self.snapshot.endpoints.clone()
    }

    /// All VirtualServices, oldest first, delegates merged in.
    pub fn virtual_services(self) -> Arc<[Arc<ResolvedVirtualService>]> {
        self.snapshot.virtual_services.clone()
    }

    /// All DestinationRules, oldest first, merged per host and namespace.
    pub fn destination_rules(self) -> Arc<[Arc<ResolvedDestinationRule>]> {
        self.snapshot.destination_rules.clone()
    }

    /// All Gateways, oldest first.
    pub fn gateways(self) -> Arc<[Arc<Resolved<GatewaySpec>>]> {
        self.snapshot.gateways.clone()
    }

    /// Hosts that only the mesh can resolve, with their addresses: imports and ServiceEntries with addresses of their
    /// own. The cluster's DNS and the agents' DNS proxies answer from this table.
    pub fn dns_table(self) -> Arc<BTreeMap<String, DnsEntry>> {
        Arc::new(self.snapshot.dns_table())
    }
}

/// Workloads, and what holds for one of them.
impl<'a> Model<'a> {
    /// The Pod with this namespace and name.
    pub fn workload(self, namespace: &str, pod: &str) -> Option<Arc<Workload>> {
        self.snapshot.workloads.by_pod.get(&(namespace.to_owned(), pod.to_owned())).cloned()
    }

    /// The Pod with this address.
    pub fn workload_at(self, address: &IpAddr) -> Option<Arc<Workload>> {
        self.snapshot.workloads.by_address.get(address).cloned()
    }

    /// The Pod of a proxy, by name, else by address.
    pub fn workload_of(self, node: &ProxyNode) -> Option<Arc<Workload>> {
        self.snapshot.workload_of(node).cloned()
    }

    /// All Pods.
    pub fn workloads(self) -> Vec<Arc<Workload>> {
        self.snapshot.workloads.by_pod.values().cloned().collect()
    }

    /// Labels of a proxy's workload: the Pod's, else what the proxy says.
    pub fn labels_of(self, node: &ProxyNode) -> Arc<BTreeMap<String, String>> {
        self.snapshot.labels_of(node)
    }

    /// Services that a proxy's workload serves, with the workload's ports.
    pub fn instances_of(self, node: &ProxyNode) -> Vec<ServiceInstance> {
        self.snapshot.instances_of(node)
    }

    /// Inbound listeners of the Sidecar object that holds for a proxy; empty means the default ones.
    pub fn sidecar_ingress(self, node: &ProxyNode) -> Vec<SidecarIngress> {
        self.snapshot.sidecar_ingress(node)
    }

    /// Servers of all Gateways that select a proxy, oldest Gateway first.
    pub fn gateways_of(self, node: &ProxyNode) -> Vec<GatewayServer> {
        self.snapshot.gateways_of(node)
    }

    /// Whether a proxy is one of the gateways that get the roots of other trust domains.
    pub fn gets_trust_bundles(self, node: &ProxyNode) -> bool {
        self.snapshot.gets_trust_bundles(node)
    }

    /// mTLS modes of a workload.
    pub fn mtls_modes(self, namespace: &str, labels: &BTreeMap<String, String>) -> MtlsModes {
        self.snapshot.mtls_modes(namespace, labels)
    }

    /// Policies that hold for a workload.
    pub fn policies(self, namespace: &str, labels: &BTreeMap<String, String>) -> WorkloadPolicies {
        self.snapshot.policies(namespace, labels)
    }

    /// Identities that a client accepts from a service: those of its endpoints and those that the service names. Our own
    /// trust domain's are repeated for its aliases.
    pub fn accepted_identities(self, service: &Service) -> BTreeSet<String> {
        self.snapshot.accepted_identities(service)
    }

    /// The DestinationRule that proxies of namespace `client` use for a service, whether they see it or not.
    pub fn destination_rule(self, client: &str, service: &Service) -> Option<Arc<ResolvedDestinationRule>> {
        self.snapshot.destination_rule(client, service).cloned()
    }

    /// Which scope holds for a proxy.
    pub fn scope_of(self, node: &ProxyNode) -> ScopeKey {
        self.snapshot.scope_of(node)
    }

    /// What the proxies of a scope see, for reading.
    pub fn scope(self, key: ScopeKey) -> Scope<'a> {
        let visible = self.snapshot.visible(&key);
        Scope { model: self, key, visible }
    }
}

/// Reads what the proxies of one scope see.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    model: Model<'a>,
    key: ScopeKey,
    visible: Arc<Visible>,
}

impl<'a> Scope<'a> {
    /// Which scope.
    pub fn key(&self) -> &ScopeKey {
        &self.key
    }

    /// The model that it is of.
    pub fn model(&self) -> Model<'a> {
        self.model
    }

    /// All visible services, by host. Who needs one asks for that one.
    pub fn services(&self) -> Arc<BTreeMap<String, Arc<Service>>> {
        self.visible.services.clone()
    }

    /// The hosts of all visible services, sorted; nothing of the services themselves is read.
    pub fn hosts(&self) -> Arc<[String]> {
        self.visible.hosts.clone()
    }

    /// The hosts of all visible services, oldest service first, equally old ones sorted.
    pub fn hosts_by_age(&self) -> Arc<[String]> {
        self.visible.hosts_by_age.clone()
    }

    /// Whether a visible service's host matches `pattern`.
    pub fn any_host_matches(&self, pattern: &str) -> bool {
        self.visible.hosts.iter().any(|host| host_matches(pattern, host))
    }

    /// The visible service with exactly this host.
    pub fn visible_exact(&self, host: &str) -> Option<Arc<Service>> {
        self.visible.services.get(host).cloned()
    }

    /// The visible service of a host: its own, else the most specific wildcard that covers it.
    pub fn visible_service(&self, host: &str) -> Option<Arc<Service>> {
        self.visible.service(host).cloned()
    }

    /// Visible VirtualServices bound to `gateway` (`mesh` or `namespace/name`), oldest first.
    pub fn virtual_services_of(&self, gateway: &str) -> Vec<Arc<ResolvedVirtualService>> {
        self.visible.virtual_services_of(gateway).cloned().collect()
    }

    /// The VirtualService that holds for a host in the mesh: the most specific one, then the oldest.
    pub fn virtual_service_for(&self, host: &str) -> Option<Arc<ResolvedVirtualService>> {
        self.visible.virtual_service_for(host).cloned()
    }

    /// The DestinationRule of a visible service's host.
    pub fn destination_rule(&self, host: &str) -> Option<Arc<ResolvedDestinationRule>> {
        self.visible.destination_rules.get(host).cloned()
    }

    /// Unknown destinations are passed through.
    pub fn allow_any(&self) -> bool {
        self.visible.allow_any
    }
}
