//! Rules of the federation kinds. The original has no CRD rules and ignores or logs bad objects
//! (docs/reference/federation.md); here the user hears of them at once. What the original accepts and acts on
//! stays accepted.

use super::{Report, Validate, common};
use crate::{ExportedServiceSet, ImportedServiceSet, ServiceMeshPeer, federation::*};
use portolan_names::names;

impl Validate for ServiceMeshPeer {
    fn validate(&self) -> Report {
        let mut r = Report::default();
        let spec = &self.spec;
        if spec.remote.addresses.is_empty() {
            r.warn("spec.remote.addresses", "is empty: nothing can be discovered or imported from this peer");
        }
        for (i, address) in spec.remote.addresses.iter().enumerate() {
            if !common::is_ip(address) && !common::is_fqdn(address) {
                r.error(
                    format!("spec.remote.addresses[{i}]"),
                    format!("{address:?} is neither an IP nor a DNS name (ports have fields of their own)"),
                );
            }
        }
        for (name, port) in
            [("discoveryPort", spec.remote.discovery_port), ("servicePort", spec.remote.service_port)]
        {
            if port.is_some_and(|p| !(0..=65535).contains(&p)) {
                r.error(format!("spec.remote.{name}"), "must be in the range 0..65535; 0 means the default");
            }
        }
        if spec.gateways.ingress.name.is_empty() {
            r.error("spec.gateways.ingress.name", "is required: the gateway that serves this peer");
        }
        if spec.gateways.egress.name.is_empty() {
            r.error("spec.gateways.egress.name", "is required: the gateway that leads to this peer");
        }
        if spec.security.client_id.is_empty() {
            r.warn("spec.security.clientID", "is empty: every request of this peer is denied");
        }
        if spec.security.client_id.starts_with(names::SPIFFE_PREFIX) {
            r.error("spec.security.clientID", "is written without spiffe://");
        }
        if let Some(chain) = &spec.security.certificate_chain
            && !matches!(chain.kind.as_str(), "" | "ConfigMap")
        {
            r.error("spec.security.certificateChain.kind", format!("{:?} must be ConfigMap", chain.kind));
        }
        r
    }
}

impl Validate for ExportedServiceSet {
    fn validate(&self) -> Report {
        let mut r = Report::default();
        for (i, rule) in self.spec.export_rules.iter().enumerate() {
            let path = format!("spec.exportRules[{i}]");
            match rule.type_.as_str() {
                NAME_SELECTOR => match &rule.name_selector {
                    None => r.error(format!("{path}.nameSelector"), "is required for type NameSelector"),
                    Some(mapping) => check_mapping(&mut r, &format!("{path}.nameSelector"), mapping),
                },
                LABEL_SELECTOR => match &rule.label_selector {
                    None => r.error(format!("{path}.labelSelector"), "is required for type LabelSelector"),
                    Some(selector) => {
                        check_name(&mut r, &format!("{path}.labelSelector.namespace"), &selector.namespace);
                        for (j, alias) in selector.aliases.iter().enumerate() {
                            check_mapping(&mut r, &format!("{path}.labelSelector.aliases[{j}]"), alias);
                        }
                    }
                },
                other => r.error(
                    format!("{path}.type"),
                    format!("{other:?} must be NameSelector or LabelSelector"),
                ),
            }
        }
        r
    }
}

impl Validate for ImportedServiceSet {
    fn validate(&self) -> Report {
        let mut r = Report::default();
        let spec = &self.spec;
        domain(&mut r, "spec.domainSuffix", &spec.domain_suffix);
        if let Some(locality) = &spec.locality
            && locality.valid().is_none()
        {
            r.error("spec.locality", "a zone needs a region, a subzone needs a zone");
        }
        for (i, rule) in spec.import_rules.iter().enumerate() {
            let path = format!("spec.importRules[{i}]");
            if rule.type_ != NAME_SELECTOR {
                r.error(format!("{path}.type"), format!("{:?} must be NameSelector", rule.type_));
            }
            domain(&mut r, &format!("{path}.domainSuffix"), &rule.domain_suffix);
            match &rule.name_selector {
                None => r.error(format!("{path}.nameSelector"), "is required"),
                Some(mapping) => check_mapping(&mut r, &format!("{path}.nameSelector"), mapping),
            }
            if rule.import_as_local {
                let alias = rule.name_selector.as_ref().and_then(|n| n.alias.as_ref());
                if alias.is_none_or(|a| matches!(a.namespace.as_str(), "" | "*")) {
                    r.error(
                        format!("{path}.nameSelector.alias.namespace"),
                        "importAsLocal needs the local namespace here; without it the rule is skipped",
                    );
                }
            }
        }
        r
    }
}

fn domain(r: &mut Report, path: &str, value: &str) {
    if !value.is_empty() && !common::is_fqdn(value) {
        r.error(path, format!("{value:?} is not a DNS name"));
    }
}

fn check_name(r: &mut Report, path: &str, value: &str) {
    if value.is_empty() || value == "*" {
        return;
    }
    if value.contains('*') {
        r.error(path, format!("{value:?}: only \"*\" alone is a wildcard"));
    } else if !common::is_fqdn(value) || value.contains('.') {
        r.error(path, format!("{value:?} is not a DNS label"));
    }
}

fn check_mapping(r: &mut Report, path: &str, mapping: &ServiceNameMapping) {
    check_name(r, &format!("{path}.namespace"), &mapping.namespace);
    check_name(r, &format!("{path}.name"), &mapping.name);
    if let Some(alias) = &mapping.alias {
        check_name(r, &format!("{path}.alias.namespace"), &alias.namespace);
        check_name(r, &format!("{path}.alias.name"), &alias.name);
        let renames_many =
            !matches!(alias.name.as_str(), "" | "*") && matches!(mapping.name.as_str(), "" | "*");
        if renames_many {
            r.warn(
                format!("{path}.alias.name"),
                "gives all matched services the same name; only one can be reached",
            );
        }
    }
}
