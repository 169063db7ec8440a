//! Rules of the security kinds.

use super::{Report, Validate, common};
use crate::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication, security::*};

/// Condition keys without argument (Istio 1.9 reference, Security).
const PLAIN_KEYS: [&str; 9] = [
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "connection.sni",
];
/// Condition keys of the form `name[argument]`.
const KEYED: [&str; 4] =
    ["request.headers[", "request.auth.claims[", "request.regex.headers[", "experimental.envoy.filters."];

impl Validate for PeerAuthentication {
    fn validate(&self) -> Report {
        let mut r = Report::default();
        selector(&mut r, self.spec.selector.as_ref());
        let no_selector = self.spec.selector.as_ref().is_none_or(|s| s.match_labels.is_empty());
        if !self.spec.port_level_mtls.is_empty() && no_selector {
            r.error("spec.portLevelMtls", "needs a selector: port numbers belong to a workload");
        }
        for key in self.spec.port_level_mtls.keys() {
            let path = format!("spec.portLevelMtls[{key}]");
            match key.parse::<u32>() {
                Ok(port) => common::port(&mut r, &path, port),
                Err(_) => r.error(path, format!("{key:?} is not a port number")),
            }
        }
        r
    }
}

impl Validate for AuthorizationPolicy {
    fn validate(&self) -> Report {
        let mut r = Report::default();
        let spec = &self.spec;
        let action = spec.action.unwrap_or_default();
        selector(&mut r, spec.selector.as_ref());
        if action == AuthorizationAction::Custom {
            match &spec.provider {
                None => r.error("spec.provider", "is required for action CUSTOM"),
                Some(p) if p.name.is_empty() => r.error("spec.provider.name", "is required"),
                Some(_) => {}
            }
        } else if spec.provider.is_some() {
            r.error("spec.provider", "is only allowed for action CUSTOM");
        }
        if action == AuthorizationAction::Deny && spec.rules.is_empty() {
            r.error("spec.rules", "a DENY policy without rules never denies; use rules: [{}] to deny all");
        }
        for (i, rule) in spec.rules.iter().enumerate() {
            let path = format!("spec.rules[{i}]");
            for (j, from) in rule.from.iter().enumerate() {
                let path = format!("{path}.from[{j}].source");
                match &from.source {
                    None => r.error(path, "is required"),
                    Some(source) => check_source(&mut r, &path, source),
                }
            }
            for (j, to) in rule.to.iter().enumerate() {
                let path = format!("{path}.to[{j}].operation");
                match &to.operation {
                    None => r.error(path, "is required"),
                    Some(operation) => check_operation(&mut r, &path, operation),
                }
            }
            for (j, when) in rule.when.iter().enumerate() {
                condition(&mut r, &format!("{path}.when[{j}]"), when);
            }
        }
        r
    }
}

fn selector(r: &mut Report, selector: Option<&PolicySelector>) {
    let Some(selector) = selector else { return };
    for (key, value) in &selector.match_labels {
        let path = format!("spec.selector.matchLabels[{key}]");
        if key.is_empty() {
            r.error("spec.selector.matchLabels", "label key must not be empty");
        }
        if key.contains('*') || value.contains('*') {
            r.error(path, "wildcards are not supported in selectors");
        }
    }
}

fn values(r: &mut Report, path: &str, fields: &[(&str, &[String])]) {
    for (name, values) in fields {
        for (i, value) in values.iter().enumerate() {
            if value.is_empty() {
                r.error(format!("{path}.{name}[{i}]"), "must not be empty");
            }
        }
    }
    if fields.iter().all(|(_, v)| v.is_empty()) {
        r.error(path, "at least one field is required");
    }
}

fn cidrs(r: &mut Report, path: &str, values: &[String]) {
    for (i, value) in values.iter().enumerate() {
        if !common::is_ip_or_cidr(value) {
            r.error(format!("{path}[{i}]"), format!("{value:?} is neither IP nor CIDR"));
        }
    }
}

fn check_source(r: &mut Report, path: &str, s: &Source) {
    values(
        r,
        path,
        &[
            ("principals", &s.principals),
            ("notPrincipals", &s.not_principals),
            ("requestPrincipals", &s.request_principals),
            ("notRequestPrincipals", &s.not_request_principals),
            ("namespaces", &s.namespaces),
            ("notNamespaces", &s.not_namespaces),
            ("ipBlocks", &s.ip_blocks),
            ("notIpBlocks", &s.not_ip_blocks),
            ("remoteIpBlocks", &s.remote_ip_blocks),
            ("notRemoteIpBlocks", &s.not_remote_ip_blocks),
        ],
    );
    cidrs(r, &format!("{path}.ipBlocks"), &s.ip_blocks);
    cidrs(r, &format!("{path}.notIpBlocks"), &s.not_ip_blocks);
    cidrs(r, &format!("{path}.remoteIpBlocks"), &s.remote_ip_blocks);
    cidrs(r, &format!("{path}.notRemoteIpBlocks"), &s.not_remote_ip_blocks);
}

fn check_operation(r: &mut Report, path: &str, o: &Operation) {
    values(
        r,
        path,
        &[
            ("hosts", &o.hosts),
            ("notHosts", &o.not_hosts),
            ("ports", &o.ports),
            ("notPorts", &o.not_ports),
            ("methods", &o.methods),
            ("notMethods", &o.not_methods),
            ("paths", &o.paths),
            ("notPaths", &o.not_paths),
        ],
    );
    for (name, ports) in [("ports", &o.ports), ("notPorts", &o.not_ports)] {
        for (i, port) in ports.iter().enumerate() {
            let path = format!("{path}.{name}[{i}]");
            match port.parse::<u32>() {
                Ok(number) => common::port(r, &path, number),
                Err(_) => r.error(path, format!("{port:?} is not a port number")),
            }
        }
    }
}

fn condition(r: &mut Report, path: &str, c: &RuleCondition) {
    let known = c.key == "destination.port"
        || PLAIN_KEYS.contains(&c.key.as_str())
        || KEYED.iter().any(|k| c.key.starts_with(k) && (c.key.ends_with(']') || k.ends_with('.')));
    if !known {
        r.error(format!("{path}.key"), format!("{:?} is not a known attribute", c.key));
    }
    for keyed in ["request.headers[", "request.regex.headers["] {
        if let Some(name) = c.key.strip_prefix(keyed).and_then(|rest| rest.strip_suffix(']')) {
            common::header_name(r, &format!("{path}.key"), name, true);
        }
    }
    if c.values.is_empty() && c.not_values.is_empty() {
        r.error(path, "values or notValues is required");
    }
    for (name, list) in [("values", &c.values), ("notValues", &c.not_values)] {
        for (i, value) in list.iter().enumerate() {
            let path = format!("{path}.{name}[{i}]");
            match c.key.as_str() {
                "source.ip" | "remote.ip" | "destination.ip" if !common::is_ip_or_cidr(value) => {
                    r.error(path, format!("{value:?} is neither IP nor CIDR"));
                }
                "destination.port" => match value.parse::<u32>() {
                    Ok(number) => common::port(r, &path, number),
                    Err(_) => r.error(path, format!("{value:?} is not a port number")),
                },
                key if key.starts_with("request.regex.headers[") => common::regex(r, &path, value),
                _ => {}
            }
        }
    }
}

impl Validate for RequestAuthentication {
    fn validate(&self) -> Report {
        let mut r = Report::default();
        selector(&mut r, self.spec.selector.as_ref());
        for (i, rule) in self.spec.jwt_rules.iter().enumerate() {
            let path = format!("spec.jwtRules[{i}]");
            if rule.issuer.is_empty() {
                r.error(format!("{path}.issuer"), "is required");
            }
            for (j, audience) in rule.audiences.iter().enumerate().filter(|(_, a)| a.is_empty()) {
                r.error(format!("{path}.audiences[{j}]"), format!("{audience:?} must not be empty"));
            }
            if let Some(uri) = &rule.jwks_uri
                && !uri.starts_with("https://")
                && !uri.starts_with("http://")
            {
                r.error(format!("{path}.jwksUri"), format!("{uri:?} is not an http(s) URL"));
            }
            if rule.jwks.is_some() && rule.jwks_uri.is_some() {
                r.error(format!("{path}.jwks"), "only one of jwks and jwksUri may be set");
            }
            for (j, header) in rule.from_headers.iter().enumerate() {
                common::header_name(&mut r, &format!("{path}.fromHeaders[{j}].name"), &header.name, false);
            }
        }
        r
    }
}
