//! Kubernetes Services and EndpointSlices as services and endpoints of the mesh.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{Service as KubeService, ServicePort as KubeServicePort},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use portolan_names::{annotations, names};

use crate::{
    export_to::Visibility,
    object::{Age, ObjectKey},
    protocol::Protocol,
    service::{Endpoint, EndpointAddress, Registry, Resolution, Service, ServiceEndpoints, ServicePort},
    workload::{Workload, identity},
};

/// The mesh's view of a Kubernetes Service; `None` when it has no port that the mesh handles.
pub(crate) fn service(
    object: &KubeService,
    domain: &str,
    default_export: &[String],
    trust_domain: &str,
) -> Option<Service> {
    let meta = &object.metadata;
    let spec = object.spec.as_ref()?;
    let name = meta.name.clone()?;
    let namespace = meta.namespace.clone().unwrap_or_default();
    let annotation = |key: &str| meta.annotations.as_ref().and_then(|a| a.get(key));
    let export_to: Vec<&str> =
        annotation(annotations::EXPORT_TO).map(|v| v.split(',').collect()).unwrap_or_default();
    let external_name =
        (spec.type_.as_deref() == Some("ExternalName")).then(|| spec.external_name.clone()).flatten();
    let cluster_ips = spec.cluster_ips.clone().filter(|ips| !ips.is_empty());
    let addresses: Vec<String> = cluster_ips
        .unwrap_or_else(|| spec.cluster_ip.clone().into_iter().collect())
        .into_iter()
        .filter(|ip| ip.parse::<IpAddr>().is_ok())
        .collect();
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let ports: Vec<ServicePort> = spec
        .ports
        .iter()
        .flatten()
        .filter_map(|p| {
            let number = u16::try_from(p.port).ok()?;
            let name = p.name.clone().unwrap_or_default();
            let transport = p.protocol.as_deref().unwrap_or("TCP");
            let protocol = Protocol::of_port(number, &name, p.app_protocol.as_deref(), transport);
            Some(ServicePort { name, number, protocol })
        })
        .filter(|p| p.protocol != Protocol::Udp)
        .collect();
    let resolution = match (&external_name, headless) {
        (Some(_), _) => Resolution::Dns,
        (None, true) => Resolution::Passthrough,
        (None, false) => Resolution::ClientSide,
    };
    Some(Service {
        host: format!("{name}.{namespace}.svc.{domain}"),
        registry: Registry::Kubernetes,
        addresses,
        ports,
        resolution,
        mesh_external: external_name.is_some(),
        visibility: Visibility::parse(&export_to, &namespace, default_export),
        labels: meta.labels.clone().unwrap_or_default(),
        selector: spec.selector.clone().unwrap_or_default(),
        subject_alt_names: service_accounts(annotation, &namespace, trust_domain),
        headless,
        external_name,
        age: Age::of(meta),
        name,
        namespace,
        ..Service::default()
    })
}

/// Identities that annotations of a Service name (docs/reference/federation.md).
fn service_accounts<'a>(
    annotation: impl Fn(&str) -> Option<&'a String>,
    namespace: &str,
    trust_domain: &str,
) -> BTreeSet<String> {
    let list = |key: &str| -> Vec<String> {
        annotation(key)
            .map(|v| v.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect())
            .unwrap_or_default()
    };
    let canonical = list(annotations::CANONICAL_SERVICE_ACCOUNTS).into_iter().map(|id| {
        if id.starts_with(names::SPIFFE_PREFIX) { id } else { format!("{}{id}", names::SPIFFE_PREFIX) }
    });
    let kubernetes = list(annotations::KUBERNETES_SERVICE_ACCOUNTS);
    canonical.chain(kubernetes.iter().map(|sa| identity(trust_domain, namespace, sa))).collect()
}

/// Number of the workload's port that a Service port leads to.
pub(crate) fn target_port(port: &KubeServicePort, named: &BTreeMap<String, u16>) -> Option<u16> {
    match &port.target_port {
        None => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(0)) => u16::try_from(port.port).ok(),
        Some(IntOrString::Int(n)) => u16::try_from(*n).ok(),
        Some(IntOrString::String(name)) => named.get(name).copied().or_else(|| name.parse().ok()),
    }
}

/// Ready endpoints of a Service from its slices.
pub(crate) fn endpoints(
    service: &Service,
    slices: impl Iterator<Item = Arc<EndpointSlice>>,
    of_pod: impl Fn(ObjectKey) -> Option<Arc<Workload>>,
    at_address: impl Fn(IpAddr) -> Option<Arc<Workload>>,
    network: &str,
) -> ServiceEndpoints {
    let mut by_port: BTreeMap<u16, BTreeMap<(EndpointAddress, u16), Endpoint>> = BTreeMap::new();
    for slice in slices {
        for endpoint in slice.endpoints.iter().flatten() {
            // Absent means ready (Kubernetes API); what terminates is not ready.
            if endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(false) {
                continue;
            }
            let pod = endpoint.target_ref.as_ref().filter(|r| r.kind.as_deref() == Some("Pod"));
            let by_name = pod.and_then(|r| {
                let ns = r.namespace.clone().unwrap_or_else(|| service.namespace.clone());
                of_pod(ObjectKey::new(ns, r.name.clone()?))
            });
            for address in endpoint.addresses.iter().filter_map(|a| a.parse::<IpAddr>().ok()) {
                let workload = by_name.clone().or_else(|| at_address(address));
                for port in slice.ports.iter().flatten() {
                    let Some(target) = port.port.and_then(|p| u16::try_from(p).ok()) else { continue };
                    let name = port.name.as_deref().unwrap_or_default();
                    for service_port in service.ports.iter().filter(|p| p.name == name) {
                        let made = kube_endpoint(service, address, target, workload.as_deref(), network);
                        let key = (made.address.clone(), target);
                        by_port.entry(service_port.number).or_default().insert(key, made);
                    }
                }
            }
        }
    }
    ServiceEndpoints { by_port: by_port.into_iter().map(|(p, e)| (p, e.into_values().collect())).collect() }
}

fn kube_endpoint(
    service: &Service,
    address: IpAddr,
    port: u16,
    workload: Option<&Workload>,
    network: &str,
) -> Endpoint {
    let address = EndpointAddress::Ip(address);
    match workload {
        Some(w) => Endpoint {
            address,
            port,
            labels: w.labels.clone(),
            identity: Some(w.identity.clone()),
            mesh_tls: w.mesh_tls,
            locality: w.locality.clone(),
            weight: 0,
            network: if w.network.is_empty() { network.to_owned() } else { w.network.clone() },
            namespace: w.namespace.clone(),
            workload: w.name.clone(),
        },
        // Endpoints without a Pod (kubernetes.default, hand-written slices): plaintext, no identity.
        None => Endpoint {
            address,
            port,
            labels: Arc::default(),
            identity: None,
            mesh_tls: false,
            locality: Default::default(),
            weight: 0,
            network: network.to_owned(),
            namespace: service.namespace.clone(),
            workload: String::new(),
        },
    }
}
