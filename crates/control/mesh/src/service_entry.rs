//! ServiceEntries and WorkloadEntries as services and endpoints (Istio 1.9 reference, Service Entry and Workload Entry).

use std::{collections::BTreeMap, sync::Arc};

use portolan_names::labels;
use portolan_resources::{
    ServiceEntry, WorkloadEntry,
    networking::{Location, Port, Resolution as EntryResolution, WorkloadEntrySpec},
};

use crate::{
    export_to::Visibility,
    object::{Age, ConfigMeta},
    protocol::Protocol,
    service::{
        Endpoint, EndpointAddress, Locality, Registry, Resolution, Service, ServiceEndpoints, ServicePort,
    },
    workload::{Workload, identity},
};

/// The services of an entry, one per host; they share the endpoints.
pub(crate) fn services(object: &ServiceEntry, default_export: &[String]) -> Vec<Service> {
    let meta = ConfigMeta::of(&object.metadata);
    let spec = &object.spec;
    let external = spec.location.unwrap_or_default() == Location::MeshExternal;
    let resolution = match spec.resolution.unwrap_or_default() {
        EntryResolution::None => Resolution::Passthrough,
        EntryResolution::Static => Resolution::ClientSide,
        EntryResolution::Dns => Resolution::Dns,
    };
    let ports: Vec<ServicePort> = spec.ports.iter().filter_map(port).collect();
    spec.hosts
        .iter()
        .map(|host| Service {
            host: host.to_ascii_lowercase(),
            name: host.to_ascii_lowercase(),
            namespace: meta.key.namespace.clone(),
            registry: Registry::ServiceEntry,
            addresses: spec.addresses.clone(),
            // Nobody else can answer for such a host; a host of outside resolves by itself.
            wants_auto_address: spec.addresses.is_empty()
                && resolution == Resolution::ClientSide
                && !host.contains('*'),
            ports: ports.clone(),
            resolution,
            mesh_external: external,
            visibility: Visibility::parse(&spec.export_to, &meta.key.namespace, default_export),
            labels: object.metadata.labels.clone().unwrap_or_default(),
            selector: spec.workload_selector.as_ref().map(|s| s.labels.clone()).unwrap_or_default(),
            subject_alt_names: spec.subject_alt_names.iter().cloned().collect(),
            age: Age::of(&object.metadata),
            ..Service::default()
        })
        .collect()
}

fn port(port: &Port) -> Option<ServicePort> {
    let number = u16::try_from(port.number).ok().filter(|n| *n != 0)?;
    let protocol =
        Protocol::parse(&port.protocol).unwrap_or_else(|| Protocol::of_port(number, &port.name, None, "TCP"));
    (protocol != Protocol::Udp).then(|| ServicePort { name: port.name.clone(), number, protocol })
}

/// The endpoints of an entry: listed ones, or those of the WorkloadEntries and Pods given that its selector takes.
pub(crate) fn endpoints(
    object: &ServiceEntry,
    workload_entries: &[Arc<WorkloadEntry>],
    workloads: &[Arc<Workload>],
    trust_domain: &str,
    network: &str,
) -> ServiceEndpoints {
    let spec = &object.spec;
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let external = spec.location.unwrap_or_default() == Location::MeshExternal;
    let mut by_port: BTreeMap<u16, Vec<Endpoint>> = BTreeMap::new();
    for port in &spec.ports {
        let Some(number) = u16::try_from(port.number).ok() else { continue };
        let default_target = port.target_port.unwrap_or(port.number);
        let mut list: Vec<Endpoint> = spec
            .endpoints
            .iter()
            .filter_map(|e| from_entry(e, port, default_target, &namespace, "", trust_domain, external))
            .collect();
        if let Some(selector) = spec.workload_selector.as_ref().filter(|s| !s.labels.is_empty()) {
            let selected = |labels: &BTreeMap<String, String>| {
                selector.labels.iter().all(|(k, v)| labels.get(k) == Some(v))
            };
            for entry in workload_entries {
                let same = entry.metadata.namespace.as_deref().unwrap_or_default() == namespace;
                if same && selected(&entry.spec.labels) {
                    let name = entry.metadata.name.as_deref().unwrap_or_default();
                    list.extend(from_entry(
                        &entry.spec,
                        port,
                        default_target,
                        &namespace,
                        name,
                        trust_domain,
                        external,
                    ));
                }
            }
            for w in workloads.iter().filter(|w| w.namespace == namespace && selected(&w.labels)) {
                let Some(ip) = w.addresses.first() else { continue };
                let Ok(target) = u16::try_from(default_target) else { continue };
                list.push(Endpoint {
                    address: EndpointAddress::Ip(*ip),
                    port: target,
                    labels: w.labels.clone(),
                    identity: Some(w.identity.clone()),
                    mesh_tls: w.mesh_tls && !external,
                    locality: w.locality.clone(),
                    weight: 0,
                    network: network.to_owned(),
                    namespace: w.namespace.clone(),
                    workload: w.name.clone(),
                });
            }
        }
        // A DNS entry without endpoints means the hosts themselves; `translate` puts them in.
        list.sort_by(|a, b| (&a.address, a.port).cmp(&(&b.address, b.port)));
        by_port.insert(number, list);
    }
    ServiceEndpoints { by_port }
}

fn from_entry(
    entry: &WorkloadEntrySpec,
    port: &Port,
    default_target: u32,
    namespace: &str,
    name: &str,
    trust_domain: &str,
    external: bool,
) -> Option<Endpoint> {
    let target = entry.ports.get(&port.name).copied().unwrap_or(default_target);
    let address = match entry.address.strip_prefix("unix://") {
        Some(path) => EndpointAddress::Unix(path.to_owned()),
        None => match entry.address.parse() {
            Ok(ip) => EndpointAddress::Ip(ip),
            Err(_) => EndpointAddress::Dns(entry.address.to_ascii_lowercase()),
        },
    };
    let account = entry.service_account.as_deref().filter(|a| !a.is_empty());
    let tls_label = entry.labels.get(labels::TLS_MODE).map(String::as_str);
    Some(Endpoint {
        address,
        port: u16::try_from(target).ok()?,
        identity: account.map(|a| identity(trust_domain, namespace, a)),
        mesh_tls: !external && (tls_label == Some(labels::TLS_MODE_ISTIO)),
        locality: entry.locality.as_deref().map(Locality::parse).unwrap_or_default(),
        weight: entry.weight.unwrap_or_default(),
        network: entry
            .network
            .clone()
            .unwrap_or_else(|| entry.labels.get(labels::NETWORK).cloned().unwrap_or_default()),
        namespace: namespace.to_owned(),
        workload: name.to_owned(),
        labels: Arc::new(entry.labels.clone()),
    })
}
