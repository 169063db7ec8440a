//! Services, endpoints and names of the mesh, in the shapes that Kiali and istioctl read (docs/reference/istiod.md).

use std::fmt::Write as _;

use portolan_mesh::{Endpoint, Model, Registry, Resolution, Service, ServicePort};
use serde_json::{Value, json};

/// `/debug/registryz`: services, closed by an empty object, as tools expect it.
pub(super) fn registryz(model: Model<'_>) -> Value {
    let mut services: Vec<Value> = model.services().values().map(|service| describe(service)).collect();
    services.push(json!({}));
    Value::Array(services)
}

fn describe(service: &Service) -> Value {
    let ports: Vec<Value> = service
        .ports
        .iter()
        .map(|port| json!({"name": port.name, "port": port.number, "protocol": format!("{:?}", port.protocol)}))
        .collect();
    let addresses = service.virtual_addresses();
    json!({
        "Attributes": {
            "ServiceRegistry": registry(service.registry),
            "Name": service.name,
            "Namespace": service.namespace,
            "Labels": service.labels,
            "LabelSelectors": service.selector,
        },
        "ports": ports,
        "hostname": service.host,
        "address": addresses.first().map_or("0.0.0.0", String::as_str),
        "addresses": addresses,
        "autoAllocatedAddress": service.auto_address.map(|address| address.to_string()),
        "Resolution": match service.resolution {
            Resolution::ClientSide => 0,
            Resolution::Dns => 1,
            Resolution::Passthrough => 2,
        },
        "MeshExternal": service.mesh_external,
    })
}

fn registry(registry: Registry) -> &'static str {
    match registry {
        Registry::Kubernetes => "Kubernetes",
        Registry::ServiceEntry => "External",
        Registry::Federation => "Federation",
    }
}

/// `/debug/endpointz`: endpoints by service port; every list closed by an empty object.
pub(super) fn endpointz(model: Model<'_>) -> Value {
    let mut all = Vec::new();
    for_each_port(model, |service, port, endpoints| {
        let mut list: Vec<Value> = endpoints
            .iter()
            .map(|endpoint| {
                json!({
                    "service": {"hostname": service.host, "Attributes": {"Namespace": service.namespace}},
                    "servicePort": {"name": port.name, "port": port.number},
                    "endpoint": {
                        "Address": endpoint.address.to_string(),
                        "EndpointPort": endpoint.port,
                        "Labels": *endpoint.labels,
                        "ServiceAccount": endpoint.identity,
                        "Network": endpoint.network,
                        "Locality": {"Label": endpoint.locality.to_string()},
                        "TLSMode": if endpoint.mesh_tls { "istio" } else { "disabled" },
                        "WorkloadName": endpoint.workload,
                        "Namespace": endpoint.namespace,
                    },
                })
            })
            .collect();
        list.push(json!({}));
        all.push(json!({"svc": format!("{}:{}", service.host, port.name), "ep": list}));
    });
    all.push(json!({}));
    Value::Array(all)
}

/// `/debug/endpointz?brief=1`.
pub(super) fn endpointz_brief(model: Model<'_>) -> String {
    let mut text = String::new();
    for_each_port(model, |service, port, endpoints| {
        for endpoint in endpoints {
            let labels: Vec<String> =
                endpoint.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let _ = writeln!(
                text,
                "{}:{} {}:{} {} {}",
                service.host,
                port.name,
                endpoint.address,
                endpoint.port,
                labels.join(","),
                endpoint.identity.as_deref().unwrap_or_default(),
            );
        }
    });
    text
}

/// `/debug/ndsz`.
pub(super) fn ndsz(model: Model<'_>) -> Value {
    let table: serde_json::Map<String, Value> = model
        .dns_table()
        .iter()
        .map(|(host, entry)| {
            (host.clone(), json!({"ips": entry.addresses, "registry": registry(entry.registry)}))
        })
        .collect();
    json!({"table": table})
}

/// Calls `each` for every port of every service with its endpoints.
fn for_each_port(model: Model<'_>, mut each: impl FnMut(&Service, &ServicePort, &[Endpoint])) {
    for service in model.services().values() {
        let endpoints = model.endpoints_of(&service.host);
        for port in &service.ports {
            each(service, port, endpoints.as_ref().map_or(&[][..], |endpoints| endpoints.port(port.number)));
        }
    }
}
