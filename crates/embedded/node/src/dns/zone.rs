//! What the cluster's DNS knows: pure data from Services, EndpointSlices and extra hosts.
//!
//! Follows the Kubernetes DNS specification 1.1.0 (A, SRV and PTR of Services, headless Services, Pod host names).

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use portolan_dns::{Data, Zone, ZoneBuilder};

use crate::plan::CLUSTER_DOMAIN;

/// Private address space whose names are nobody else's (RFC 6303).
const PRIVATE_POINTERS: &str = "10.in-addr.arpa";

/// Builds the zone. `hosts` is text in the form of /etc/hosts; names may begin with `*.`.
pub(super) fn build(services: &[Arc<Service>], slices: &[Arc<EndpointSlice>], hosts: &str) -> Zone {
    let mut zone = ZoneBuilder::default();
    zone.own(CLUSTER_DOMAIN);
    zone.own(PRIVATE_POINTERS);
    // A single label has been through the search list already.
    zone.own_single_labels();
    zone.exists(CLUSTER_DOMAIN);
    zone.exists(format!("svc.{CLUSTER_DOMAIN}"));
    zone.exists(format!("pod.{CLUSTER_DOMAIN}"));
    // Pods by their address, as the mode `insecure` of CoreDNS has them, which clusters use by default.
    zone.spelled_addresses(format!("pod.{CLUSTER_DOMAIN}"));
    let mut by_service: HashMap<(String, String), Vec<&EndpointSlice>> = HashMap::new();
    for slice in slices.iter().filter(|s| s.address_type == "IPv4") {
        if let Some(name) = slice.labels().get("kubernetes.io/service-name") {
            let key = (slice.namespace().unwrap_or_default(), name.clone());
            by_service.entry(key).or_default().push(slice);
        }
    }
    for service in services {
        let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
        let slices =
            by_service.get(&(namespace.clone(), name.clone())).map(Vec::as_slice).unwrap_or_default();
        add_service(&mut zone, service, &namespace, &name, slices);
    }
    zone.hosts(hosts);
    zone.build()
}

fn add_service(
    zone: &mut ZoneBuilder,
    service: &Service,
    namespace: &str,
    name: &str,
    slices: &[&EndpointSlice],
) {
    let Some(spec) = &service.spec else { return };
    let fqdn = format!("{name}.{namespace}.svc.{CLUSTER_DOMAIN}");
    zone.exists(format!("{namespace}.svc.{CLUSTER_DOMAIN}"));
    if spec.type_.as_deref() == Some("ExternalName") {
        if let Some(target) = spec.external_name.as_deref().filter(|t| !t.is_empty()) {
            zone.add(fqdn, Data::Alias(target.trim_end_matches('.').to_ascii_lowercase()));
        }
        return;
    }
    // The name exists as long as the Service does, with or without endpoints.
    zone.exists(fqdn.clone());
    if let Some(Ok(address)) = spec.cluster_ip.as_deref().map(str::parse::<Ipv4Addr>) {
        zone.add(fqdn.clone(), Data::Address(address.into()));
        zone.add(pointer_name(address), Data::Pointer(fqdn.clone()));
        for port in spec.ports.iter().flatten() {
            if let (Some(port_name), Ok(number)) = (&port.name, u16::try_from(port.port)) {
                let owner = srv_name(port_name, port.protocol.as_deref(), &fqdn);
                zone.add(owner, Data::Service { port: number, target: fqdn.clone() });
            }
        }
        return;
    }
    let all = spec.publish_not_ready_addresses == Some(true);
    for slice in slices {
        for endpoint in slice.endpoints.iter().flatten() {
            let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
            if !ready && !all {
                continue;
            }
            for address in endpoint.addresses.iter().filter_map(|a| a.parse::<Ipv4Addr>().ok()) {
                let host = match endpoint.hostname.as_deref().filter(|h| !h.is_empty()) {
                    Some(host) => host.to_owned(),
                    None => address.to_string().replace('.', "-"),
                };
                let target = format!("{host}.{fqdn}");
                zone.add(fqdn.clone(), Data::Address(address.into()));
                zone.add(target.clone(), Data::Address(address.into()));
                zone.add(pointer_name(address), Data::Pointer(target.clone()));
                for port in slice.ports.iter().flatten() {
                    let number = port.port.map(u16::try_from);
                    if let (Some(port_name), Some(Ok(number))) =
                        (port.name.as_deref().filter(|n| !n.is_empty()), number)
                    {
                        let owner = srv_name(port_name, port.protocol.as_deref(), &fqdn);
                        zone.add(owner, Data::Service { port: number, target: target.clone() });
                    }
                }
            }
        }
    }
}

fn srv_name(port: &str, protocol: Option<&str>, fqdn: &str) -> String {
    format!("_{port}._{}.{fqdn}", protocol.unwrap_or("TCP").to_ascii_lowercase())
}

fn pointer_name(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

#[cfg(test)]
mod tests {
    use portolan_dns::{Answer, Kind};
    use serde_json::json;

    use super::*;

    fn zone() -> Zone {
        let service = |v| Arc::new(serde_json::from_value::<Service>(v).unwrap());
        let services = [
            service(json!({ "metadata": { "namespace": "default", "name": "kubernetes" },
                "spec": { "clusterIP": "10.96.0.1", "ports": [{ "name": "https", "port": 443 }] } })),
            service(
                json!({ "metadata": { "namespace": "a", "name": "db" }, "spec": { "clusterIP": "None" } }),
            ),
            service(json!({ "metadata": { "namespace": "a", "name": "out" },
                "spec": { "type": "ExternalName", "externalName": "example.COM." } })),
        ];
        let slice = json!({ "metadata": { "namespace": "a", "name": "db-1", "labels": { "kubernetes.io/service-name": "db" } },
            "addressType": "IPv4", "ports": [{ "name": "sql", "port": 5432, "protocol": "TCP" }],
            "endpoints": [
                { "addresses": ["10.64.0.2"], "hostname": "db-0" },
                { "addresses": ["10.64.0.3"] },
                { "addresses": ["10.64.0.4"], "conditions": { "ready": false } } ] });
        let slices = [Arc::new(serde_json::from_value(slice).unwrap())];
        build(
            &services,
            &slices,
            "172.31.242.1 Front.example # comment\nfd00::1 six.test\n1.2.3.4 *.wild.test\nbad line\n",
        )
    }

    fn show(name: &str, kind: Kind) -> String {
        match zone().lookup(name, kind) {
            Answer::Records(records) => {
                records.iter().map(|(_, d)| format!("{d:?}")).collect::<Vec<_>>().join(" ")
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn answers() {
        for (name, kind, expected) in [
            ("kubernetes.default.svc.cluster.local", Kind::A, "Address(10.96.0.1)"),
            ("kubernetes.default.svc.cluster.local", Kind::Aaaa, "NoData"),
            ("db.a.svc.cluster.local", Kind::A, "Address(10.64.0.2) Address(10.64.0.3)"),
            ("db-0.db.a.svc.cluster.local", Kind::A, "Address(10.64.0.2)"),
            ("10-64-0-3.db.a.svc.cluster.local", Kind::A, "Address(10.64.0.3)"),
            ("out.a.svc.cluster.local", Kind::A, "Alias(\"example.com\")"),
            ("1.0.96.10.in-addr.arpa", Kind::Ptr, "Pointer(\"kubernetes.default.svc.cluster.local\")"),
            ("9.9.9.10.in-addr.arpa", Kind::Ptr, "NoName"),
            ("front.example", Kind::A, "Address(172.31.242.1)"),
            ("six.test", Kind::Aaaa, "Address(fd00::1)"),
            ("x.wild.test", Kind::A, "Address(1.2.3.4)"),
            ("nope.a.svc.cluster.local", Kind::A, "NoName"),
            ("example.com.a.svc.cluster.local", Kind::A, "NoName"),
            ("a.svc.cluster.local", Kind::A, "NoData"),
            ("cluster.local", Kind::A, "NoData"),
            ("example.com", Kind::A, "Forward"),
            ("notcluster.local", Kind::A, "Forward"),
            ("10-65-0-15.b.pod.cluster.local", Kind::A, "Address(10.65.0.15)"),
            ("10-65-0-15.b.pod.cluster.local", Kind::Aaaa, "NoData"),
            ("10-65-0.b.pod.cluster.local", Kind::A, "NoName"),
            ("10-65-0-15.pod.cluster.local", Kind::A, "NoName"),
            ("10.65.0.15.b.pod.cluster.local", Kind::A, "NoName"),
            ("10-65-0-256.b.pod.cluster.local", Kind::A, "NoName"),
            ("db", Kind::A, "NoName"),
            (
                "_https._tcp.kubernetes.default.svc.cluster.local",
                Kind::Srv,
                "Service { port: 443, target: \"kubernetes.default.svc.cluster.local\" }",
            ),
            (
                "_sql._tcp.db.a.svc.cluster.local",
                Kind::Srv,
                "Service { port: 5432, target: \"10-64-0-3.db.a.svc.cluster.local\" } Service { port: 5432, target: \"db-0.db.a.svc.cluster.local\" }",
            ),
        ] {
            assert_eq!(show(name, kind), expected, "{name} {kind:?}");
        }
    }
}
