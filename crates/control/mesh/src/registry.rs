//! Services and endpoints of all registries as one table.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use portolan_names::labels;

use crate::{
    dns,
    inputs::Inputs,
    kubernetes,
    object::{Age, ObjectKey, share},
    service::{Registry, Service, ServiceEndpoints},
    service_entry,
    workload::Workloads,
};

/// Services, endpoints and chosen addresses, by host.
pub(crate) struct Registered {
    pub(crate) services: BTreeMap<String, Arc<Service>>,
    pub(crate) endpoints: BTreeMap<String, Arc<ServiceEndpoints>>,
    pub(crate) auto_addresses: BTreeMap<String, Ipv4Addr>,
}

/// The table of the snapshot before: what is equal is shared with it, and chosen addresses stay.
#[derive(Clone, Copy)]
pub(crate) struct Before<'a> {
    pub(crate) services: &'a BTreeMap<String, Arc<Service>>,
    pub(crate) endpoints: &'a BTreeMap<String, Arc<ServiceEndpoints>>,
    pub(crate) auto_addresses: &'a BTreeMap<String, Ipv4Addr>,
}

/// Services and endpoints of all registries, merged by host: Kubernetes first, then ServiceEntries by age, then
/// federation. The first gives name, ports and addresses; endpoints and accepted identities are united, so that
/// `importAsLocal` works (docs/reference/federation.md).
pub(crate) fn merge(inputs: &Inputs, workloads: &Workloads, before: Option<Before<'_>>) -> Registered {
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
    service_entries.sort_by_key(|s| Age::of(&s.metadata));
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
    let addresses = dns::allocate(&mut services, before.map_or(&no_addresses, |b| b.auto_addresses));
    let mut service_map = BTreeMap::new();
    let mut endpoint_map = BTreeMap::new();
    for (service, endpoints) in services.into_iter().zip(endpoints) {
        let host = service.host.clone();
        endpoint_map.insert(host.clone(), share(endpoints, before.and_then(|b| b.endpoints.get(&host))));
        service_map.insert(host.clone(), share(service, before.and_then(|b| b.services.get(&host))));
    }
    Registered { services: service_map, endpoints: endpoint_map, auto_addresses: addresses }
}
