//! What a proxy's own workload serves: the services that select it, or its Sidecar object's listeners.

use portolan_resources::networking::SidecarSpec;

use crate::{
    facts::{Fact, Origin, ServiceFact},
    kubernetes,
    model::Model,
    node::ProxyNode,
    object::{ObjectKey, Resolved},
    protocol::Protocol,
    registry::ServicesIn,
    scope::{ServiceInstance, SidecarIngress},
    service::{EndpointAddress, Registry, Service, ServicePort},
    sidecar,
};

impl Model<'_> {
    /// Services that a proxy's workload serves, with the workload's ports.
    pub fn instances_of(self, node: &ProxyNode) -> Vec<ServiceInstance> {
        instances(self, node)
    }

    /// Inbound listeners of the Sidecar object that holds for a proxy; empty means the default ones.
    pub fn sidecar_ingress(self, node: &ProxyNode) -> Vec<SidecarIngress> {
        let sidecar = sidecar::find(&self.reader(), &node.namespace, &self.labels_of(node));
        sidecar.map(|sidecar| ingress(&sidecar)).unwrap_or_default()
    }
}

fn instances(model: Model<'_>, node: &ProxyNode) -> Vec<ServiceInstance> {
    let read = model.reader();
    let labels = model.labels_of(node);
    let named = model.workload_of(node).map(|w| w.named_ports.clone()).unwrap_or_default();
    let selects =
        |s: &Service| !s.selector.is_empty() && s.selector.iter().all(|(k, v)| labels.get(k) == Some(v));
    let mut out = Vec::new();
    for service in read.get(&ServicesIn(node.namespace.clone())).iter().filter(|s| selects(s)) {
        let mut serves = |port: &ServicePort, target: u16| {
            out.push(ServiceInstance { service: service.clone(), port: port.clone(), target });
        };
        match service.registry {
            Registry::Kubernetes => {
                let key = ObjectKey::new(&service.namespace, &service.name);
                let object = read.fact(&ServiceFact::of(Origin::Cluster, key));
                let spec = object.as_ref().and_then(|s| s.spec.as_ref());
                for kube in spec.iter().flat_map(|s| s.ports.iter().flatten()) {
                    let port = u16::try_from(kube.port).ok().and_then(|n| service.port(n));
                    if let (Some(port), Some(target)) = (port, kubernetes::target_port(kube, &named)) {
                        serves(port, target);
                    }
                }
            }
            Registry::ServiceEntry => {
                let endpoints = model.endpoints_of(&service.host).unwrap_or_default();
                for port in &service.ports {
                    let mine = endpoints.port(port.number).iter().find(
                        |e| matches!(&e.address, EndpointAddress::Ip(ip) if node.addresses.contains(ip)),
                    );
                    if let Some(endpoint) = mine {
                        serves(port, endpoint.port);
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

/// Inbound listeners of a Sidecar object; empty means the default ones.
fn ingress(sidecar: &Resolved<SidecarSpec>) -> Vec<SidecarIngress> {
    sidecar
        .spec
        .ingress
        .iter()
        .filter_map(|ingress| {
            let port = ingress.port.as_ref()?;
            let number = u16::try_from(port.number).ok().filter(|n| *n != 0)?;
            let protocol = Protocol::parse(&port.protocol)
                .unwrap_or_else(|| Protocol::of_port(number, &port.name, None, "TCP"));
            Some(SidecarIngress {
                sidecar: sidecar.meta.key.clone(),
                port: ServicePort { name: port.name.clone(), number, protocol },
                default_endpoint: ingress.default_endpoint.clone().unwrap_or_default(),
            })
        })
        .collect()
}
