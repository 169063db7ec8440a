//! Gateways: the ingress gateway for users, and a pair per federation peer. Their Pods are made by injection
//! (template `gateway`), so that an upgrade of the mesh needs no new manifest.

use portolan_names::{annotations, labels, names, ports};
use serde_json::{Value, json};

use super::{Options, port, proxy_probe};

/// The gateway that the sample Gateways select by `istio: ingressgateway`.
pub(super) const INGRESS: &str = "istio-ingressgateway";
/// Ports on which an unprivileged gateway serves 80 and 443.
const HTTP_TARGET: u16 = 8080;
const HTTPS_TARGET: u16 = 8443;

struct Gateway {
    name: String,
    /// Value of the label `istio`, by which users' Gateways select.
    role: String,
    service_type: &'static str,
    ports: Vec<Value>,
    /// Extra label on Service and Deployment: which peer it serves.
    serves: Option<(&'static str, String)>,
    env: Vec<Value>,
}

pub(super) fn objects(options: &Options) -> Vec<Value> {
    let mut gateways = vec![Gateway {
        name: INGRESS.to_owned(),
        role: "ingressgateway".to_owned(),
        service_type: "LoadBalancer",
        ports: vec![
            port("status-port", ports::HEALTH, ports::HEALTH),
            port("http2", 80, HTTP_TARGET),
            port("https", 443, HTTPS_TARGET),
            // As Istio's chart: TCP of the samples, and TLS that passes through to a host of the mesh.
            port("tcp", 31400, 31400),
            port("tls", ports::FEDERATION_SERVICE, ports::FEDERATION_SERVICE),
        ],
        serves: None,
        env: Vec::new(),
    }];
    for pair in &options.federation {
        gateways.push(Gateway {
            name: pair.ingress(),
            role: pair.ingress(),
            service_type: "LoadBalancer",
            ports: vec![
                port("tls", ports::FEDERATION_SERVICE, ports::FEDERATION_SERVICE),
                port("https-discovery", ports::FEDERATION_DISCOVERY, ports::FEDERATION_DISCOVERY),
            ],
            serves: Some((labels::FEDERATION_INGRESS_FOR, pair.peer.clone())),
            env: Vec::new(),
        });
        let network = names::peer_network(&pair.peer);
        gateways.push(Gateway {
            name: pair.egress(),
            role: pair.egress(),
            service_type: "ClusterIP",
            ports: vec![
                port("tls", ports::FEDERATION_SERVICE, ports::FEDERATION_SERVICE),
                port("http-discovery", ports::FEDERATION_DISCOVERY, ports::FEDERATION_DISCOVERY),
            ],
            serves: Some((labels::FEDERATION_EGRESS_FOR, pair.peer.clone())),
            env: vec![json!({"name": "ISTIO_META_REQUESTED_NETWORK_VIEW", "value": network})],
        });
    }
    gateways.iter().flat_map(|gateway| gateway.objects(options)).collect()
}

impl Gateway {
    fn labels(&self) -> Value {
        let mut labels = json!({
            "app": self.name, (labels::ISTIO): self.role, (labels::REVISION): names::DEFAULT_REVISION,
        });
        if let Some((key, peer)) = &self.serves {
            labels[key] = json!(peer);
        }
        labels
    }

    fn objects(&self, options: &Options) -> [Value; 5] {
        let account = names::gateway_service_account(&self.name);
        let meta =
            |name: &str| json!({"name": name, "namespace": names::ISTIO_SYSTEM, "labels": self.labels()});
        let secrets = format!("{}-secrets", self.name);
        [
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(&account)}),
            // The control plane serves a Secret to a gateway only if the gateway itself may read it.
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta(&secrets),
                "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}],
            }),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta(&secrets),
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": secrets},
                "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": names::ISTIO_SYSTEM}],
            }),
            json!({
                "apiVersion": "v1", "kind": "Service", "metadata": meta(&self.name),
                "spec": {
                    "type": self.service_type,
                    "selector": {"app": self.name, (labels::ISTIO): self.role},
                    "ports": self.ports,
                },
            }),
            self.deployment(options, &account),
        ]
    }

    fn deployment(&self, options: &Options, account: &str) -> Value {
        let mut pod_labels = self.labels();
        pod_labels[labels::SIDECAR_INJECT] = json!("true");
        pod_labels[labels::CANONICAL_NAME] = json!(self.name);
        pod_labels[labels::CANONICAL_REVISION] = json!("latest");
        let ports: Vec<Value> = self
            .ports
            .iter()
            .map(|port| json!({"name": port["name"], "containerPort": port["targetPort"], "protocol": "TCP"}))
            .collect();
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": self.name, "namespace": names::ISTIO_SYSTEM, "labels": self.labels()},
            "spec": {
                "replicas": 1,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                "selector": {"matchLabels": {"app": self.name, (labels::ISTIO): self.role}},
                "template": {
                    "metadata": {
                        "labels": pod_labels,
                        "annotations": {
                            (annotations::INJECT_TEMPLATES): "gateway",
                            (annotations::PORTOLAN_PROXY): options.gateway_proxy,
                        },
                    },
                    "spec": {
                        "serviceAccountName": account,
                        "containers": [{
                            "name": names::PROXY_CONTAINER,
                            "image": "auto",
                            "env": self.env,
                            "ports": ports,
                            "readinessProbe": proxy_probe(),
                        }],
                    },
                },
            },
        })
    }
}
