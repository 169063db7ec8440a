//! Services and EndpointSlices.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use super::{list, one_of, port, text};
use crate::status::FieldError;
use crate::syntax;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const NOT_AN_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

pub(super) fn service(object: &Value, errors: &mut Vec<FieldError>) {
    let kind = text(object, "/spec/type");
    one_of(kind, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], "spec.type".into(), errors);
    one_of(
        text(object, "/spec/sessionAffinity"),
        &["ClientIP", "None"],
        "spec.sessionAffinity".into(),
        errors,
    );
    let cluster_ip = text(object, "/spec/clusterIP");
    let headless = cluster_ip == "None";
    if headless && matches!(kind, "NodePort" | "LoadBalancer") {
        let why = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid("spec.clusterIPs[0]", cluster_ip, why));
    }
    if !matches!(cluster_ip, "" | "None") && cluster_ip.parse::<IpAddr>().is_err() {
        errors.push(FieldError::invalid("spec.clusterIPs[0]", cluster_ip, NOT_AN_ADDRESS));
    }
    if kind == "ExternalName" {
        let name = text(object, "/spec/externalName").trim_end_matches('.');
        if name.is_empty() {
            errors.push(FieldError::required("spec.externalName", ""));
        } else if let Some(why) = syntax::dns_subdomain(name) {
            errors.push(FieldError::invalid("spec.externalName", name, why));
        }
    }
    super::metadata::labels(object.pointer("/spec/selector"), "spec.selector", errors);
    let ports = list(object, "/spec/ports");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    let (mut seen_names, mut seen_ports) = (BTreeSet::new(), BTreeSet::new());
    for (i, entry) in ports.iter().enumerate() {
        let path = format!("spec.ports[{i}]");
        let name = text(entry, "/name");
        if name.is_empty() {
            if ports.len() > 1 {
                errors.push(FieldError::required(format!("{path}.name"), ""));
            }
        } else if let Some(why) = syntax::dns_label(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), name, why));
        } else if !seen_names.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        match entry.get("port") {
            None => errors.push(FieldError::invalid(
                format!("{path}.port"),
                0,
                "must be between 1 and 65535, inclusive",
            )),
            number => port(number, format!("{path}.port"), errors),
        }
        port(entry.get("targetPort"), format!("{path}.targetPort"), errors);
        let protocol = text(entry, "/protocol");
        one_of(protocol, PROTOCOLS, format!("{path}.protocol"), errors);
        if !seen_ports.insert((protocol, entry.get("port").and_then(Value::as_i64))) {
            errors.push(FieldError::duplicate(path.clone(), entry.clone()));
        }
        let node_port = entry.get("nodePort").filter(|n| n.as_i64() != Some(0));
        if node_port.is_some() && matches!(kind, "ClusterIP" | "ExternalName" | "") {
            let why = format!("may not be used when `type` is '{kind}'");
            errors.push(FieldError::forbidden(format!("{path}.nodePort"), why));
        }
        port(node_port, format!("{path}.nodePort"), errors);
    }
}

/// A cluster IP stays as long as the Service has one.
pub(super) fn check_update(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    let (before, after) = (text(old, "/spec/clusterIP"), text(new, "/spec/clusterIP"));
    let has_ip = |service: &Value| text(service, "/spec/type") != "ExternalName";
    if !before.is_empty() && before != after && has_ip(old) && has_ip(new) {
        errors.push(FieldError::invalid("spec.clusterIPs[0]", after, "may not change once set"));
    }
}

pub(super) fn endpoint_slice(object: &Value, errors: &mut Vec<FieldError>) {
    let kind = text(object, "/addressType");
    if kind.is_empty() {
        errors.push(FieldError::required("addressType", ""));
    }
    one_of(kind, &["FQDN", "IPv4", "IPv6"], "addressType".into(), errors);
    for (i, endpoint) in list(object, "/endpoints").iter().enumerate() {
        let addresses = list(endpoint, "/addresses");
        if addresses.is_empty() {
            errors.push(FieldError::required(
                format!("endpoints[{i}].addresses"),
                "must contain at least 1 address",
            ));
        }
        for (j, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
            let parsed = address.parse::<IpAddr>();
            let ok = match kind {
                "IPv4" => parsed.is_ok_and(|a| a.is_ipv4()),
                "IPv6" => parsed.is_ok_and(|a| a.is_ipv6()),
                _ => true,
            };
            if !ok {
                errors.push(FieldError::invalid(
                    format!("endpoints[{i}].addresses[{j}]"),
                    address,
                    NOT_AN_ADDRESS,
                ));
            }
        }
    }
    for (i, entry) in list(object, "/ports").iter().enumerate() {
        one_of(text(entry, "/protocol"), PROTOCOLS, format!("ports[{i}].protocol"), errors);
    }
}
