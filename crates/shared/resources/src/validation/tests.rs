use serde_json::Value;

use super::*;

/// The errors (fields only) of a YAML object.
fn errors(yaml: &str) -> Vec<String> {
    let value: Value = serde_saphyr::from_str(yaml).unwrap();
    validate_json(&value).unwrap().errors.into_iter().map(|f| f.field).collect()
}

fn networking(kind: &str, spec: &str) -> Vec<String> {
    errors(&format!(
        "apiVersion: networking.istio.io/v1alpha3\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}"
    ))
}

#[test]
fn virtual_service_paths() {
    for (spec, expected) in [
        ("{hosts: [a], http: [{route: [{destination: {host: a}}]}]}", vec![]),
        (
            "{hosts: [a], http: [{route: [{destination: {host: a}, weight: 10}, {destination: {host: b}, weight: 80}]}]}",
            vec!["spec.http[0].route"],
        ),
        (
            "{hosts: [a], http: [{route: [{destination: {host: a}, weight: 110}]}]}",
            vec!["spec.http[0].route[0].weight"],
        ),
        (
            "{hosts: [a], http: [{match: [{uri: {regex: '('}}], route: [{destination: {host: a}}]}]}",
            vec!["spec.http[0].match[0].uri.regex"],
        ),
        ("{hosts: [a], http: [{timeout: 5, route: [{destination: {host: a}}]}]}", vec!["malformed"]),
        (
            "{hosts: [a], http: [{timeout: fast, route: [{destination: {host: a, port: {number: 70000}}}]}]}",
            vec!["spec.http[0].timeout", "spec.http[0].route[0].destination.port.number"],
        ),
        ("{hosts: ['*'], http: [{route: [{destination: {host: a}}]}]}", vec!["spec.hosts[0]"]),
        ("{hosts: [a], http: [{}]}", vec!["spec.http[0]"]),
        (
            "{hosts: [a], http: [{redirect: {uri: /x, redirectCode: 304}}]}",
            vec!["spec.http[0].redirect.redirectCode"],
        ),
        (
            "{hosts: [a.com], tls: [{match: [{sniHosts: [b.com]}], route: [{destination: {host: a}}]}]}",
            vec!["spec.tls[0].match[0].sniHosts[0]"],
        ),
    ] {
        if expected == ["malformed"] {
            let value: Value = serde_saphyr::from_str(&format!(
                "apiVersion: networking.istio.io/v1beta1\nkind: VirtualService\nmetadata: {{name: x}}\nspec: {spec}"
            ))
            .unwrap();
            assert!(matches!(validate_json(&value), Err(DecodeError::Malformed { .. })), "{spec}");
            continue;
        }
        assert_eq!(networking("VirtualService", spec), expected, "{spec}");
    }
}

#[test]
fn other_networking_kinds() {
    for (kind, spec, expected) in [
        ("DestinationRule", "{host: a, subsets: [{name: v1, labels: {version: v1}}]}", vec![]),
        (
            "DestinationRule",
            "{host: '', trafficPolicy: {tls: {mode: MUTUAL}}}",
            vec![
                "spec.host",
                "spec.trafficPolicy.tls.clientCertificate",
                "spec.trafficPolicy.tls.privateKey",
            ],
        ),
        ("Gateway", "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}", vec![]),
        (
            "Gateway",
            "{selector: {a: b}, servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [x.com]}]}",
            vec!["spec.servers[0].tls"],
        ),
        (
            "ServiceEntry",
            "{hosts: ['*'], ports: [{number: 80, name: http, protocol: HTTP}]}",
            vec!["spec.hosts[0]"],
        ),
        (
            "ServiceEntry",
            "{hosts: [a.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: b.com}]}",
            vec!["spec.endpoints[0].address"],
        ),
        ("WorkloadEntry", "{address: ''}", vec!["spec.address"]),
        ("Sidecar", "{egress: [{hosts: [x]}]}", vec!["spec.egress[0].hosts[0]"]),
    ] {
        assert_eq!(networking(kind, spec), expected, "{kind} {spec}");
    }
}

#[test]
fn security_kinds() {
    let security = |kind: &str, spec: &str| {
        errors(&format!(
            "apiVersion: security.istio.io/v1beta1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}"
        ))
    };
    assert_eq!(security("PeerAuthentication", "{mtls: {mode: STRICT}}"), Vec::<String>::new());
    assert_eq!(
        security("PeerAuthentication", "{portLevelMtls: {8080: {mode: DISABLE}}}"),
        ["spec.portLevelMtls"]
    );
    assert_eq!(security("AuthorizationPolicy", "{}"), Vec::<String>::new());
    assert_eq!(security("AuthorizationPolicy", "{action: DENY}"), ["spec.rules"]);
    assert_eq!(
        security(
            "AuthorizationPolicy",
            "{rules: [{from: [{source: {ipBlocks: [x]}}], when: [{key: nope, values: [a]}]}]}"
        ),
        ["spec.rules[0].from[0].source.ipBlocks[0]", "spec.rules[0].when[0].key"]
    );
    assert_eq!(security("RequestAuthentication", "{jwtRules: [{}]}"), ["spec.jwtRules[0].issuer"]);
}

#[test]
fn federation_kinds() {
    let federation = |kind: &str, spec: &str| {
        errors(&format!(
            "apiVersion: federation.maistra.io/v1\nkind: {kind}\nmetadata: {{name: east}}\nspec: {spec}"
        ))
    };
    let peer = "{remote: {addresses: [10.0.0.1]}, gateways: {ingress: {name: east-ingress}, egress: {name: east-egress}}, security: {clientID: east.local/ns/istio-system/sa/west-egress-service-account, trustDomain: east.local}}";
    assert_eq!(federation("ServiceMeshPeer", peer), Vec::<String>::new());
    assert_eq!(
        federation("ServiceMeshPeer", "{remote: {addresses: ['a:80']}, security: {clientID: 'spiffe://x'}}"),
        [
            "spec.remote.addresses[0]",
            "spec.gateways.ingress.name",
            "spec.gateways.egress.name",
            "spec.security.clientID"
        ]
    );
    assert_eq!(
        federation("ExportedServiceSet", "{exportRules: [{type: NameSelector}, {type: X}]}"),
        ["spec.exportRules[0].nameSelector", "spec.exportRules[1].type"]
    );
    assert_eq!(
        federation(
            "ImportedServiceSet",
            "{importRules: [{type: NameSelector, importAsLocal: true, nameSelector: {namespace: b, name: r*}}]}"
        ),
        ["spec.importRules[0].nameSelector.name", "spec.importRules[0].nameSelector.alias.namespace"]
    );
}

#[test]
fn unknown_kinds_are_named() {
    let err = validate_json(&serde_json::json!({"apiVersion": "v1", "kind": "Pod"})).unwrap_err();
    assert!(err.to_string().contains("v1 Pod"));
}
