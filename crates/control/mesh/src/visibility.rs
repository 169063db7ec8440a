//! What one proxy may see: services and configuration by `exportTo` and its Sidecar object, Gateways by selector, and the
//! roots of other trust domains. Nothing else in the mesh decides this.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use portolan_names::labels;
use portolan_resources::networking::SidecarSpec;

use crate::{
    destination_rule::ResolvedDestinationRule,
    gateway::{self, GatewayServer},
    host::{host_matches, host_specificity},
    node::ProxyNode,
    object::{ObjectKey, Resolved},
    scope::{ScopeKey, Visible},
    service::Service,
    sidecar,
    snapshot::Snapshot,
    virtual_service::ResolvedVirtualService,
};

impl Snapshot {
    /// The scope of a proxy. Gateways see what their namespace sees; Sidecar objects do not hold for them.
    pub(crate) fn scope_of(&self, node: &ProxyNode) -> ScopeKey {
        let sidecar = (!node.is_router()).then(|| self.sidecar_of(node)).flatten();
        ScopeKey {
            namespace: node.namespace.clone(),
            sidecar: sidecar.map(|s| s.meta.key.clone()),
            router: node.is_router(),
        }
    }

    /// What the proxies of a scope see.
    pub(crate) fn visible(&self, key: &ScopeKey) -> Arc<Visible> {
        let mut scopes = self.scopes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(visible) = scopes.get(key) {
            return visible.clone();
        }
        let sidecar = key.sidecar.as_ref().and_then(|s| self.sidecar(s));
        let visible = Arc::new(self.make_visible(&key.namespace, sidecar));
        scopes.insert(key.clone(), visible.clone());
        visible
    }

    fn sidecar(&self, key: &ObjectKey) -> Option<&Arc<Resolved<SidecarSpec>>> {
        self.sidecars.get(&key.namespace)?.iter().find(|s| s.meta.key == *key)
    }

    pub(crate) fn sidecar_of(&self, node: &ProxyNode) -> Option<&Arc<Resolved<SidecarSpec>>> {
        let root = &self.mesh_config.root_namespace;
        sidecar::find(&self.sidecars, root, &node.namespace, &self.labels_of(node))
    }

    fn make_visible(&self, namespace: &str, sidecar: Option<&Arc<Resolved<SidecarSpec>>>) -> Visible {
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
        let mut by_age: Vec<&Arc<Service>> = services.values().collect();
        by_age.sort_by(|a, b| (a.age, &a.host).cmp(&(b.age, &b.host)));
        Visible {
            hosts: services.keys().cloned().collect(),
            hosts_by_age: by_age.into_iter().map(|s| s.host.clone()).collect(),
            allow_any: Visible::sidecar_allow_any(sidecar, self.mesh_config.allow_any()),
            services: Arc::new(services),
            virtual_services,
            destination_rules,
        }
    }

    /// The DestinationRule that proxies of `client` use for a service: of their own namespace, else of the service's,
    /// else of the root namespace; in each the most specific host, then the oldest.
    pub(crate) fn destination_rule(
        &self,
        client: &str,
        service: &Service,
    ) -> Option<&Arc<ResolvedDestinationRule>> {
        let root = self.mesh_config.root_namespace.as_str();
        [client, service.namespace.as_str(), root].into_iter().find_map(|ns| {
            self.destination_rules
                .iter()
                .filter(|d| d.meta.key.namespace == ns && host_matches(&d.host, &service.host))
                .filter(|d| ns == client || d.meta.visibility.includes(client))
                .min_by(|a, b| host_specificity(&a.host, &b.host))
        })
    }

    /// Servers of all Gateways that select a proxy, oldest Gateway first.
    pub(crate) fn gateways_of(&self, node: &ProxyNode) -> Vec<GatewayServer> {
        let labels = self.labels_of(node);
        let selected = self
            .gateways
            .iter()
            .filter(|g| g.spec.selector.iter().all(|(k, v)| labels.get(k) == Some(v)))
            .map(AsRef::as_ref);
        gateway::servers(selected)
    }

    /// Whether a proxy is one of the gateways that get the roots of other trust domains.
    pub(crate) fn gets_trust_bundles(&self, node: &ProxyNode) -> bool {
        if self.trust.bundles.is_empty() || !node.is_router() {
            return false;
        }
        let labels = self.labels_of(node);
        let name = labels.get(labels::CANONICAL_NAME);
        node.namespace == self.cluster.control_plane_namespace
            && name.is_some_and(|n| self.trust.gateways.iter().any(|g| g == n))
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
