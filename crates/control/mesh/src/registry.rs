//! Services and endpoints of all registries as one table, by host: Kubernetes first, then ServiceEntries by age, then
//! federation. The first gives name, ports and addresses; endpoints and accepted identities are united, so that
//! `importAsLocal` works (docs/reference/federation.md).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_derive::{Derived, Reader};

use crate::{
    dns::AutoAddresses,
    facts::{
        Fact, ImportEndpointsFact, ImportFact, Origin, ServiceEntryFact, ServiceFact, SliceFact, Tag,
        WorkloadEntryFact,
    },
    kubernetes,
    object::{Age, ObjectKey},
    service::{Registry, Service, ServiceEndpoints},
    service_entry, settings,
    workload::{WorkloadAt, WorkloadOf, WorkloadsIn},
};

/// The mesh's view of a Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct KubeServiceOf(ObjectKey);

impl Derived for KubeServiceOf {
    type Value = Option<Arc<Service>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let object = read.fact(&ServiceFact::of(Origin::Cluster, self.0.clone()))?;
        let domain = &settings::cluster(read).domain;
        let (export, trust) = (settings::service_export(read), settings::trust_domain(read));
        kubernetes::service(&object, domain, &export, &trust).map(Arc::new)
    }
}

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

/// The services of a ServiceEntry, one per host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct EntryServices(ServiceEntryFact);

impl Derived for EntryServices {
    type Value = Arc<[Arc<Service>]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let Some(object) = read.fact(&self.0) else { return Arc::default() };
        let services = service_entry::services(&object, &settings::service_export(read));
        services.into_iter().map(Arc::new).collect()
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

/// The key of the Kubernetes Service that a host is the name of.
fn kube_key(read: &Reader<'_>, host: &str) -> Option<ObjectKey> {
    let cluster = settings::cluster(read);
    let rest = host.strip_suffix(cluster.domain.as_str())?.strip_suffix(".svc.")?;
    let (name, namespace) = rest.split_once('.')?;
    (!namespace.contains('.')).then(|| ObjectKey::new(namespace, name))
}

/// The ServiceEntries that name a host, in their order of precedence.
fn entries_of(read: &Reader<'_>, host: &str) -> Vec<ServiceEntryFact> {
    let keys = read.tagged::<ServiceEntryFact>(&Tag::Host(host.to_owned()));
    let mut aged: Vec<_> =
        keys.iter().filter_map(|key| Some((Age::of(&read.fact(key)?.metadata), key.clone()))).collect();
    aged.sort_by(|a, b| (a.0, a.1.origin, &a.1.key).cmp(&(b.0, b.1.origin, &b.1.key)));
    aged.into_iter().map(|(_, key)| key).collect()
}

/// What all registries say of a host, before addresses are chosen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Registered(pub(crate) String);

impl Derived for Registered {
    type Value = Option<Arc<Service>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let host = &self.0;
        let mut all: Vec<Arc<Service>> = Vec::new();
        all.extend(kube_key(read, host).and_then(|key| read.get(&KubeServiceOf(key))));
        for entry in entries_of(read, host) {
            let services = read.get(&EntryServices(entry));
            all.extend(services.iter().filter(|s| s.host == *host).cloned());
        }
        all.extend(read.fact(&ImportFact(host.clone())).map(|import| {
            let wants_auto_address = import.addresses.is_empty();
            Arc::new(Service { wants_auto_address, ..(*import).clone() })
        }));
        let mut all = all.into_iter();
        let mut first = all.next()?;
        for service in all {
            let united = Arc::make_mut(&mut first);
            // A ServiceEntry or import that another namespace may not see must not widen the first.
            united.subject_alt_names.extend(service.subject_alt_names.iter().cloned());
            for port in &service.ports {
                if united.port(port.number).is_none() && united.registry != Registry::Kubernetes {
                    united.ports.push(port.clone());
                }
            }
        }
        Some(first)
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

/// Whether an address is chosen for a service.
pub(crate) fn wants_address(service: &Service) -> bool {
    service.wants_auto_address && service.addresses.is_empty()
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

/// The hosts of ServiceEntries and of federation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AddedHosts;

impl Derived for AddedHosts {
    type Value = Arc<BTreeSet<String>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let mut hosts: BTreeSet<String> = read.keys::<ImportFact>().iter().map(|key| key.0.clone()).collect();
        for entry in read.keys::<ServiceEntryFact>().iter() {
            hosts.extend(read.get(&EntryServices(entry.clone())).iter().map(|s| s.host.clone()));
        }
        Arc::new(hosts)
    }
}

/// All services, by host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Services;

impl portolan_derive::Relation for Services {
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
