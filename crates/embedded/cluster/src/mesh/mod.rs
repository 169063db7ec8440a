//! The mesh as manifests: what `portolan up` puts into a fresh cluster, from typed values.
//!
//! The same objects work on any Kubernetes: nothing here knows of the embedded cluster.

mod control_plane;
mod gateways;
mod webhooks;

use portolan_names::{names, ports};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Image names, resolved by the image catalogue in the embedded cluster.
pub const CONTROL_PLANE_IMAGE: &str = "portolan/control-plane";
/// The proxy image; injected containers that say `auto` get it too.
pub const PROXY_IMAGE: &str = "portolan/proxy";

/// A pair of gateways for one peer of a federation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FederationGateways {
    /// Name of the peer: the gateways are `<peer>-ingress` and `<peer>-egress`.
    pub peer: String,
}

impl FederationGateways {
    /// Name of the gateway through which the peer comes in.
    #[must_use]
    pub fn ingress(&self) -> String {
        format!("{}-ingress", self.peer)
    }

    /// Name of the gateway through which this mesh goes out to the peer.
    #[must_use]
    pub fn egress(&self) -> String {
        format!("{}-egress", self.peer)
    }
}

/// What can be chosen about a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    /// Name of the cluster in the mesh (`CLUSTER_ID`).
    pub cluster_id: String,
    /// Trust domain of all identities.
    pub trust_domain: String,
    /// Which proxy the gateways run: `portolan` or `envoy`.
    pub gateway_proxy: String,
    /// Peers to have gateways for.
    pub federation: Vec<FederationGateways>,
    /// Write access logs to standard output.
    pub access_log: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cluster_id: names::CLUSTER_ID.to_owned(),
            trust_domain: names::TRUST_DOMAIN.to_owned(),
            gateway_proxy: names::PROXY_PORTOLAN.to_owned(),
            federation: Vec::new(),
            access_log: true,
        }
    }
}

/// All objects of the mesh, in the order in which they are applied.
#[must_use]
pub fn manifests(options: &Options) -> Vec<Value> {
    let mut all = vec![namespace()];
    all.extend(portolan_resources::crds().iter().map(|crd| json!(crd)));
    all.extend(control_plane::objects(options));
    all.extend(webhooks::objects());
    all.extend(gateways::objects(options));
    all
}

/// Names of the Deployments that must be available before the mesh is of use.
#[must_use]
pub fn deployments(options: &Options) -> Vec<String> {
    let mut all = vec![names::ISTIOD.to_owned(), gateways::INGRESS.to_owned()];
    for pair in &options.federation {
        all.extend([pair.ingress(), pair.egress()]);
    }
    all
}

fn namespace() -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names::ISTIO_SYSTEM}})
}

/// A Service port: name, number, and the port of the Pod.
fn port(name: &str, number: u16, target: u16) -> Value {
    json!({"name": name, "port": number, "targetPort": target, "protocol": "TCP"})
}

/// A probe of an HTTP path.
fn probe(path: &str, port: u16) -> Value {
    json!({
        "httpGet": {"path": path, "port": port},
        "initialDelaySeconds": 1,
        "periodSeconds": 2,
        "timeoutSeconds": 3,
        "failureThreshold": 30,
    })
}

/// The readiness probe of every proxy (Istio documentation, "Health Checking of Istio Services").
fn proxy_probe() -> Value {
    probe("/healthz/ready", ports::HEALTH)
}

#[cfg(test)]
mod tests {
    use portolan_resources::{
        support::{On, judge_metadata, judge_settings},
        validation::Report,
    };

    use super::*;
    use k8s_openapi::api::admissionregistration::v1::{
        MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
    };
    use k8s_openapi::api::apps::v1::Deployment;
    use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service, ServiceAccount};
    use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

    fn options() -> Options {
        Options {
            cluster_id: "west".to_owned(),
            trust_domain: "west.local".to_owned(),
            federation: vec![FederationGateways { peer: "east".to_owned() }],
            ..Options::default()
        }
    }

    /// Reads a manifest as its type and checks that nothing was lost: a misspelt field would be.
    fn check<K: serde::de::DeserializeOwned + serde::Serialize>(manifest: &Value) {
        let typed: K = serde_json::from_value(manifest.clone()).expect("a manifest of its kind");
        let back = serde_json::to_value(&typed).unwrap();
        assert_contains(&back, manifest, "");
    }

    fn assert_contains(have: &Value, want: &Value, path: &str) {
        match (have, want) {
            (Value::Object(have), Value::Object(want)) => {
                for (key, value) in want {
                    let path = format!("{path}.{key}");
                    let found = have.get(key).unwrap_or_else(|| panic!("{path} is unknown"));
                    assert_contains(found, value, &path);
                }
            }
            (Value::Array(have), Value::Array(want)) => {
                assert_eq!(have.len(), want.len(), "{path}");
                have.iter().zip(want).for_each(|(have, want)| assert_contains(have, want, path));
            }
            (have, want) => assert_eq!(have, want, "{path}"),
        }
    }

    #[test]
    fn every_manifest_is_a_valid_object_of_its_kind() {
        for manifest in manifests(&options()) {
            match manifest["kind"].as_str().unwrap() {
                "Namespace" => check::<Namespace>(&manifest),
                "CustomResourceDefinition" => check::<CustomResourceDefinition>(&manifest),
                "ServiceAccount" => check::<ServiceAccount>(&manifest),
                "ConfigMap" => check::<ConfigMap>(&manifest),
                "Service" => check::<Service>(&manifest),
                "Deployment" => check::<Deployment>(&manifest),
                "ClusterRole" => check::<ClusterRole>(&manifest),
                "ClusterRoleBinding" => check::<ClusterRoleBinding>(&manifest),
                "Role" => check::<Role>(&manifest),
                "RoleBinding" => check::<RoleBinding>(&manifest),
                "MutatingWebhookConfiguration" => check::<MutatingWebhookConfiguration>(&manifest),
                "ValidatingWebhookConfiguration" => check::<ValidatingWebhookConfiguration>(&manifest),
                other => panic!("unexpected {other}"),
            }
        }
    }

    #[test]
    fn federation_adds_a_pair_of_gateways_per_peer() {
        assert_eq!(
            deployments(&options()),
            ["istiod", "istio-ingressgateway", "east-ingress", "east-egress"]
        );
        let all = manifests(&options());
        let named = |kind: &str, name: &str| {
            all.iter().find(|m| m["kind"] == kind && m["metadata"]["name"] == name).cloned()
        };
        let ingress = named("Service", "east-ingress").unwrap();
        assert_eq!(ingress["spec"]["type"], "LoadBalancer");
        assert_eq!(ingress["metadata"]["labels"]["federation.maistra.io/ingress-for"], "east");
        assert_eq!(ingress["spec"]["ports"][1]["name"], "https-discovery");
        let egress = named("Service", "east-egress").unwrap();
        assert_eq!(egress["spec"]["ports"][1]["name"], "http-discovery");
        assert!(named("ServiceAccount", "east-egress-service-account").is_some());
        // The user's Gateways (istio: ingressgateway) must not land on a federation gateway.
        let deployment = named("Deployment", "east-ingress").unwrap();
        assert_ne!(deployment["spec"]["template"]["metadata"]["labels"]["istio"], "ingressgateway");
    }

    #[test]
    fn the_control_plane_is_not_injected() {
        for manifest in manifests(&options()) {
            if manifest["kind"] == "Deployment" && manifest["metadata"]["name"] == "istiod" {
                let labels = &manifest["spec"]["template"]["metadata"]["labels"];
                assert_eq!(labels["sidecar.istio.io/inject"], "false");
            }
        }
    }

    /// Nobody is warned of what we have written ourselves.
    #[test]
    fn manifests_ask_for_nothing_that_does_not_work() {
        let mut looked_at = 0;
        for manifest in manifests(&options()) {
            let reports = match manifest["kind"].as_str().unwrap() {
                "Service" => vec![judge_metadata(&manifest["metadata"], On::Service)],
                "Deployment" => vec![judge_metadata(&manifest["spec"]["template"]["metadata"], On::Pod)],
                "ConfigMap" => manifest["data"][names::MESH_CONFIG_KEY]
                    .as_str()
                    .map(|text| judge_settings(&serde_saphyr::from_str(text).unwrap(), "mesh"))
                    .into_iter()
                    .collect(),
                _ => Vec::new(),
            };
            for report in reports {
                looked_at += 1;
                assert_eq!(report, Report::default(), "{}", manifest["metadata"]["name"]);
            }
        }
        assert!(looked_at > 6, "{looked_at}");
    }
}
