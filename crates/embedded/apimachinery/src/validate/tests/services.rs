//! Services and what is behind them.

use super::*;

#[test]
fn faults_of_services() {
    let service = |fields: Value| {
        let mut spec = json!({"ports": [{"port": 80}]});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "spec": spec })
    };
    let ports = |ports: Value| json!({"spec": {"ports": ports}});
    each(
        "services",
        &[
            (service(json!({"type": "x"})), "spec.type: Unsupported value: \"x\""),
            (service(json!({"sessionAffinity": "x"})), "spec.sessionAffinity: Unsupported value: \"x\""),
            (
                service(json!({"type": "NodePort", "clusterIP": "None"})),
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
            ),
            (
                service(json!({"type": "LoadBalancer", "clusterIP": "None"})),
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services",
            ),
            (
                service(json!({"clusterIP": "x"})),
                "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address",
            ),
            (service(json!({"type": "ExternalName"})), "spec.externalName: Required value"),
            (
                service(json!({"type": "ExternalName", "externalName": "A_"})),
                "spec.externalName: Invalid value: \"A_\"",
            ),
            (service(json!({"selector": {"a b": "c"}})), "spec.selector: Invalid value: \"a b\""),
            (ports(json!([{"port": 1, "name": "a"}, {"port": 2}])), "spec.ports[1].name: Required value"),
            (ports(json!([{"port": 1, "name": "A"}])), "spec.ports[0].name: Invalid value: \"A\""),
            (
                ports(json!([{"port": 1, "name": "a"}, {"port": 2, "name": "a"}])),
                "spec.ports[1].name: Duplicate value: \"a\"",
            ),
            (
                ports(json!([{"port": 1, "name": "a"}, {"port": 1, "name": "b"}])),
                "spec.ports[1]: Duplicate value: {",
            ),
            (
                ports(json!([{"targetPort": 80}])),
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535",
            ),
            (ports(json!([{"port": 0, "targetPort": 80}])), "spec.ports[0].port: Invalid value: 0"),
            (
                ports(json!([{"port": 1, "targetPort": "A"}])),
                "spec.ports[0].targetPort: Invalid value: \"A\"",
            ),
            (
                ports(json!([{"port": 1, "protocol": "x"}])),
                "spec.ports[0].protocol: Unsupported value: \"x\"",
            ),
            (
                service(json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 70000}]})),
                "spec.ports[0].nodePort: Invalid value: 70000",
            ),
            (
                service(
                    json!({"type": "ExternalName", "externalName": "a", "ports": [{"port": 1, "nodePort": 3}]}),
                ),
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ExternalName'",
            ),
        ],
    );
    for body in [
        service(json!({"type": "ExternalName", "externalName": "a.b.", "ports": []})),
        service(json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30000}]})),
        ports(json!([{"port": 1, "nodePort": 0}])),
        ports(json!([{"port": 1, "name": "a"}, {"port": 1, "name": "b", "protocol": "UDP"}])),
        service(json!({"clusterIP": "fd00::1"})),
    ] {
        assert_eq!(faults("services", body.clone()), [""; 0], "{body}");
    }
}

#[test]
fn faults_of_endpoint_slices() {
    each(
        "endpointslices",
        &[
            (json!({}), "addressType: Required value"),
            (json!({"addressType": "x"}), "addressType: Unsupported value: \"x\""),
            (json!({"addressType": "IPv4", "endpoints": [{}]}), "endpoints[0].addresses: Required value"),
            (
                json!({"addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1"]}]}),
                "endpoints[0].addresses[0]: Invalid value",
            ),
            (
                json!({"addressType": "IPv6", "endpoints": [{"addresses": ["1.1.1.1"]}]}),
                "endpoints[0].addresses[0]: Invalid value",
            ),
            (
                json!({"addressType": "IPv4", "ports": [{"protocol": "x"}]}),
                "ports[0].protocol: Unsupported value: \"x\"",
            ),
        ],
    );
    for (kind, address) in [("IPv4", "1.1.1.1"), ("IPv6", "fd00::1"), ("FQDN", "a.b")] {
        let body = json!({"addressType": kind, "endpoints": [{"addresses": [address]}]});
        assert_eq!(faults("endpointslices", body), [""; 0], "{kind}");
    }
}

#[test]
fn a_cluster_ip_goes_only_with_the_kind_that_has_it() {
    let service = |kind: &str, ip: &str| json!({"spec": {"type": kind, "clusterIP": ip, "externalName": "a.b", "ports": [{"port": 1}]}});
    let fixed = |old: Value, new: Value| {
        changes("services", old, new).iter().any(|fault| fault.contains("may not change once set"))
    };
    assert!(fixed(service("ClusterIP", "10.0.0.1"), service("ClusterIP", "10.0.0.2")));
    assert!(!fixed(service("ClusterIP", "10.0.0.1"), service("ExternalName", "")));
    assert!(!fixed(service("ExternalName", "10.0.0.1"), service("ClusterIP", "10.0.0.2")));
    assert!(!fixed(service("ClusterIP", ""), service("ClusterIP", "10.0.0.2")));
    assert!(!fixed(service("ClusterIP", "10.0.0.1"), service("ClusterIP", "10.0.0.1")));
}
