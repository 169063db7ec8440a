//! Services and endpoints of all registries as one table, by host. Endpoints of all registries are united.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_derive::{Derived, Reader, Relation};

use crate::{
    addresses::AutoAddresses,
    export_to::Visibility,
    facts::{ImportEndpointsFact, ServiceEntryFact, ServiceFact, SliceFact, Tag, WorkloadEntryFact},
    kubernetes,
    object::ObjectKey,
    registered::{AddedHosts, EntryServices, KubeServiceOf, Registered, entries_of, kube_key, wants_address},
    service::{Service, ServiceEndpoints},
    service_entry, settings,
    workload::{WorkloadAt, WorkloadOf, WorkloadsIn},
};

/// The endpoints of a Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct KubeEndpointsOf(ObjectKey);

impl Derived for KubeEndpointsOf {
    type Value = Arc<ServiceEndpoints>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let Some(service) = read.get(&KubeServiceOf(self.0.clone())) else { return Arc::default() };
        let slices = read.tagged::<SliceFact>(&Tag::Service(self.0.clone()));
        Arc::new(kubernetes::endpoints(
            &service,
            slices.iter().filter_map(|slice| read.fact(slice)),
            |pod| read.get(&WorkloadOf(pod)),
            |address| read.get(&WorkloadAt(address)),
            &settings::cluster(read).network,
        ))
    }
}

/// The endpoints that all services of a ServiceEntry have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct EntryEndpoints(ServiceEntryFact);

impl Derived for EntryEndpoints {
    type Value = Arc<ServiceEndpoints>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let Some(object) = read.fact(&self.0) else { return Arc::default() };
        let namespace = &self.0.key.namespace;
        let selects = object.spec.workload_selector.as_ref().is_some_and(|s| !s.labels.is_empty());
        let (mut entries, mut workloads) = (Vec::new(), Arc::default());
        if selects {
            let keys = read.tagged::<WorkloadEntryFact>(&Tag::Namespace(namespace.clone()));
            entries = keys.iter().filter_map(|key| read.fact(key)).collect();
            workloads = read.get(&WorkloadsIn(namespace.clone()));
        }
        Arc::new(service_entry::endpoints(
            &object,
            &entries,
            &workloads,
            &settings::trust_domain(read),
            &settings::cluster(read).network,
        ))
    }
}

/// The service of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServiceAt(pub(crate) String);

impl Derived for ServiceAt {
    type Value = Option<Arc<Service>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let service = read.get(&Registered(self.0.clone()))?;
        if !wants_address(&service) {
            return Some(service);
        }
        let auto_address = read.entry(&AutoAddresses, &self.0);
        Some(Arc::new(Service { auto_address, ..(*service).clone() }))
    }
}

/// The endpoints of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EndpointsAt(pub(crate) String);

impl Derived for EndpointsAt {
    type Value = Arc<ServiceEndpoints>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let host = &self.0;
        let mut all: Vec<Arc<ServiceEndpoints>> = Vec::new();
        if let Some(key) = kube_key(read, host) {
            all.push(read.get(&KubeEndpointsOf(key)));
        }
        for entry in entries_of(read, host) {
            // An entry counts once for each time that it names the host.
            let services = read.get(&EntryServices(entry.clone()));
            let times = services.iter().filter(|s| s.host == *host).count();
            all.extend(std::iter::repeat_n(read.get(&EntryEndpoints(entry)), times));
        }
        all.extend(read.fact(&ImportEndpointsFact(host.clone())));
        let mut all = all.into_iter().filter(|e| !e.by_port.is_empty());
        let mut first = all.next().unwrap_or_default();
        for endpoints in all {
            Arc::make_mut(&mut first).merge(&endpoints);
        }
        first
    }
}

/// The identities of the endpoints of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct IdentitiesAt(pub(crate) String);

impl Derived for IdentitiesAt {
    type Value = Arc<BTreeSet<String>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        Arc::new(read.get(&EndpointsAt(self.0.clone())).identities())
    }
}

/// All services, by host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Services;

impl Relation for Services {
    type Entry = String;
    type Value = Arc<Service>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Arc<Service>> {
        let domain = &settings::cluster(read).domain;
        let kubernetes = read.keys::<ServiceFact>();
        let names = kubernetes.iter().map(|s| format!("{}.{}.svc.{domain}", s.key.name, s.key.namespace));
        let added = read.get(&AddedHosts);
        let hosts: BTreeSet<String> = names.chain(added.iter().cloned()).collect();
        hosts.into_iter().filter_map(|host| Some((host.clone(), read.get(&ServiceAt(host))?))).collect()
    }
}

/// The services that all namespaces see, by host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PublicServices;

impl Relation for PublicServices {
    type Entry = String;
    type Value = Arc<Service>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Arc<Service>> {
        let all = read.whole(&Services);
        let public = all.iter().filter(|(_, service)| service.visibility == Visibility::Public);
        public.map(|(host, service)| (host.clone(), service.clone())).collect()
    }
}

/// The services that some namespaces see and others do not, by those that do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Confined;

impl Relation for Confined {
    type Entry = String;
    type Value = Arc<BTreeMap<String, Arc<Service>>>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Self::Value> {
        let mut by_namespace: BTreeMap<String, BTreeMap<String, Arc<Service>>> = BTreeMap::new();
        for (host, service) in read.whole(&Services).iter() {
            let Visibility::Namespaces(namespaces) = &service.visibility else { continue };
            for namespace in namespaces {
                by_namespace.entry(namespace.clone()).or_default().insert(host.clone(), service.clone());
            }
        }
        by_namespace.into_iter().map(|(namespace, services)| (namespace, Arc::new(services))).collect()
    }
}

/// The services that a namespace sees and some others do not, by host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConfinedTo(pub(crate) String);

impl Relation for ConfinedTo {
    type Entry = String;
    type Value = Arc<Service>;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<String, Arc<Service>> {
        read.entry(&Confined, &self.0).map(|services| (*services).clone()).unwrap_or_default()
    }
}

/// The services of a namespace, by host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServicesIn(pub(crate) String);

impl Derived for ServicesIn {
    type Value = Arc<[Arc<Service>]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let domain = &settings::cluster(read).domain;
        let kubernetes = read.tagged::<ServiceFact>(&Tag::Namespace(self.0.clone()));
        let names = kubernetes.iter().map(|s| format!("{}.{}.svc.{domain}", s.key.name, s.key.namespace));
        let mut hosts: BTreeSet<String> = names.collect();
        for entry in read.tagged::<ServiceEntryFact>(&Tag::Namespace(self.0.clone())).iter() {
            hosts.extend(read.get(&EntryServices(entry.clone())).iter().map(|s| s.host.clone()));
        }
        // Services of federation select no workloads: whoever reads this has no use for them.
        let all = hosts.into_iter().filter_map(|host| read.get(&ServiceAt(host)));
        all.filter(|s| s.namespace == self.0).collect()
    }
}
