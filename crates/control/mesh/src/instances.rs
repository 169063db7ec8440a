//! What a proxy's own workload serves: the services that select it, or its Sidecar object's listeners.

use crate::{
    kubernetes,
    node::ProxyNode,
    object::ObjectKey,
    protocol::Protocol,
    scope::{ServiceInstance, SidecarIngress},
    service::{EndpointAddress, Registry, Service, ServicePort},
    snapshot::Snapshot,
};

impl Snapshot {
    /// Services that a proxy's workload serves, with the workload's ports.
    pub(crate) fn instances_of(&self, node: &ProxyNode) -> Vec<ServiceInstance> {
        let labels = self.labels_of(node);
        let named = self.workload_of(node).map(|w| w.named_ports.clone()).unwrap_or_default();
        let selects =
            |s: &Service| !s.selector.is_empty() && s.selector.iter().all(|(k, v)| labels.get(k) == Some(v));
        let own = self.services.values().filter(|s| s.namespace == node.namespace && selects(s));
        let mut out = Vec::new();
        for service in own {
            match service.registry {
                Registry::Kubernetes => {
                    let key = ObjectKey::new(&service.namespace, &service.name);
                    let spec = self.kube_services.get(&key).and_then(|s| s.spec.as_ref());
                    for kube in spec.iter().flat_map(|s| s.ports.iter().flatten()) {
                        let port = u16::try_from(kube.port).ok().and_then(|n| service.port(n));
                        let (Some(port), Some(target)) = (port, kubernetes::target_port(kube, &named)) else {
                            continue;
                        };
                        out.push(ServiceInstance { service: service.clone(), port: port.clone(), target });
                    }
                }
                Registry::ServiceEntry => {
                    let Some(endpoints) = self.endpoints.get(&service.host) else { continue };
                    for port in &service.ports {
                        let mine = endpoints.port(port.number).iter().find(
                            |e| matches!(&e.address, EndpointAddress::Ip(ip) if node.addresses.contains(ip)),
                        );
                        if let Some(endpoint) = mine {
                            let target = endpoint.port;
                            out.push(ServiceInstance {
                                service: service.clone(),
                                port: port.clone(),
                                target,
                            });
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

    /// Inbound listeners of the Sidecar object that holds for a proxy; empty means the default ones.
    pub(crate) fn sidecar_ingress(&self, node: &ProxyNode) -> Vec<SidecarIngress> {
        let Some(sidecar) = self.sidecar_of(node) else { return Vec::new() };
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
}
