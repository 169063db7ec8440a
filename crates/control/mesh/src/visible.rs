//! What the proxies of one scope see: services and configuration by `exportTo` and their Sidecar object. Nothing else in
//! the mesh decides this.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_derive::{Derived, Reader, Relation};
use portolan_names::names::MESH_GATEWAY;
use portolan_resources::networking::{OutboundTrafficPolicyMode, SidecarSpec};

use crate::{
    destination_rule::{self, ResolvedDestinationRule},
    host::{host_matches, host_specificity, is_wildcard},
    object::Resolved,
    objects::SidecarsIn,
    registry::{ConfinedTo, PublicServices, ServiceAt, Services},
    scope::ScopeKey,
    service::Service,
    settings,
    sidecar::{self, EgressHost},
    virtual_service::{ResolvedVirtualService, VirtualServices, destinations},
};

/// The Sidecar object of a scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SidecarOf(pub(crate) ScopeKey);

impl Derived for SidecarOf {
    type Value = Option<Arc<Resolved<SidecarSpec>>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let key = self.0.sidecar.as_ref()?;
        let all = read.get(&SidecarsIn(key.namespace.clone()));
        all.iter().find(|s| s.meta.key == *key).cloned()
    }
}

/// Whether unknown destinations are passed through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AllowAny(pub(crate) ScopeKey);

impl Derived for AllowAny {
    type Value = bool;
    fn derive(&self, read: &Reader<'_>) -> bool {
        let sidecar = read.get(&SidecarOf(self.0.clone()));
        match sidecar.as_ref().and_then(|s| s.spec.outbound_traffic_policy.as_ref()) {
            Some(policy) => policy.mode == OutboundTrafficPolicyMode::AllowAny,
            None => settings::allow_any(read),
        }
    }
}

/// The hosts that the scope's Sidecar object lets through; nothing where it lets everything through.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct EgressOf(ScopeKey);

impl Derived for EgressOf {
    type Value = Option<Arc<[EgressHost]>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let sidecar = read.get(&SidecarOf(self.0.clone()))?;
        sidecar::egress_hosts(&sidecar, &self.0.namespace).map(Into::into)
    }
}

fn lets_through(egress: Option<&[EgressHost]>, namespace: &str, host: &str) -> bool {
    egress.is_none_or(|list| sidecar::lets_through(list, namespace, host, None))
}

/// Visible VirtualServices of all gateways, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct VisibleVirtualServices(ScopeKey);

impl Derived for VisibleVirtualServices {
    type Value = Arc<[Arc<ResolvedVirtualService>]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let egress = read.get(&EgressOf(self.0.clone()));
        let all = read.get(&VirtualServices);
        all.iter()
            .filter(|v| v.meta.visibility.includes(&self.0.namespace))
            .filter(|v| {
                v.spec.hosts.iter().any(|h| lets_through(egress.as_deref(), &v.meta.key.namespace, h))
            })
            .cloned()
            .collect()
    }
}

/// Visible VirtualServices by the gateway (`mesh` or `namespace/name`) that they are bound to, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ByGateway(pub(crate) ScopeKey);

impl Relation for ByGateway {
    type Entry = String;
    type Value = Arc<[Arc<ResolvedVirtualService>]>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Self::Value> {
        let mut by_gateway: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        let all = read.get(&VisibleVirtualServices(self.0.clone()));
        for vs in all.iter() {
            for gateway in vs.spec.gateways.iter().collect::<BTreeSet<_>>() {
                by_gateway.entry(gateway).or_default().push(vs.clone());
            }
        }
        by_gateway.into_iter().map(|(gateway, list)| (gateway.to_owned(), list.into())).collect()
    }
}

/// The VirtualService in the mesh for each host that one names: the oldest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ByHost(ScopeKey);

impl Relation for ByHost {
    type Entry = String;
    type Value = Arc<ResolvedVirtualService>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Self::Value> {
        let mut by_host = BTreeMap::new();
        let mesh = read.entry(&ByGateway(self.0.clone()), &MESH_GATEWAY.to_owned());
        for vs in mesh.iter().flat_map(|all| all.iter()) {
            for host in &vs.spec.hosts {
                by_host.entry(host.clone()).or_insert_with(|| vs.clone());
            }
        }
        by_host
    }
}

/// The hosts with a wildcard among them, most specific first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct WildcardVirtualServices(ScopeKey);

impl Derived for WildcardVirtualServices {
    type Value = Arc<[String]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        wildcards(read.whole(&ByHost(self.0.clone())).keys())
    }
}

fn wildcards<'a>(hosts: impl Iterator<Item = &'a String>) -> Arc<[String]> {
    let mut hosts: Vec<String> = hosts.filter(|host| is_wildcard(host)).cloned().collect();
    hosts.sort_by(|a, b| host_specificity(a, b));
    hosts.into()
}

/// The VirtualService that holds for a host in the mesh: the most specific one, then the oldest.
pub(crate) fn virtual_service_for(
    read: &Reader<'_>,
    scope: &ScopeKey,
    host: &str,
) -> Option<Arc<ResolvedVirtualService>> {
    let by_host = ByHost(scope.clone());
    read.entry(&by_host, &host.to_owned()).or_else(|| {
        let wildcards = read.get(&WildcardVirtualServices(scope.clone()));
        let covering = wildcards.iter().find(|pattern| host_matches(pattern, host))?;
        read.entry(&by_host, covering)
    })
}

/// The hosts to which visible VirtualServices lead: they bring their destinations along, as in Istio.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Destinations(ScopeKey);

impl Derived for Destinations {
    type Value = Arc<BTreeSet<String>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        if read.get(&EgressOf(self.0.clone())).is_none() {
            return Arc::default();
        }
        let all = read.get(&VisibleVirtualServices(self.0.clone()));
        Arc::new(all.iter().flat_map(|vs| destinations(vs)).map(str::to_owned).collect())
    }
}

/// Visible services, by host, where a Sidecar object says which hosts are seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct LetThrough(ScopeKey);

impl Relation for LetThrough {
    type Entry = String;
    type Value = Arc<Service>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Arc<Service>> {
        let egress = read.get(&EgressOf(self.0.clone()));
        let destinations = read.get(&Destinations(self.0.clone()));
        let all = read.whole(&Services);
        let visible = |(host, service): (&String, &Arc<Service>)| {
            if !service.visibility.includes(&self.0.namespace) {
                return None;
            }
            if destinations.contains(host) {
                return Some((host.clone(), service.clone()));
            }
            lets_through(egress.as_deref(), &service.namespace, host)
                .then(|| (host.clone(), restricted(service, egress.as_deref())))
        };
        all.iter().filter_map(visible).collect()
    }
}

fn is_restricted(read: &Reader<'_>, scope: &ScopeKey) -> bool {
    scope.sidecar.is_some() && read.get(&EgressOf(scope.clone())).is_some()
}

/// The visible service with exactly this host. What everybody sees is looked for where everybody looks.
pub(crate) fn exact(read: &Reader<'_>, scope: &ScopeKey, host: &str) -> Option<Arc<Service>> {
    let host = host.to_owned();
    if is_restricted(read, scope) {
        return read.entry(&LetThrough(scope.clone()), &host);
    }
    let confined = || read.entry(&ConfinedTo(scope.namespace.clone()), &host);
    read.entry(&PublicServices, &host).or_else(confined)
}

/// Visible services, by host.
pub(crate) fn all(read: &Reader<'_>, scope: &ScopeKey) -> Arc<BTreeMap<String, Arc<Service>>> {
    if is_restricted(read, scope) {
        return read.whole(&LetThrough(scope.clone()));
    }
    let mut all = read.whole(&PublicServices);
    let confined = read.whole(&ConfinedTo(scope.namespace.clone()));
    if !confined.is_empty() {
        let more = confined.iter().map(|(host, service)| (host.clone(), service.clone()));
        Arc::make_mut(&mut all).extend(more);
    }
    all
}

/// A service with the ports that a Sidecar object lets through.
fn restricted(service: &Arc<Service>, egress: Option<&[EgressHost]>) -> Arc<Service> {
    let Some(egress) = egress else { return service.clone() };
    let through = |port: u16| sidecar::lets_through(egress, &service.namespace, &service.host, Some(port));
    if service.ports.iter().all(|port| through(port.number)) {
        return service.clone();
    }
    let ports = service.ports.iter().filter(|port| through(port.number)).cloned().collect();
    Arc::new(Service { ports, ..(**service).clone() })
}

/// The hosts of visible services.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VisibleHosts(pub(crate) ScopeKey);

impl Derived for VisibleHosts {
    type Value = Arc<[String]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        all(read, &self.0).keys().cloned().collect()
    }
}

/// The hosts of visible services, oldest service first, equally old ones sorted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct HostsByAge(pub(crate) ScopeKey);

impl Derived for HostsByAge {
    type Value = Arc<[String]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let services = all(read, &self.0);
        let mut by_age: Vec<&Arc<Service>> = services.values().collect();
        by_age.sort_by(|a, b| (a.age, &a.host).cmp(&(b.age, &b.host)));
        by_age.into_iter().map(|s| s.host.clone()).collect()
    }
}

/// Those with a wildcard, most specific first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct WildcardHosts(ScopeKey);

impl Derived for WildcardHosts {
    type Value = Arc<[String]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let of_nobody = ScopeKey::of_nobody();
        if self.0 == of_nobody {
            return wildcards(read.whole(&PublicServices).keys());
        }
        if is_restricted(read, &self.0) {
            return wildcards(read.whole(&LetThrough(self.0.clone())).keys());
        }
        let public = read.get(&Self(of_nobody));
        let confined = read.whole(&ConfinedTo(self.0.namespace.clone()));
        wildcards(public.iter().chain(confined.keys()))
    }
}

/// The visible service of a host: its own, else the most specific wildcard of a ServiceEntry that covers it.
pub(crate) fn service(read: &Reader<'_>, scope: &ScopeKey, host: &str) -> Option<Arc<Service>> {
    exact(read, scope, host).or_else(|| {
        let wildcards = read.get(&WildcardHosts(scope.clone()));
        let covering = wildcards.iter().find(|pattern| host_matches(pattern, host))?;
        exact(read, scope, covering)
    })
}

/// The DestinationRule that the proxies of a namespace use for a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RuleFor {
    pub(crate) client: String,
    pub(crate) host: String,
}

impl Derived for RuleFor {
    type Value = Option<Arc<ResolvedDestinationRule>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let service = read.get(&ServiceAt(self.host.clone()))?;
        destination_rule::for_service(read, &self.client, &service)
    }
}
