//! ServiceEntry and WorkloadEntry rules.

use std::collections::BTreeSet;

use super::{Report, Validate, common};
use crate::{ServiceEntry, WorkloadEntry, networking::*};

/// Protocols of a ServiceEntry's port (docs/reference/xds.md).
const PROTOCOLS: [&str; 13] = [
    "HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "UDP", "MONGO", "MONGODB", "REDIS", "MYSQL",
    "THRIFT",
];

impl Validate for ServiceEntry {
    fn validate(&self) -> Report {
        let mut r = Report::default();
        let spec = &self.spec;
        if spec.hosts.is_empty() {
            r.error("spec.hosts", "at least one host is required");
        }
        for (i, host) in spec.hosts.iter().enumerate() {
            if host == "*" {
                r.error(format!("spec.hosts[{i}]"), "\"*\" alone is not allowed; name a domain");
            } else {
                common::host(&mut r, &format!("spec.hosts[{i}]"), host);
            }
        }
        for (i, address) in spec.addresses.iter().enumerate() {
            if !common::is_ip_or_cidr(address) {
                r.error(format!("spec.addresses[{i}]"), format!("{address:?} is neither IP nor CIDR"));
            }
        }
        if spec.workload_selector.is_some() && !spec.endpoints.is_empty() {
            r.error("spec.endpoints", "only one of workloadSelector and endpoints may be set");
        }
        common::export_to(&mut r, "spec.exportTo", &spec.export_to);
        ports(&mut r, &spec.ports);
        resolution(&mut r, spec);
        let names: BTreeSet<&str> = spec.ports.iter().map(|p| p.name.as_str()).collect();
        for (i, endpoint) in spec.endpoints.iter().enumerate() {
            let path = format!("spec.endpoints[{i}]");
            workload(&mut r, &path, endpoint);
            for name in endpoint.ports.keys().filter(|n| !names.contains(n.as_str())) {
                r.error(format!("{path}.ports[{name}]"), format!("no port of the service is named {name:?}"));
            }
        }
        let tcp = spec.ports.iter().any(|p| matches!(p.protocol.to_ascii_uppercase().as_str(), "TCP" | ""));
        if tcp && spec.addresses.is_empty() {
            r.warn("spec.addresses", "a TCP port without addresses takes all traffic to that port number");
        }
        r
    }
}

impl Validate for WorkloadEntry {
    fn validate(&self) -> Report {
        let mut r = Report::default();
        workload(&mut r, "spec", &self.spec);
        r
    }
}

fn ports(r: &mut Report, ports: &[Port]) {
    if ports.is_empty() {
        r.error("spec.ports", "at least one port is required");
    }
    for (i, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        common::port(r, &format!("{path}.number"), port.number);
        if let Some(target) = port.target_port {
            common::port(r, &format!("{path}.targetPort"), target);
        }
        if port.name.is_empty() {
            r.error(format!("{path}.name"), "is required");
        }
        let protocol = port.protocol.to_ascii_uppercase();
        if !protocol.is_empty() && !PROTOCOLS.contains(&protocol.as_str()) {
            r.error(format!("{path}.protocol"), format!("{:?} is not a protocol", port.protocol));
        }
        let earlier = || ports.iter().take(i);
        if earlier().any(|p| p.name == port.name) {
            r.error(format!("{path}.name"), format!("port name {:?} is used twice", port.name));
        }
        if earlier().any(|p| p.number == port.number) {
            r.error(format!("{path}.number"), format!("port number {} is used twice", port.number));
        }
    }
}

fn resolution(r: &mut Report, spec: &ServiceEntrySpec) {
    match spec.resolution.unwrap_or_default() {
        Resolution::None => {
            if !spec.endpoints.is_empty() {
                r.error("spec.endpoints", "must be empty for resolution NONE");
            }
            let ported = spec.ports.iter().any(|p| p.target_port.is_some());
            if ported {
                r.warn("spec.ports", "targetPort has no effect for resolution NONE");
            }
        }
        Resolution::Static => {
            let unresolved = spec.endpoints.iter().position(|e| {
                !common::is_ip(&e.address) && !e.address.starts_with("unix://") && !e.address.is_empty()
            });
            if let Some(i) = unresolved {
                r.error(
                    format!("spec.endpoints[{i}].address"),
                    "must be an IP or unix:// for resolution STATIC",
                );
            }
        }
        Resolution::Dns => {
            let moved = |port: &Port| port.target_port.is_some_and(|target| target != port.number);
            if spec.endpoints.is_empty() && spec.workload_selector.is_none() && spec.ports.iter().any(moved) {
                r.warn("spec.ports", "targetPort has no effect for resolution DNS without endpoints");
            }
            if spec.endpoints.is_empty()
                && spec.workload_selector.is_none()
                && spec.hosts.iter().any(|h| h.contains('*'))
            {
                r.error("spec.hosts", "a wildcard host needs endpoints for resolution DNS");
            }
        }
    }
}

fn workload(r: &mut Report, path: &str, w: &WorkloadEntrySpec) {
    let address = format!("{path}.address");
    match w.address.strip_prefix("unix://") {
        Some(socket) => {
            if !socket.starts_with('/') {
                r.error(address, "a unix:// address must be an absolute path");
            }
            if !w.ports.is_empty() {
                r.error(format!("{path}.ports"), "must be empty for a unix:// address");
            }
        }
        None if w.address.is_empty() => r.error(address, "is required"),
        None if !common::is_ip(&w.address) && !common::is_fqdn(&w.address) => {
            r.error(address, format!("{:?} is neither an IP nor a DNS name", w.address));
        }
        None => {}
    }
    for (name, number) in &w.ports {
        common::port(r, &format!("{path}.ports[{name}]"), *number);
    }
    common::labels(r, &format!("{path}.labels"), &w.labels);
}
