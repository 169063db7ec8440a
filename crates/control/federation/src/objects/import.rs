//! How our workloads reach what we import: a service here whose endpoints are our egress gateway, and a service there
//! whose endpoints are the peer's ingress gateway (docs/reference/federation.md).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use portolan_mesh::{
    Endpoint, EndpointAddress, FederationInputs, Locality, Protocol, Registry, Service, ServiceEndpoints,
    ServicePort, Visibility,
};
use portolan_names::{labels, ports};

use super::PeerState;
use super::export::{Passage, add_passage};
use crate::message::ServiceMessage;
use crate::rules::ImportedAs;
use crate::{LocalMesh, object_name};

pub(super) fn add(
    inputs: &mut FederationInputs,
    mesh: &LocalMesh,
    state: &PeerState,
    hosts: &mut BTreeSet<String>,
) {
    let peer = &state.peer;
    let egress = &peer.spec.gateways.egress.name;
    for import in &state.imports {
        let (Some(local), message) = (&import.local, &import.message) else { continue };
        // Two rules may lead to one local host, and two peers may export one host: the first has it.
        if hosts.contains(&local.host) || hosts.contains(&message.hostname) {
            continue;
        }
        hosts.extend([local.host.clone(), message.hostname.clone()]);

        let (service, endpoints) = exported_service(state, message);
        inputs.endpoints.insert(service.host.clone(), Arc::new(endpoints));
        inputs.services.push(Arc::new(service));
        let (service, endpoints) = local_service(mesh, state, message, local);
        inputs.endpoints.insert(service.host.clone(), Arc::new(endpoints));
        inputs.services.push(Arc::new(service));

        let name = object_name(&["fed-imp", &message.name, &message.namespace, &peer.name]);
        let port = message.service_ports.first().map(|port| port.port);
        let passage =
            Passage { state, gateway: egress, name, host: &local.host, to: &message.hostname, port };
        add_passage(&mut inputs.configs, passage);
    }
}

fn service_ports(message: &ServiceMessage) -> Vec<ServicePort> {
    let port = |port: &crate::ServicePortMessage| {
        Some(ServicePort {
            name: port.name.clone(),
            number: u16::try_from(port.port).ok()?,
            protocol: Protocol::parse(&port.protocol).unwrap_or_default(),
        })
    };
    message.service_ports.iter().filter_map(port).collect()
}

fn service_labels(state: &PeerState, name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (labels::CANONICAL_NAME.to_owned(), name.to_owned()),
        (labels::CANONICAL_REVISION.to_owned(), state.peer.name.clone()),
    ])
}

/// What all endpoints of one imported service have in common.
struct Template<'a> {
    addresses: &'a BTreeSet<IpAddr>,
    port: u16,
    identity: Option<String>,
    labels: BTreeMap<String, String>,
    network: String,
    locality: Locality,
    namespace: String,
    workload: String,
}

impl Template<'_> {
    fn endpoints(self, ports: &[ServicePort]) -> ServiceEndpoints {
        let labels = Arc::new(self.labels);
        let one = |address: &IpAddr| Endpoint {
            address: EndpointAddress::Ip(*address),
            port: self.port,
            labels: labels.clone(),
            identity: self.identity.clone(),
            mesh_tls: true,
            locality: self.locality.clone(),
            weight: 0,
            network: self.network.clone(),
            namespace: self.namespace.clone(),
            workload: self.workload.clone(),
        };
        let endpoints: Vec<Endpoint> = self.addresses.iter().map(one).collect();
        ServiceEndpoints { by_port: ports.iter().map(|port| (port.number, endpoints.clone())).collect() }
    }
}

/// The service as the peer exports it. Only gateways see it.
fn exported_service(state: &PeerState, message: &ServiceMessage) -> (Service, ServiceEndpoints) {
    let peer = &state.peer;
    let name = format!("{}.{}.{}.remote", message.name, message.namespace, peer.name);
    let ports = service_ports(message);
    let template = Template {
        addresses: &state.remote_addresses,
        port: peer.spec.remote.service_port(),
        identity: None,
        labels: service_labels(state, &name),
        // The peer's gateway answers on an address that we reach directly: for us it is no gateway of a network.
        network: String::new(),
        locality: Locality::default(),
        namespace: peer.namespace.clone(),
        workload: String::new(),
    };
    let endpoints = template.endpoints(&ports);
    let service = Service {
        host: message.hostname.clone(),
        labels: service_labels(state, &name),
        name,
        namespace: peer.namespace.clone(),
        registry: Registry::Federation,
        ports,
        visibility: Visibility::only(&peer.namespace),
        subject_alt_names: message.service_accounts.iter().cloned().collect(),
        ..Service::default()
    };
    (service, endpoints)
}

/// The service as it is known here. Everybody sees it, as by default; its endpoints are our egress gateway.
fn local_service(
    mesh: &LocalMesh,
    state: &PeerState,
    message: &ServiceMessage,
    local: &ImportedAs,
) -> (Service, ServiceEndpoints) {
    let peer = &state.peer;
    let egress = &peer.spec.gateways.egress.name;
    let name = if local.as_local {
        local.name.clone()
    } else {
        format!("{}.{}.{}.local", message.name, message.namespace, peer.name)
    };
    let ports = service_ports(message);
    let locality = state.locality.as_ref().and_then(|locality| locality.valid());
    let template = Template {
        addresses: &state.egress_addresses,
        port: ports::FEDERATION_SERVICE,
        identity: Some(peer.gateway_identity(mesh, egress)),
        labels: service_labels(state, &name),
        network: mesh.network.clone(),
        locality: locality.map_or_else(Locality::default, |given| Locality {
            region: given.region.clone(),
            zone: given.zone.clone(),
            subzone: given.subzone.clone(),
        }),
        namespace: peer.namespace.clone(),
        workload: egress.clone(),
    };
    let endpoints = template.endpoints(&ports);
    let service = Service {
        host: local.host.clone(),
        labels: service_labels(state, &name),
        name,
        namespace: if local.as_local { local.namespace.clone() } else { peer.namespace.clone() },
        registry: Registry::Federation,
        ports,
        wants_auto_address: true,
        // Known even while the gateway has no ready Pod, so that nobody else is believed meanwhile.
        subject_alt_names: BTreeSet::from([peer.gateway_identity(mesh, egress)]),
        ..Service::default()
    };
    (service, endpoints)
}
