//! What all registries say of a host: Kubernetes first, then ServiceEntries by age, then federation. The first gives name, ports
//! and addresses; accepted identities are united, so that `importAsLocal` works (docs/reference/federation.md).

use std::{collections::BTreeSet, sync::Arc};

use portolan_derive::{Derived, Reader};

use crate::{
    facts::{Fact, ImportFact, Origin, ServiceEntryFact, ServiceFact, Tag},
    kubernetes,
    object::{Age, ObjectKey},
    service::{Registry, Service},
    service_entry, settings,
};

/// The mesh's view of a Kubernetes Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KubeServiceOf(pub(crate) ObjectKey);

impl Derived for KubeServiceOf {
    type Value = Option<Arc<Service>>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let object = read.fact(&ServiceFact::of(Origin::Cluster, self.0.clone()))?;
        let domain = &settings::cluster(read).domain;
        let (export, trust) = (settings::service_export(read), settings::trust_domain(read));
        kubernetes::service(&object, domain, &export, &trust).map(Arc::new)
    }
}

/// The services of a ServiceEntry, one per host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryServices(pub(crate) ServiceEntryFact);

impl Derived for EntryServices {
    type Value = Arc<[Arc<Service>]>;
    fn derive(&self, read: &Reader<'_>) -> Self::Value {
        let Some(object) = read.fact(&self.0) else { return Arc::default() };
        let services = service_entry::services(&object, &settings::service_export(read));
        services.into_iter().map(Arc::new).collect()
    }
}

/// The key of the Kubernetes Service that a host is the name of.
pub(crate) fn kube_key(read: &Reader<'_>, host: &str) -> Option<ObjectKey> {
    let cluster = settings::cluster(read);
    let rest = host.strip_suffix(cluster.domain.as_str())?.strip_suffix(".svc.")?;
    let (name, namespace) = rest.split_once('.')?;
    (!namespace.contains('.')).then(|| ObjectKey::new(namespace, name))
}

/// The ServiceEntries that name a host, in their order of precedence.
pub(crate) fn entries_of(read: &Reader<'_>, host: &str) -> Vec<ServiceEntryFact> {
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

/// Whether an address is chosen for a service.
pub(crate) fn wants_address(service: &Service) -> bool {
    service.wants_auto_address && service.addresses.is_empty()
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
