//! Services, endpoints and names of the mesh, in the shapes that Kiali and istioctl read (docs/reference/istiod.md).

use std::fmt::Write as _;

use portolan_mesh::{Endpoint, Registry, Resolution, Service, Snapshot};
use serde_json::{Value, json};

/// `/debug/registryz`: services, closed by an empty object, as tools expect it.
pub(super) fn registryz(snapshot: &Snapshot) -> Value {
    let mut services: Vec<Value> = snapshot.services.values().map(|service| describe(service)).collect();
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
pub(super) fn endpointz(snapshot: &Snapshot) -> Value {
    let mut all = Vec::new();
    for (service, port, endpoints) in ports(snapshot) {
        let mut list: Vec<Value> = endpoints
            .iter()
            .map(|endpoint| {
                json!({
                    "service": {"hostname": service.host, "Attributes": {"Namespace": service.namespace}},
                    "servicePort": {"name": port.1, "port": port.0},
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
        all.push(json!({"svc": format!("{}:{}", service.host, port.1), "ep": list}));
    }
    all.push(json!({}));
    Value::Array(all)
}

/// `/debug/endpointz?brief=1`.
pub(super) fn endpointz_brief(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for (service, port, endpoints) in ports(snapshot) {
        for endpoint in endpoints {
            let labels: Vec<String> =
                endpoint.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let _ = writeln!(
                text,
                "{}:{} {}:{} {} {}",
                service.host,
                port.1,
                endpoint.address,
                endpoint.port,
                labels.join(","),
                endpoint.identity.as_deref().unwrap_or_default(),
            );
        }
    }
    text
}

/// `/debug/ndsz`.
pub(super) fn ndsz(snapshot: &Snapshot) -> Value {
    let table: serde_json::Map<String, Value> = snapshot
        .dns_table()
        .into_iter()
        .map(|(host, entry)| (host, json!({"ips": entry.addresses, "registry": registry(entry.registry)})))
        .collect();
    json!({"table": table})
}

fn ports(snapshot: &Snapshot) -> impl Iterator<Item = (&Service, (u16, &str), &[Endpoint])> {
    snapshot.services.values().flat_map(|service| {
        let endpoints = snapshot.endpoints_of(&service.host);
        service.ports.iter().map(move |port| {
            let list = endpoints.map_or(&[][..], |endpoints| endpoints.port(port.number));
            (&**service, (port.number, port.name.as_str()), list)
        })
    })
}
