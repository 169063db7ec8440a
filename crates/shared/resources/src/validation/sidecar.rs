//! Sidecar rules.

use super::{Report, Validate, common};
use crate::Sidecar;

impl Validate for Sidecar {
    fn validate(&self) -> Report {
        let mut r = Report::default();
        let spec = &self.spec;
        if let Some(selector) = &spec.workload_selector {
            common::labels(&mut r, "spec.workloadSelector.labels", &selector.labels);
        }
        if spec.egress.is_empty() && spec.ingress.is_empty() && spec.outbound_traffic_policy.is_none() {
            r.error("spec", "ingress, egress or outboundTrafficPolicy is required");
        }
        let mut ports = Vec::new();
        for (i, ingress) in spec.ingress.iter().enumerate() {
            let path = format!("spec.ingress[{i}]");
            match &ingress.port {
                None => r.error(format!("{path}.port"), "is required"),
                Some(port) => {
                    common::port(&mut r, &format!("{path}.port.number"), port.number);
                    if ports.contains(&port.number) {
                        r.error(format!("{path}.port.number"), format!("port {} is used twice", port.number));
                    }
                    ports.push(port.number);
                }
            }
            let endpoint = ingress.default_endpoint.as_deref().unwrap_or_default();
            if !endpoint.is_empty() && !is_default_endpoint(endpoint) {
                r.error(
                    format!("{path}.defaultEndpoint"),
                    "must be 127.0.0.1:PORT, 0.0.0.0:PORT or unix:///path/to/socket",
                );
            }
        }
        for (i, egress) in spec.egress.iter().enumerate() {
            let path = format!("spec.egress[{i}]");
            if let Some(port) = &egress.port {
                common::port(&mut r, &format!("{path}.port.number"), port.number);
            } else if i + 1 != spec.egress.len() {
                r.error(&path, "only the last egress listener may be without a port");
            }
            if egress.hosts.is_empty() {
                r.error(format!("{path}.hosts"), "at least one host is required");
            }
            for (j, host) in egress.hosts.iter().enumerate() {
                let path = format!("{path}.hosts[{j}]");
                match host.split_once('/') {
                    None => r.error(path, format!("{host:?} must have the form namespace/host")),
                    Some((ns, name)) => {
                        if !matches!(ns, "*" | "." | "~") && !common::is_fqdn(ns) {
                            r.error(&path, format!("{ns:?} is neither \"*\", \".\", \"~\" nor a namespace"));
                        }
                        common::host(&mut r, &path, name);
                    }
                }
            }
        }
        r
    }
}

fn is_default_endpoint(text: &str) -> bool {
    if let Some(socket) = text.strip_prefix("unix://") {
        return socket.starts_with('/');
    }
    match text.rsplit_once(':') {
        Some((ip, port)) => {
            matches!(ip, "127.0.0.1" | "0.0.0.0") && port.parse::<u16>().is_ok_and(|p| p != 0)
        }
        None => false,
    }
}
