//! Each rule is refused where it is broken, by path and text, and its neighbour that keeps it is accepted.

mod common;
mod destination_rule;
mod federation;
mod gateway;
mod security;
mod service_entry;
mod sidecar;
mod virtual_service;

use serde_json::{Value, json};

use super::*;

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What is found in an object with this spec: errors as `path: text`, then warnings as `warning: path: text`.
fn findings(api_version: &str, kind: &str, spec: &str) -> Vec<String> {
    let object =
        yaml(&format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}"));
    let report = by_rules(&object).unwrap_or_else(|error| panic!("{error}: {spec}"));
    assert_eq!(report.is_valid(), report.errors.is_empty(), "{spec}");
    let warnings = report.warnings.iter().map(|found| format!("warning: {found}"));
    report.errors.iter().map(ToString::to_string).chain(warnings).collect()
}

/// A spec, and what is found in it.
type Row<'a> = (&'a str, &'a [&'a str]);

/// Checks specs of one kind. `$` in `template` stands for the text of the row, `$` in a finding for `prefix`.
fn check_in(api_version: &str, kind: &str, template: &str, prefix: &str, rows: &[Row<'_>]) {
    for (spec, expected) in rows {
        let expected: Vec<String> = expected.iter().map(|text| text.replacen('$', prefix, 1)).collect();
        assert_eq!(findings(api_version, kind, &template.replacen('$', spec, 1)), expected, "{kind} {spec}");
    }
}

const NETWORKING: &str = "networking.istio.io/v1beta1";
const SECURITY: &str = "security.istio.io/v1beta1";
const FEDERATION: &str = "federation.maistra.io/v1";

/// Every kind, with a spec that breaks one of its rules, and the field of the finding.
const KINDS: [(&str, &str, &str, &str); 12] = [
    (NETWORKING, "VirtualService", "{hosts: [a]}", "spec"),
    (NETWORKING, "DestinationRule", "{host: ''}", "spec.host"),
    (NETWORKING, "Gateway", "{selector: {a: b}}", "spec.servers"),
    (NETWORKING, "ServiceEntry", "{hosts: [a.b]}", "spec.ports"),
    (NETWORKING, "WorkloadEntry", "{address: ''}", "spec.address"),
    (NETWORKING, "Sidecar", "{}", "spec"),
    (SECURITY, "PeerAuthentication", "{portLevelMtls: {8080: {mode: DISABLE}}}", "spec.portLevelMtls"),
    (SECURITY, "AuthorizationPolicy", "{action: DENY}", "spec.rules"),
    (SECURITY, "RequestAuthentication", "{jwtRules: [{}]}", "spec.jwtRules[0].issuer"),
    (FEDERATION, "ServiceMeshPeer", "{gateways: {ingress: {name: a}}}", "spec.gateways.egress.name"),
    (FEDERATION, "ExportedServiceSet", "{exportRules: [{type: X}]}", "spec.exportRules[0].type"),
    (FEDERATION, "ImportedServiceSet", "{domainSuffix: '-'}", "spec.domainSuffix"),
];

#[test]
fn every_kind_has_its_rules() {
    for (api_version, kind, spec, field) in KINDS {
        let found = findings(api_version, kind, spec);
        assert!(found[0].starts_with(&format!("{field}: ")), "{kind}: {found:?}");
    }
}

#[test]
fn the_version_of_a_group_does_not_matter() {
    for version in ["v1alpha3", "v1beta1", "v1"] {
        let found = findings(&format!("networking.istio.io/{version}"), "WorkloadEntry", "{address: ''}");
        assert_eq!(found, ["spec.address: is required"]);
    }
}

#[test]
fn a_kind_is_known_in_its_own_group_only() {
    for (api_version, kind, ..) in KINDS {
        let other = if api_version == SECURITY { NETWORKING } else { SECURITY };
        for api_version in [other, "v1", "", "example.com/v1"] {
            let object = json!({"apiVersion": api_version, "kind": kind, "spec": {}});
            let error = validate_json(&object).unwrap_err();
            assert!(
                matches!(&error, DecodeError::UnknownKind { kind: found, .. } if found == kind),
                "{error}"
            );
            assert!(
                error.to_string().starts_with(&format!("{api_version} {kind} is not a kind of the mesh"))
            );
        }
    }
}

#[test]
fn what_is_no_object_has_no_kind() {
    for object in [json!(null), json!("text"), json!({}), json!({"apiVersion": 1, "kind": 2})] {
        assert!(matches!(validate_json(&object), Err(DecodeError::UnknownKind { .. })), "{object}");
    }
}

#[test]
fn what_cannot_be_read_is_named_with_its_kind() {
    for (api_version, kind, ..) in KINDS {
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": 5});
        let error = validate_json(&object).unwrap_err();
        assert!(matches!(&error, DecodeError::Malformed { kind: found, .. } if found == kind), "{error}");
        assert!(error.to_string().starts_with(&format!("{kind} cannot be read: ")), "{error}");
    }
}

#[test]
fn a_report_with_errors_is_no_result() {
    let mut report = Report::default();
    report.warn("spec.a", "is odd");
    assert!(report.is_valid());
    let warnings = vec![Finding { field: "spec.a".into(), message: "is odd".into() }];
    assert_eq!(report.clone().into_result(), Ok(warnings));
    report.error("spec.b", "is wrong");
    report.error("spec.c", "too");
    assert!(!report.is_valid());
    assert_eq!(report.into_result().unwrap_err().to_string(), "spec.b: is wrong; spec.c: too");
}
