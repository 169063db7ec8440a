//! CustomResourceDefinitions of all our kinds, generated from the Rust types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt as _;

use crate::{
    federation::{ExportedServiceSet, ImportedServiceSet, ServiceMeshPeer},
    networking::{DestinationRule, Gateway, ServiceEntry, Sidecar, VirtualService, WorkloadEntry},
    security::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication},
};

/// All CRDs: structural schemas, status sub-resource, short names, categories, printer columns. The networking kinds
/// serve `v1alpha3` and `v1beta1` (stored), which have the same schema (Istio 1.9 configuration reference).
pub fn crds() -> Vec<CustomResourceDefinition> {
    let networking = [
        VirtualService::crd(),
        DestinationRule::crd(),
        Gateway::crd(),
        ServiceEntry::crd(),
        WorkloadEntry::crd(),
        Sidecar::crd(),
    ]
    .map(|crd| also_serve(crd, "v1alpha3"));
    let others = [
        PeerAuthentication::crd(),
        AuthorizationPolicy::crd(),
        RequestAuthentication::crd(),
        ServiceMeshPeer::crd(),
        ExportedServiceSet::crd(),
        ImportedServiceSet::crd(),
    ];
    networking.into_iter().chain(others).collect()
}

/// Serves the stored version's schema under a second version name, with no conversion.
fn also_serve(mut crd: CustomResourceDefinition, version: &str) -> CustomResourceDefinition {
    if let Some(mut second) = crd.spec.versions.first().cloned() {
        second.name = version.to_owned();
        second.storage = false;
        crd.spec.versions.insert(0, second);
    }
    crd
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The rules of structural schemas that the API server enforces.
    fn check_structural(schema: &Value, path: &str) {
        let object = schema.as_object().unwrap_or_else(|| panic!("{path}: schema is not an object"));
        let preserves = object.contains_key("x-kubernetes-preserve-unknown-fields")
            || object.contains_key("x-kubernetes-int-or-string");
        assert!(object.get("type").is_some_and(Value::is_string) || preserves, "{path}: no type: {schema}");
        for forbidden in ["$ref", "definitions", "oneOf", "const", "$defs"] {
            assert!(!object.contains_key(forbidden), "{path}: {forbidden}");
        }
        if let Some(properties) = object.get("properties").and_then(Value::as_object) {
            assert!(!object.contains_key("additionalProperties"), "{path}: both properties forms");
            properties.iter().for_each(|(k, v)| check_structural(v, &format!("{path}.{k}")));
        }
        for nested in ["items", "additionalProperties"] {
            if let Some(v) = object.get(nested).filter(|v| v.is_object()) {
                check_structural(v, &format!("{path}.{nested}"));
            }
        }
    }

    #[test]
    fn schemas_are_structural() {
        let crds = crds();
        assert_eq!(crds.len(), 12);
        for crd in &crds {
            let value = serde_json::to_value(crd).unwrap();
            for version in value["spec"]["versions"].as_array().unwrap() {
                let name = format!("{}/{}", value["metadata"]["name"], version["name"]);
                assert!(version["subresources"]["status"].is_object(), "{name}: status");
                check_structural(&version["schema"]["openAPIV3Schema"], &name);
            }
            let stored = crd.spec.versions.iter().filter(|v| v.storage).count();
            assert_eq!(stored, 1);
        }
    }

    #[test]
    fn names_are_those_of_the_field() {
        let found: Vec<_> = crds()
            .iter()
            .map(|c| (c.metadata.name.clone().unwrap(), c.spec.names.short_names.clone().unwrap_or_default()))
            .collect();
        let expected = [
            ("virtualservices.networking.istio.io", "vs"),
            ("destinationrules.networking.istio.io", "dr"),
            ("gateways.networking.istio.io", "gw"),
            ("serviceentries.networking.istio.io", "se"),
            ("workloadentries.networking.istio.io", "we"),
            ("sidecars.networking.istio.io", ""),
            ("peerauthentications.security.istio.io", "pa"),
            ("authorizationpolicies.security.istio.io", "ap"),
            ("requestauthentications.security.istio.io", "ra"),
            ("servicemeshpeers.federation.maistra.io", ""),
            ("exportedservicesets.federation.maistra.io", ""),
            ("importedservicesets.federation.maistra.io", ""),
        ];
        for ((name, shorts), (expected_name, short)) in found.iter().zip(expected) {
            assert_eq!(name, expected_name);
            assert_eq!(shorts.first().map(String::as_str).unwrap_or_default(), short, "{name}");
        }
    }
}
