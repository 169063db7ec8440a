//! How everything else reads the model: one small interface, by entry where one is enough. Each call reads as little as
//! it says, for what is read is written down: whoever has read something is asked again when it differs.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
};

use portolan_derive::Reader;
use portolan_names::{labels, names};
use portolan_resources::{MeshConfig, networking::GatewaySpec};

use crate::{
    apart::{Apart, ApartOf, Asked},
    authn::{ModesOf, MtlsModes},
    authz::{PoliciesOf, WorkloadPolicies},
    destination_rule::{self, ResolvedDestinationRule},
    dns::{DnsEntry, DnsTable},
    facts::{JwksFact, PodFact, RootsFact, TrustFact},
    gateway::{GatewayServer, ServersFor},
    host::host_matches,
    inputs::{ClusterContext, TrustBundles},
    node::ProxyNode,
    object::{ObjectKey, Resolved},
    objects::Gateways,
    registry::{EndpointsAt, IdentitiesAt, ServiceAt, Services},
    scope::ScopeKey,
    service::{Service, ServiceEndpoints},
    settings, sidecar,
    virtual_service::{ResolvedVirtualService, VirtualServices},
    visible::{self, AllowAny, ByGateway, HostsByAge, RuleFor, VisibleHosts},
    workload::{Workload, WorkloadAt, WorkloadOf},
};

/// Reads the mesh model. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Model<'a> {
    read: Reader<'a>,
}

impl std::fmt::Debug for Model<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Model").finish_non_exhaustive()
    }
}

/// The mesh as a whole.
impl<'a> Model<'a> {
    /// The model as a derivation reads it.
    pub fn new(read: &Reader<'a>) -> Self {
        Self { read: *read }
    }

    /// What it reads with, for what is derived from the model elsewhere.
    pub fn reader(self) -> Reader<'a> {
        self.read
    }

    /// Facts of the cluster.
    pub fn cluster(self) -> Arc<ClusterContext> {
        settings::cluster(&self.read)
    }

    /// Settings of the mesh.
    pub fn mesh_config(self) -> Arc<MeshConfig> {
        settings::mesh_config(&self.read)
    }

    /// Root certificates of our own trust domain (PEM).
    pub fn root_certificates(self) -> Arc<str> {
        self.read.fact(&RootsFact).unwrap_or_else(|| "".into())
    }

    /// The JSON Web Key Set known for a URI or issuer.
    pub fn jwks(self, key: &str) -> Option<Arc<str>> {
        self.read.fact(&JwksFact(key.to_owned()))
    }

    /// Roots of other trust domains.
    pub fn trust(self) -> Arc<TrustBundles> {
        self.read.fact(&TrustFact).unwrap_or_default()
    }

    /// The service with exactly this host, whoever may see it.
    pub fn service(self, host: &str) -> Option<Arc<Service>> {
        self.read.get(&ServiceAt(host.to_owned()))
    }

    /// All services, by host.
    pub fn services(self) -> Arc<BTreeMap<String, Arc<Service>>> {
        self.read.whole(&Services)
    }

    /// Endpoints of a service host; nothing when there is no such service.
    pub fn endpoints_of(self, host: &str) -> Option<Arc<ServiceEndpoints>> {
        self.service(host)?;
        Some(self.read.get(&EndpointsAt(host.to_owned())))
    }

    /// All endpoints, by service host.
    pub fn endpoints(self) -> BTreeMap<String, Arc<ServiceEndpoints>> {
        let hosts = self.services();
        hosts.keys().map(|host| (host.clone(), self.read.get(&EndpointsAt(host.clone())))).collect()
    }

    /// All VirtualServices, oldest first, delegates merged in.
    pub fn virtual_services(self) -> Arc<[Arc<ResolvedVirtualService>]> {
        self.read.get(&VirtualServices)
    }

    /// All DestinationRules, oldest first, merged per host and namespace.
    pub fn destination_rules(self) -> Arc<[Arc<ResolvedDestinationRule>]> {
        destination_rule::all(&self.read).into()
    }

    /// All Gateways, oldest first.
    pub fn gateways(self) -> Arc<[Arc<Resolved<GatewaySpec>>]> {
        self.read.get(&Gateways)
    }

    /// Hosts that only the mesh can resolve, with their addresses: imports and ServiceEntries with addresses of their
    /// own. The cluster's DNS and the agents' DNS proxies answer from this table.
    pub fn dns_table(self) -> Arc<BTreeMap<String, DnsEntry>> {
        self.read.get(&DnsTable)
    }
}

/// Workloads, and what holds for one of them.
impl<'a> Model<'a> {
    /// The Pod with this namespace and name.
    pub fn workload(self, namespace: &str, pod: &str) -> Option<Arc<Workload>> {
        self.read.get(&WorkloadOf(ObjectKey::new(namespace, pod)))
    }

    /// The Pod with this address.
    pub fn workload_at(self, address: &IpAddr) -> Option<Arc<Workload>> {
        self.read.get(&WorkloadAt(*address))
    }

    /// The Pod of a proxy, by name, else by address.
    pub fn workload_of(self, node: &ProxyNode) -> Option<Arc<Workload>> {
        let by_name = self.workload(&node.namespace, &node.name);
        by_name.or_else(|| node.addresses.iter().find_map(|ip| self.workload_at(ip)))
    }

    /// All Pods.
    pub fn workloads(self) -> Vec<Arc<Workload>> {
        let pods = self.read.keys::<PodFact>();
        pods.iter().filter_map(|pod| self.read.get(&WorkloadOf(pod.key.clone()))).collect()
    }

    /// Labels of a proxy's workload: the Pod's, else what the proxy says.
    pub fn labels_of(self, node: &ProxyNode) -> Arc<BTreeMap<String, String>> {
        match self.workload_of(node) {
            Some(workload) => workload.labels.clone(),
            None => Arc::new(node.metadata.labels.clone()),
        }
    }

    /// Servers of all Gateways that select a proxy, oldest Gateway first.
    pub fn gateways_of(self, node: &ProxyNode) -> Vec<GatewayServer> {
        self.read.get(&ServersFor(self.labels_of(node))).to_vec()
    }

    /// Whether a proxy is one of the gateways that get the roots of other trust domains.
    pub fn gets_trust_bundles(self, node: &ProxyNode) -> bool {
        let trust = self.trust();
        if trust.bundles.is_empty() || !node.is_router() {
            return false;
        }
        let labels = self.labels_of(node);
        let name = labels.get(labels::CANONICAL_NAME);
        node.namespace == self.cluster().control_plane_namespace
            && name.is_some_and(|n| trust.gateways.iter().any(|g| g == n))
    }

    /// mTLS modes of a workload.
    pub fn mtls_modes(self, namespace: &str, labels: &Arc<BTreeMap<String, String>>) -> Arc<MtlsModes> {
        self.read.get(&ModesOf { namespace: namespace.to_owned(), labels: labels.clone() })
    }

    /// Policies that hold for a workload.
    pub fn policies(self, namespace: &str, labels: &Arc<BTreeMap<String, String>>) -> WorkloadPolicies {
        let key = PoliciesOf { namespace: namespace.to_owned(), labels: labels.clone() };
        (*self.read.get(&key)).clone()
    }

    /// Identities that a client accepts from a service: those of its endpoints and those that the service names. Our own
    /// trust domain's are repeated for its aliases.
    pub fn accepted_identities(self, service: &Service) -> BTreeSet<String> {
        let mut out = service.subject_alt_names.clone();
        out.extend(self.read.get(&IdentitiesAt(service.host.clone())).iter().cloned());
        let own = format!("{}{}/", names::SPIFFE_PREFIX, settings::trust_domain(&self.read));
        let aliases = settings::trust_domain_aliases(&self.read);
        let repeated: Vec<String> = out
            .iter()
            .filter_map(|id| id.strip_prefix(&own))
            .flat_map(|rest| {
                aliases.iter().map(move |alias| format!("{}{alias}/{rest}", names::SPIFFE_PREFIX))
            })
            .collect();
        out.extend(repeated);
        out
    }

    /// The DestinationRule that proxies of namespace `client` use for a service, whether they see it or not.
    pub fn destination_rule(self, client: &str, service: &Service) -> Option<Arc<ResolvedDestinationRule>> {
        destination_rule::for_service(&self.read, client, service)
    }

    /// Which scope holds for a proxy. Gateways see what their namespace sees; Sidecar objects do not hold for them.
    pub fn scope_of(self, node: &ProxyNode) -> ScopeKey {
        let sidecar = (!node.is_router())
            .then(|| sidecar::find(&self.read, &node.namespace, &self.labels_of(node)))
            .flatten();
        ScopeKey {
            namespace: node.namespace.clone(),
            sidecar: sidecar.map(|s| s.meta.key.clone()),
            router: node.is_router(),
        }
    }

    /// What the proxies of a scope see, for reading.
    pub fn scope(self, key: ScopeKey) -> Scope<'a> {
        Scope { model: self, key, asked: None }
    }
}

/// Reads what the proxies of one scope see.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    model: Model<'a>,
    key: ScopeKey,
    /// What was asked, where that is written down.
    asked: Option<Rc<RefCell<Asked>>>,
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

    /// Where it differs from its common scope; nothing when it has none.
    pub fn apart(&self) -> Option<Arc<Apart>> {
        self.key.common()?;
        Some(self.model.read.get(&ApartOf(self.key.namespace.clone())))
    }

    /// The same, keeping account of what is asked from now on.
    pub fn accounting(self) -> Self {
        Self { asked: Some(Rc::default()), ..self }
    }

    /// What was asked of it and its clones, if it keeps account.
    pub fn asked(&self) -> Option<Asked> {
        self.asked.as_ref().map(|asked| asked.borrow().clone())
    }

    /// Writes down that something was asked that depends on whose scope it is and is not about a host.
    pub fn ask_more(&self) {
        if let Some(asked) = &self.asked {
            asked.borrow_mut().more = true;
        }
    }

    fn ask(&self, host: &str) {
        if let Some(asked) = &self.asked
            && !asked.borrow().hosts.contains(host)
        {
            asked.borrow_mut().hosts.insert(host.to_owned());
        }
    }

    /// All visible services, by host. Who needs one asks for that one.
    pub fn services(&self) -> Arc<BTreeMap<String, Arc<Service>>> {
        self.ask_more();
        visible::all(&self.model.read, &self.key)
    }

    /// The hosts of all visible services, sorted; nothing of the services themselves is read.
    pub fn hosts(&self) -> Arc<[String]> {
        self.ask_more();
        self.model.read.get(&VisibleHosts(self.key.clone()))
    }

    /// The hosts of all visible services, oldest service first, equally old ones sorted.
    pub fn hosts_by_age(&self) -> Arc<[String]> {
        self.ask_more();
        self.model.read.get(&HostsByAge(self.key.clone()))
    }

    /// Whether a visible service's host matches `pattern`.
    pub fn any_host_matches(&self, pattern: &str) -> bool {
        self.hosts().iter().any(|host| host_matches(pattern, host))
    }

    /// The visible service with exactly this host.
    pub fn visible_exact(&self, host: &str) -> Option<Arc<Service>> {
        self.ask(host);
        visible::exact(&self.model.read, &self.key, host)
    }

    /// The visible service of a host: its own, else the most specific wildcard that covers it.
    pub fn visible_service(&self, host: &str) -> Option<Arc<Service>> {
        self.ask(host);
        visible::service(&self.model.read, &self.key, host)
    }

    /// Visible VirtualServices bound to `gateway` (`mesh` or `namespace/name`), oldest first.
    pub fn virtual_services_of(&self, gateway: &str) -> Vec<Arc<ResolvedVirtualService>> {
        self.ask_more();
        let of_gateway = self.model.read.entry(&ByGateway(self.key.clone()), &gateway.to_owned());
        of_gateway.map(|all| all.to_vec()).unwrap_or_default()
    }

    /// The VirtualService that holds for a host in the mesh: the most specific one, then the oldest.
    pub fn virtual_service_for(&self, host: &str) -> Option<Arc<ResolvedVirtualService>> {
        self.ask(host);
        visible::virtual_service_for(&self.model.read, &self.key, host)
    }

    /// The DestinationRule of a visible service's host.
    pub fn destination_rule(&self, host: &str) -> Option<Arc<ResolvedDestinationRule>> {
        let visible = self.visible_exact(host)?;
        self.model.read.get(&RuleFor { client: self.key.namespace.clone(), host: visible.host.clone() })
    }

    /// Unknown destinations are passed through. A scope and its common one agree on that: only Sidecar objects differ.
    pub fn allow_any(&self) -> bool {
        self.model.read.get(&AllowAny(self.key.clone()))
    }
}
