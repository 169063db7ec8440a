//! Real-world YAML survives a round trip through the types.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::*;

fn round_trip<T: Serialize + DeserializeOwned>(yaml: &str) {
    let value: Value = serde_saphyr::from_str(yaml).unwrap();
    let typed: T = serde_json::from_value(value.clone()).unwrap();
    let again = serde_json::to_value(&typed).unwrap();
    assert_eq!(again, value);
}

#[test]
fn istio_samples() {
    round_trip::<VirtualService>(
        r#"
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: bookinfo, namespace: bookinfo}
spec:
  hosts: ["*"]
  gateways: [bookinfo-gateway]
  http:
  - name: main
    match:
    - uri: {exact: /productpage}
    - uri: {prefix: /static}
      headers: {end-user: {regex: "^(a|b)$"}, x-any: {}}
    route:
    - destination: {host: productpage, port: {number: 9080}, subset: v1}
      weight: 90
    - destination: {host: productpage, subset: v2}
      weight: 10
    timeout: 5s
    retries: {attempts: 3, perTryTimeout: 0.5s, retryOn: "5xx,reset"}
    fault: {delay: {fixedDelay: 7s, percentage: {value: 100.0}}, abort: {httpStatus: 500, percentage: {value: 0.5}}}
    mirror: {host: other}
    mirrorPercentage: {value: 50.0}
    corsPolicy: {allowOrigins: [{exact: "https://a.b"}], maxAge: 24h}
    headers: {request: {set: {a: b}, remove: [c]}}
"#,
    );
    round_trip::<DestinationRule>(
        r#"
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 0s}}}
    connectionPool: {tcp: {maxConnections: 100, connectTimeout: 30ms}, http: {h2UpgradePolicy: UPGRADE}}
    outlierDetection: {consecutive5xxErrors: 2, interval: 10s}
    portLevelSettings: [{port: {number: 80}, tls: {mode: ISTIO_MUTUAL}}]
  subsets: [{name: v1, labels: {version: v1}}]
"#,
    );
    round_trip::<AuthorizationPolicy>(
        r#"
apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: p}
spec:
  selector: {matchLabels: {app: a}}
  action: DENY
  rules: [{from: [{source: {notPrincipals: [x]}}], to: [{operation: {ports: ["15443"]}}], when: [{key: source.ip, values: [10.0.0.0/8]}]}, {}]
"#,
    );
    round_trip::<ServiceMeshPeer>(
        r#"
apiVersion: federation.maistra.io/v1
kind: ServiceMeshPeer
metadata: {name: east}
spec:
  remote: {addresses: [172.31.242.17], discoveryPort: 8188, servicePort: 15443}
  gateways: {ingress: {name: east-ingress}, egress: {name: east-egress}}
  security:
    trustDomain: east.local
    clientID: east.local/ns/istio-system/sa/west-egress-service-account
    certificateChain: {kind: ConfigMap, name: east-ca-root-cert}
status:
  discoveryStatus:
    active: [{pod: istiod-1, remotes: [{source: 10.1.1.1, connected: true}], watch: {connected: true, lastConnected: "2021-01-01T00:00:00Z"}}]
"#,
    );
}
