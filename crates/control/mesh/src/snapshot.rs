//! The model.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::api::core::v1::Service as KubeService;
use portolan_resources::{
    MeshConfig,
    networking::{GatewaySpec, SidecarSpec},
    security::{AuthorizationPolicySpec, RequestAuthenticationSpec},
    well_known::{labels, names},
};

use crate::{
    authn::{self, MtlsModes},
    authz::{self, WorkloadPolicies},
    dns::{self, DnsEntry},
    export_to::Visibility,
    gateway::{self, GatewayServer},
    host::{host_matches, host_specificity},
    inputs::{ClusterContext, Inputs, ObjectKey, TrustBundles},
    kubernetes::{self, Workloads},
    node::ProxyNode,
    scope::{Scope, ServiceInstance, SidecarIngress},
    service::{Registry, Service, ServiceEndpoints, ServicePort},
    service_entry, sidecar,
    virtual_service::{self, Resolved, ResolvedDestinationRule, ResolvedVirtualService},
    workload::Workload,
};

/// Namespace and Sidecar object of a [`Scope`]; gateways have scopes of their own.
type ScopeKey = (String, Option<ObjectKey>, bool);

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
    kube_services: BTreeMap<ObjectKey, Arc<KubeService>>,
    workloads: Workloads,
    sidecars: sidecar::Sidecars,
    peer_authentications: authn::Policies,
    authorization_policies: authz::ByNamespace<AuthorizationPolicySpec>,
    request_authentications: authz::ByNamespace<RequestAuthenticationSpec>,
    auto_addresses: BTreeMap<String, Ipv4Addr>,
    /// Scopes made so far. Filled on demand; only a cache, so that reading it never changes what is seen.
    scopes: Mutex<BTreeMap<ScopeKey, Arc<Scope>>>,
}

/// The value of `before` when it is equal, so that the new snapshot shares it.
fn share<T: PartialEq>(value: T, before: Option<&Arc<T>>) -> Arc<T> {
    match before {
        Some(old) if **old == value => old.clone(),
        _ => Arc::new(value),
    }
}

impl Snapshot {
    /// Builds the model. `before` is the last one: what did not change is shared with it, and automatic addresses stay.
    pub fn build(inputs: &Inputs, before: Option<&Snapshot>) -> Self {
        let mesh = &inputs.mesh_config;
        let domain = inputs.cluster.domain.as_str();
        let workloads = workloads(inputs, before);
        let (services, endpoints, auto_addresses) = services(inputs, &workloads, before);

        let fed = &inputs.federation.configs;
        let export = &mesh.default_virtual_service_export_to;
        let resolved: Vec<_> = inputs
            .virtual_services
            .values()
            .chain(&fed.virtual_services)
            .map(|v| virtual_service::resolve_virtual_service(v, domain, export))
            .collect();
        let mut virtual_services = virtual_service::merge_delegates(resolved);
        virtual_services.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
        let old_vs: BTreeMap<_, _> =
            before.iter().flat_map(|b| &b.virtual_services).map(|v| (&v.meta.key, v)).collect();
        let virtual_services = virtual_services
            .into_iter()
            .map(|v| {
                let old = old_vs.get(&v.meta.key).copied();
                share(v, old)
            })
            .collect();

        let destination_rules = virtual_service::resolve_destination_rules(
            inputs.destination_rules.values().chain(&fed.destination_rules),
            domain,
            &mesh.default_destination_rule_export_to,
        );
        let old_dr: BTreeMap<_, _> =
            before.iter().flat_map(|b| &b.destination_rules).map(|d| (&d.meta.key, d)).collect();
        let destination_rules = destination_rules
            .into_iter()
            .map(|d| {
                let old = old_dr.get(&d.meta.key).copied();
                share(d, old)
            })
            .collect();

        let mut gateways: Vec<_> =
            inputs.gateways.values().chain(&fed.gateways).map(|g| Arc::new(gateway::resolve(g))).collect();
        gateways.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));

        let mut peer_authentications: Vec<_> = inputs
            .peer_authentications
            .values()
            .map(|p| Resolved { meta: virtual_service::ConfigMeta::of(&p.metadata), spec: p.spec.clone() })
            .collect();
        peer_authentications.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));

        Self {
            cluster: inputs.cluster.clone(),
            mesh_config: mesh.clone(),
            root_certificates: inputs.root_certificates.clone(),
            jwks: inputs.jwks.clone(),
            trust: inputs.federation.trust.clone(),
            services,
            endpoints,
            virtual_services,
            destination_rules,
            gateways,
            kube_services: inputs.services.clone(),
            workloads,
            sidecars: by_namespace(inputs.sidecars.values().map(|s| (&s.metadata, &s.spec))),
            peer_authentications,
            authorization_policies: by_namespace(
                inputs
                    .authorization_policies
                    .values()
                    .chain(&fed.authorization_policies)
                    .map(|p| (&p.metadata, &p.spec)),
            ),
            request_authentications: by_namespace(
                inputs.request_authentications.values().map(|p| (&p.metadata, &p.spec)),
            ),
            auto_addresses,
            scopes: Mutex::default(),
        }
    }

    /// The scope of a proxy. Gateways see what their namespace sees; Sidecar objects do not hold for them.
    pub fn scope(&self, node: &ProxyNode) -> Arc<Scope> {
        let sidecar = (!node.is_router()).then(|| self.sidecar_of(node)).flatten();
        let key = (node.namespace.clone(), sidecar.map(|s| s.meta.key.clone()), node.is_router());
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scope) = scopes.get(&key) {
            return scope.clone();
        }
        let scope = Arc::new(self.make_scope(&node.namespace, sidecar));
        scopes.insert(key, scope.clone());
        scope
    }

    fn sidecar_of(&self, node: &ProxyNode) -> Option<&Arc<Resolved<SidecarSpec>>> {
        let root = &self.mesh_config.root_namespace;
        sidecar::find(&self.sidecars, root, &node.namespace, &self.labels_of(node))
    }

    fn make_scope(&self, namespace: &str, sidecar: Option<&Arc<Resolved<SidecarSpec>>>) -> Scope {
        let hosts = sidecar.and_then(|s| sidecar::egress_hosts(s, namespace));
        let through = |ns: &str, host: &str| {
            hosts.as_ref().is_none_or(|list| sidecar::lets_through(list, ns, host, None))
        };
        let virtual_services: Vec<_> = self
            .virtual_services
            .iter()
            .filter(|v| v.meta.visibility.includes(namespace))
            .filter(|v| v.spec.hosts.iter().any(|h| through(&v.meta.key.namespace, h)))
            .cloned()
            .collect();
        // A visible VirtualService brings its destinations along, as in Istio.
        let destinations: BTreeSet<&str> = match &hosts {
            None => BTreeSet::new(),
            Some(_) => virtual_services.iter().flat_map(|v| destinations(v)).collect(),
        };
        let services: BTreeMap<_, _> = self
            .services
            .iter()
            .filter(|(_, s)| s.visibility.includes(namespace))
            .filter(|(host, s)| through(&s.namespace, host) || destinations.contains(host.as_str()))
            .map(|(host, s)| {
                let restricted =
                    hosts.as_ref().filter(|_| !destinations.contains(host.as_str())).map(|list| {
                        let ports: Vec<_> = s
                            .ports
                            .iter()
                            .filter(|p| sidecar::lets_through(list, &s.namespace, host, Some(p.number)))
                            .cloned()
                            .collect();
                        ports
                    });
                let service = match restricted {
                    Some(ports) if ports.len() != s.ports.len() => {
                        Arc::new(Service { ports, ..(**s).clone() })
                    }
                    _ => s.clone(),
                };
                (host.clone(), service)
            })
            .collect();
        let destination_rules = services
            .values()
            .filter_map(|s| Some((s.host.clone(), self.destination_rule(namespace, s)?.clone())))
            .collect();
        Scope {
            namespace: namespace.to_owned(),
            allow_any: Scope::sidecar_allow_any(sidecar, self.mesh_config.allow_any()),
            sidecar: sidecar.cloned(),
            services,
            virtual_services,
            destination_rules,
        }
    }

    /// The DestinationRule that proxies of `client` use for a service: of their own namespace, else of the service's,
    /// else of the root namespace; in each the most specific host, then the oldest.
    pub fn destination_rule(&self, client: &str, service: &Service) -> Option<&Arc<ResolvedDestinationRule>> {
        let root = self.mesh_config.root_namespace.as_str();
        [client, service.namespace.as_str(), root].into_iter().find_map(|ns| {
            self.destination_rules
                .iter()
                .filter(|d| d.meta.key.namespace == ns && host_matches(&d.host, &service.host))
                .filter(|d| ns == client || d.meta.visibility.includes(client))
                .min_by(|a, b| host_specificity(&a.host, &b.host))
        })
    }

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

    /// mTLS modes of a workload.
    pub fn mtls_modes(&self, namespace: &str, labels: &BTreeMap<String, String>) -> MtlsModes {
        authn::modes(&self.peer_authentications, &self.mesh_config.root_namespace, namespace, labels)
    }

    /// Policies that hold for a workload.
    pub fn policies(&self, namespace: &str, labels: &BTreeMap<String, String>) -> WorkloadPolicies {
        authz::policies(
            &self.authorization_policies,
            &self.request_authentications,
            &self.mesh_config.root_namespace,
            namespace,
            labels,
        )
    }

    /// Servers of all Gateways that select a proxy, oldest Gateway first.
    pub fn gateways_of(&self, node: &ProxyNode) -> Vec<GatewayServer> {
        let labels = self.labels_of(node);
        let selected = self
            .gateways
            .iter()
            .filter(|g| g.spec.selector.iter().all(|(k, v)| labels.get(k) == Some(v)))
            .map(AsRef::as_ref);
        gateway::servers(selected)
    }

    /// Services that a proxy's workload serves, with the workload's ports.
    pub fn instances_of(&self, node: &ProxyNode) -> Vec<ServiceInstance> {
        let labels = self.labels_of(node);
        let named = self.workload_of(node).map(|w| w.named_ports.clone()).unwrap_or_default();
        let selects =
            |s: &Service| !s.selector.is_empty() && s.selector.iter().all(|(k, v)| labels.get(k) == Some(v));
        let own = self.services.values().filter(|s| s.namespace == node.namespace && selects(s));
        let mut out = Vec::new();
        for service in own {
            match service.registry {
                Registry::Kubernetes => {
                    let key = ObjectKey::new(&service.namespace, &service.name);
                    let spec = self.kube_services.get(&key).and_then(|s| s.spec.as_ref());
                    for kube in spec.iter().flat_map(|s| s.ports.iter().flatten()) {
                        let port = u16::try_from(kube.port).ok().and_then(|n| service.port(n));
                        let (Some(port), Some(target)) = (port, kubernetes::target_port(kube, &named)) else {
                            continue;
                        };
                        out.push(ServiceInstance { service: service.clone(), port: port.clone(), target });
                    }
                }
                Registry::ServiceEntry => {
                    let Some(endpoints) = self.endpoints.get(&service.host) else { continue };
                    for port in &service.ports {
                        let mine = endpoints.port(port.number).iter().find(|e| {
                            matches!(&e.address, crate::EndpointAddress::Ip(ip) if node.addresses.contains(ip))
                        });
                        if let Some(endpoint) = mine {
                            let target = endpoint.port;
                            out.push(ServiceInstance {
                                service: service.clone(),
                                port: port.clone(),
                                target,
                            });
                        }
                    }
                }
                Registry::Federation => {}
            }
        }
        out.sort_by(|a, b| {
            (a.target, a.service.age, &a.service.host).cmp(&(b.target, b.service.age, &b.service.host))
        });
        out
    }

    /// Inbound listeners of the Sidecar object that holds for a proxy; empty means the default ones.
    pub fn sidecar_ingress(&self, node: &ProxyNode) -> Vec<SidecarIngress> {
        let Some(sidecar) = self.sidecar_of(node) else { return Vec::new() };
        sidecar
            .spec
            .ingress
            .iter()
            .filter_map(|ingress| {
                let port = ingress.port.as_ref()?;
                let number = u16::try_from(port.number).ok().filter(|n| *n != 0)?;
                let protocol = crate::Protocol::parse(&port.protocol)
                    .unwrap_or_else(|| crate::Protocol::of_port(number, &port.name, None, "TCP"));
                Some(SidecarIngress {
                    sidecar: sidecar.meta.key.clone(),
                    port: ServicePort { name: port.name.clone(), number, protocol },
                    default_endpoint: ingress.default_endpoint.clone().unwrap_or_default(),
                })
            })
            .collect()
    }

    /// Identities that a client accepts from a service: those of its endpoints and those that the service names. Our own
    /// trust domain's are repeated for its aliases.
    pub fn accepted_identities(&self, service: &Service) -> BTreeSet<String> {
        let mut out = service.subject_alt_names.clone();
        if let Some(endpoints) = self.endpoints.get(&service.host) {
            out.extend(endpoints.identities());
        }
        let own = format!("{}{}/", names::SPIFFE_PREFIX, self.mesh_config.trust_domain);
        let aliases: Vec<String> = out
            .iter()
            .filter_map(|id| id.strip_prefix(&own))
            .flat_map(|rest| {
                self.mesh_config
                    .trust_domain_aliases
                    .iter()
                    .map(move |alias| format!("{}{alias}/{rest}", names::SPIFFE_PREFIX))
            })
            .collect();
        out.extend(aliases);
        out
    }

    /// Whether a proxy is one of the gateways that get the roots of other trust domains.
    pub fn gets_trust_bundles(&self, node: &ProxyNode) -> bool {
        if self.trust.bundles.is_empty() || !node.is_router() {
            return false;
        }
        let labels = self.labels_of(node);
        let name = labels.get(labels::CANONICAL_NAME);
        node.namespace == self.cluster.control_plane_namespace
            && name.is_some_and(|n| self.trust.gateways.iter().any(|g| g == n))
    }

    /// Hosts that only the mesh can resolve, with their addresses: imports and ServiceEntries with addresses of their
    /// own. The cluster's DNS and the agents' DNS proxies answer from this table.
    pub fn dns_table(&self) -> BTreeMap<String, DnsEntry> {
        let resolvable = |s: &&Arc<Service>| {
            s.registry != Registry::Kubernetes
                && matches!(s.visibility, Visibility::Public)
                && !s.host.contains('*')
        };
        self.services
            .values()
            .filter(resolvable)
            .filter_map(|s| {
                let addresses: Vec<IpAddr> =
                    s.virtual_addresses().iter().filter_map(|a| a.parse().ok()).collect();
                (!addresses.is_empty())
                    .then(|| (s.host.clone(), DnsEntry { addresses, registry: s.registry }))
            })
            .collect()
    }
}

fn destinations(vs: &ResolvedVirtualService) -> impl Iterator<Item = &str> {
    let http = vs
        .spec
        .http
        .iter()
        .flat_map(|r| r.route.iter().filter_map(|d| d.destination.as_ref()).chain(r.mirror.as_ref()));
    let tcp = vs.spec.tcp.iter().flat_map(|r| &r.route).chain(vs.spec.tls.iter().flat_map(|r| &r.route));
    http.chain(tcp.filter_map(|d| d.destination.as_ref())).map(|d| d.host.as_str())
}

fn workloads(inputs: &Inputs, before: Option<&Snapshot>) -> Workloads {
    let mut out = Workloads::default();
    for (key, pod) in &inputs.pods {
        // Finished Pods keep their address in status although it may be given to another Pod.
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        if matches!(phase, "Succeeded" | "Failed") {
            continue;
        }
        let id = (key.namespace.clone(), key.name.clone());
        let old = before.and_then(|b| b.workloads.by_pod.get(&id));
        let workload = share(Workload::of(pod, &inputs.mesh_config.trust_domain), old);
        let host_network = pod.spec.as_ref().and_then(|s| s.host_network).unwrap_or_default();
        if !host_network {
            for address in &workload.addresses {
                out.by_address.insert(*address, workload.clone());
            }
        }
        out.by_pod.insert(id, workload);
    }
    out
}

type ServiceMaps =
    (BTreeMap<String, Arc<Service>>, BTreeMap<String, Arc<ServiceEndpoints>>, BTreeMap<String, Ipv4Addr>);

/// Services and endpoints of all registries, merged by host: Kubernetes first, then ServiceEntries by age, then
/// federation. The first gives name, ports and addresses; endpoints and accepted identities are united, so that
/// `importAsLocal` works (spec/federation.md 3.4).
fn services(inputs: &Inputs, workloads: &Workloads, before: Option<&Snapshot>) -> ServiceMaps {
    let mesh = &inputs.mesh_config;
    let network = inputs.cluster.network.as_str();
    let mut all: Vec<(Service, ServiceEndpoints)> = Vec::new();

    let mut slices: BTreeMap<ObjectKey, Vec<&Arc<_>>> = BTreeMap::new();
    for slice in inputs.endpoint_slices.values() {
        let meta = &slice.metadata;
        if let Some(name) = meta.labels.as_ref().and_then(|l| l.get(labels::SERVICE_NAME)) {
            let key = ObjectKey::new(meta.namespace.clone().unwrap_or_default(), name);
            slices.entry(key).or_default().push(slice);
        }
    }
    for (key, object) in &inputs.services {
        let Some(service) = kubernetes::service(object, &inputs.cluster.domain, mesh) else { continue };
        let of_service = slices.get(key).into_iter().flatten().copied();
        let endpoints = kubernetes::endpoints(&service, of_service, workloads, network);
        all.push((service, endpoints));
    }

    let entries: Vec<_> = inputs.workload_entries.values().collect();
    let mut service_entries: Vec<_> =
        inputs.service_entries.values().chain(&inputs.federation.configs.service_entries).collect();
    service_entries.sort_by_key(|s| virtual_service::Age::of(&s.metadata));
    for object in service_entries {
        let endpoints = service_entry::endpoints(object, &entries, workloads, mesh, network);
        for service in service_entry::services(object, mesh) {
            all.push((service, endpoints.clone()));
        }
    }

    for service in &inputs.federation.services {
        let endpoints = inputs.federation.endpoints.get(&service.host);
        let mut service = (**service).clone();
        service.wants_auto_address = service.addresses.is_empty();
        all.push((service, endpoints.map(|e| (**e).clone()).unwrap_or_default()));
    }

    let mut merged: BTreeMap<String, (Service, ServiceEndpoints)> = BTreeMap::new();
    for (service, endpoints) in all {
        match merged.get_mut(&service.host) {
            None => {
                merged.insert(service.host.clone(), (service, endpoints));
            }
            Some((first, united)) => {
                // A ServiceEntry or import that another namespace may not see must not widen the first.
                first.subject_alt_names.extend(service.subject_alt_names);
                for port in service.ports {
                    if first.port(port.number).is_none() && first.registry != Registry::Kubernetes {
                        first.ports.push(port);
                    }
                }
                united.merge(&endpoints);
            }
        }
    }
    let (mut services, endpoints): (Vec<_>, Vec<_>) = merged.into_values().unzip();
    let no_addresses = BTreeMap::new();
    let addresses = dns::allocate(&mut services, before.map_or(&no_addresses, |b| &b.auto_addresses));
    let mut service_map = BTreeMap::new();
    let mut endpoint_map = BTreeMap::new();
    for (service, endpoints) in services.into_iter().zip(endpoints) {
        let host = service.host.clone();
        endpoint_map.insert(host.clone(), share(endpoints, before.and_then(|b| b.endpoints.get(&host))));
        service_map.insert(host.clone(), share(service, before.and_then(|b| b.services.get(&host))));
    }
    (service_map, endpoint_map, addresses)
}

type Meta = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

fn by_namespace<'a, T: Clone + 'a>(
    objects: impl Iterator<Item = (&'a Meta, &'a T)>,
) -> authz::ByNamespace<T> {
    let mut out: authz::ByNamespace<T> = BTreeMap::new();
    for (meta, spec) in objects {
        let resolved = Resolved { meta: virtual_service::ConfigMeta::of(meta), spec: spec.clone() };
        out.entry(resolved.meta.key.namespace.clone()).or_default().push(Arc::new(resolved));
    }
    for list in out.values_mut() {
        list.sort_by(|a, b| a.meta.precedence().cmp(&b.meta.precedence()));
    }
    out
}
