use super::{NETWORKING, Row, check_in};

fn check(rows: &[Row<'_>]) {
    check_in(NETWORKING, "DestinationRule", "$", "", rows);
}

/// Fields of the traffic policy, wherever one may stand.
fn check_policy(rows: &[Row<'_>]) {
    for (template, prefix) in [
        ("{host: a, trafficPolicy: {$}}", "spec.trafficPolicy"),
        ("{host: a, subsets: [{name: v1, trafficPolicy: {$}}]}", "spec.subsets[0].trafficPolicy"),
    ] {
        check_in(NETWORKING, "DestinationRule", template, prefix, rows);
    }
    check_in(
        NETWORKING,
        "DestinationRule",
        "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}, $}]}}",
        "spec.trafficPolicy.portLevelSettings[0]",
        rows,
    );
}

#[test]
fn host() {
    check(&[
        ("{host: a}", &[]),
        ("{host: '*.a'}", &[]),
        ("{host: 192.0.2.1}", &[]),
        ("{host: ''}", &["spec.host: host is required"]),
        (
            "{host: 'a b'}",
            &[r#"spec.host: "a b" is not a DNS name (a wildcard may only be the first label)"#],
        ),
    ]);
}

#[test]
fn export_to() {
    check(&[
        ("{host: a, exportTo: ['*']}", &[]),
        ("{host: a, exportTo: ['*', b]}", &[r#"spec.exportTo: "*" cannot be mixed with other namespaces"#]),
    ]);
}

#[test]
fn subsets() {
    check(&[
        ("{host: a, subsets: [{name: v1, labels: {version: v1}}, {name: v2}]}", &[]),
        ("{host: a, subsets: [{name: ''}]}", &[r#"spec.subsets[0].name: "" is not a subset name"#]),
        ("{host: a, subsets: [{name: 'v 1'}]}", &[r#"spec.subsets[0].name: "v 1" is not a subset name"#]),
        (
            "{host: a, subsets: [{name: v1}, {name: v2}, {name: v1}]}",
            &[r#"spec.subsets[2].name: subset "v1" is defined twice"#],
        ),
        (
            "{host: a, subsets: [{name: v1, labels: {version: '*'}}]}",
            &[r#"spec.subsets[0].labels[version]: "*" is not a label value"#],
        ),
    ]);
}

#[test]
fn a_policy_says_something() {
    check(&[
        ("{host: a, trafficPolicy: {}}", &["spec.trafficPolicy: must have at least one field"]),
        (
            "{host: a, subsets: [{name: v1, trafficPolicy: {}}]}",
            &["spec.subsets[0].trafficPolicy: must have at least one field"],
        ),
        ("{host: a, trafficPolicy: {loadBalancer: {}}}", &[]),
        ("{host: a, trafficPolicy: {connectionPool: {tcp: {}}}}", &[]),
        ("{host: a, trafficPolicy: {outlierDetection: {}}}", &[]),
        ("{host: a, trafficPolicy: {tls: {mode: DISABLE}}}", &[]),
        ("{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}}]}}", &[]),
    ]);
}

#[test]
fn settings_of_ports_name_their_port() {
    check(&[
        (
            "{host: a, trafficPolicy: {portLevelSettings: [{}]}}",
            &["spec.trafficPolicy.portLevelSettings[0].port: is required"],
        ),
        (
            "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 80}}, {port: {number: 0}}]}}",
            &[
                "spec.trafficPolicy.portLevelSettings[1].port.number: port number 0 must be in the range 1..65535",
            ],
        ),
    ]);
}

#[test]
fn load_balancers() {
    check_policy(&[
        ("loadBalancer: {simple: RANDOM}", &[]),
        ("loadBalancer: {consistentHash: {useSourceIp: true}}", &[]),
        (
            "loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}",
            &["$.loadBalancer: only one of simple, consistentHash may be set"],
        ),
        (
            "loadBalancer: {consistentHash: {}}",
            &[
                "$.loadBalancer.consistentHash: one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName is required",
            ],
        ),
        ("loadBalancer: {consistentHash: {httpHeaderName: x}}", &[]),
        ("loadBalancer: {consistentHash: {httpQueryParameterName: x}}", &[]),
        (
            "loadBalancer: {consistentHash: {httpHeaderName: x, httpQueryParameterName: x}}",
            &["$.loadBalancer.consistentHash: only one of httpHeaderName, httpQueryParameterName may be set"],
        ),
    ]);
}

#[test]
fn hash_cookies() {
    let with = |fields: &str| format!("loadBalancer: {{consistentHash: {{httpCookie: {{{fields}}}}}}}");
    check_policy(&[
        (&with("name: x, ttl: 0s"), &[]),
        (&with("ttl: 5s"), &["$.loadBalancer.consistentHash.httpCookie.name: is required"]),
        (&with("name: x"), &["$.loadBalancer.consistentHash.httpCookie.ttl: is required"]),
        (
            &with("name: x, ttl: x"),
            &[
                r#"$.loadBalancer.consistentHash.httpCookie.ttl: "x" is not a duration; write for example 5s or 100ms"#,
            ],
        ),
    ]);
}

#[test]
fn localities() {
    let with = |fields: &str| format!("loadBalancer: {{localityLbSetting: {{{fields}}}}}");
    check_policy(&[
        (&with("enabled: true"), &[]),
        (&with("distribute: [{from: a, to: {b: 40, c: 60}}]"), &[]),
        (
            &with("distribute: [{from: a, to: {b: 100}}, {from: b, to: {b: 40, c: 61}}]"),
            &["$.loadBalancer.localityLbSetting.distribute[1].to: total weight 101 != 100"],
        ),
        (
            &with("distribute: [{from: a}]"),
            &["$.loadBalancer.localityLbSetting.distribute[0].to: total weight 0 != 100"],
        ),
        (&with("failover: [{from: a, to: b}]"), &[]),
        (
            &with("failover: [{from: a, to: b}, {from: a, to: a}]"),
            &["$.loadBalancer.localityLbSetting.failover[1]: from and to must differ"],
        ),
        (
            &with("failover: [{from: a/x, to: b}]"),
            &["$.loadBalancer.localityLbSetting.failover[0]: regions only, without zone"],
        ),
        (
            &with("failover: [{from: a, to: b/x}]"),
            &["$.loadBalancer.localityLbSetting.failover[0]: regions only, without zone"],
        ),
        (
            &with("distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}]"),
            &["$.loadBalancer.localityLbSetting: only one of distribute, failover may be set"],
        ),
    ]);
}

#[test]
fn connection_pools() {
    check_policy(&[
        ("connectionPool: {}", &["$.connectionPool: tcp or http is required"]),
        ("connectionPool: {tcp: {}}", &[]),
        ("connectionPool: {http: {}}", &[]),
        ("connectionPool: {tcp: {maxConnections: 0, connectTimeout: 1ms}}", &[]),
        (
            "connectionPool: {tcp: {maxConnections: -1}}",
            &["$.connectionPool.tcp.maxConnections: must not be negative"],
        ),
        (
            "connectionPool: {tcp: {connectTimeout: 0s}}",
            &["$.connectionPool.tcp.connectTimeout: 0s is too short; the least is 1ms"],
        ),
        ("connectionPool: {tcp: {tcpKeepalive: {time: 1s, interval: 1s}}}", &[]),
        (
            "connectionPool: {tcp: {tcpKeepalive: {time: 999ms}}}",
            &["$.connectionPool.tcp.tcpKeepalive.time: 999ms is too short; the least is 1s"],
        ),
        (
            "connectionPool: {tcp: {tcpKeepalive: {interval: 999ms}}}",
            &["$.connectionPool.tcp.tcpKeepalive.interval: 999ms is too short; the least is 1s"],
        ),
        ("connectionPool: {http: {idleTimeout: 0s}}", &[]),
        (
            "connectionPool: {http: {idleTimeout: x}}",
            &[r#"$.connectionPool.http.idleTimeout: "x" is not a duration; write for example 5s or 100ms"#],
        ),
    ]);
    for field in ["http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "maxRetries"] {
        let negative = format!("$.connectionPool.http.{field}: must not be negative");
        check_policy(&[
            (&format!("connectionPool: {{http: {{{field}: 0}}}}"), &[]),
            (&format!("connectionPool: {{http: {{{field}: -1}}}}"), &[&negative]),
        ]);
    }
}

#[test]
fn the_clients_protocol_is_not_upgraded() {
    let with = |upgrade: &str, client: bool| {
        format!("connectionPool: {{http: {{h2UpgradePolicy: {upgrade}, useClientProtocol: {client}}}}}")
    };
    check_policy(&[
        (
            &with("UPGRADE", true),
            &["$.connectionPool.http.useClientProtocol: cannot be used with h2UpgradePolicy UPGRADE"],
        ),
        (&with("UPGRADE", false), &[]),
        (&with("DO_NOT_UPGRADE", true), &[]),
    ]);
}

#[test]
fn outlier_detection() {
    check_policy(&[
        (
            "outlierDetection: {interval: 1ms, baseEjectionTime: 1ms, maxEjectionPercent: 100, minHealthPercent: 0}",
            &[],
        ),
        (
            "outlierDetection: {interval: 0s}",
            &["$.outlierDetection.interval: 0s is too short; the least is 1ms"],
        ),
        (
            "outlierDetection: {baseEjectionTime: 0s}",
            &["$.outlierDetection.baseEjectionTime: 0s is too short; the least is 1ms"],
        ),
        (
            "outlierDetection: {maxEjectionPercent: 101}",
            &["$.outlierDetection.maxEjectionPercent: 101 must be in the range 0..100"],
        ),
        (
            "outlierDetection: {minHealthPercent: -1}",
            &["$.outlierDetection.minHealthPercent: -1 must be in the range 0..100"],
        ),
        ("outlierDetection: {consecutiveErrors: 0}", &[]),
        (
            "outlierDetection: {consecutiveErrors: 5}",
            &[
                "warning: $.outlierDetection.consecutiveErrors: is deprecated; use consecutiveGatewayErrors or consecutive5xxErrors",
            ],
        ),
    ]);
}

#[test]
fn client_tls_has_the_material_of_its_mode() {
    const BOTH: &str = "$.tls: credentialName excludes clientCertificate, privateKey and caCertificates";
    const OWN: &str =
        "$.tls: mode ISTIO_MUTUAL uses the workload's own certificate; remove the certificate fields";
    const UNVERIFIED: &str =
        "warning: $.tls: without caCertificates the server's certificate is not verified";
    check_policy(&[
        ("tls: {mode: DISABLE, clientCertificate: a, credentialName: b}", &[]),
        ("tls: {mode: MUTUAL, clientCertificate: a, privateKey: b}", &[]),
        ("tls: {mode: MUTUAL, privateKey: b}", &["$.tls.clientCertificate: is required for mode MUTUAL"]),
        ("tls: {mode: MUTUAL, clientCertificate: a}", &["$.tls.privateKey: is required for mode MUTUAL"]),
        (
            "tls: {mode: MUTUAL, clientCertificate: '', privateKey: ''}",
            &[
                "$.tls.clientCertificate: is required for mode MUTUAL",
                "$.tls.privateKey: is required for mode MUTUAL",
            ],
        ),
        ("tls: {mode: MUTUAL, credentialName: c}", &[]),
        ("tls: {mode: MUTUAL, credentialName: c, clientCertificate: a}", &[BOTH]),
        ("tls: {mode: MUTUAL, credentialName: c, privateKey: a}", &[BOTH]),
        ("tls: {mode: SIMPLE, credentialName: c}", &[]),
        ("tls: {mode: SIMPLE, credentialName: c, caCertificates: a}", &[BOTH]),
        ("tls: {mode: SIMPLE, caCertificates: a}", &[]),
        ("tls: {mode: SIMPLE}", &[UNVERIFIED]),
        ("tls: {mode: ISTIO_MUTUAL}", &[]),
        ("tls: {mode: ISTIO_MUTUAL, credentialName: c}", &[OWN]),
        ("tls: {mode: ISTIO_MUTUAL, clientCertificate: a}", &[OWN]),
        ("tls: {mode: ISTIO_MUTUAL, privateKey: a}", &[OWN]),
        ("tls: {mode: ISTIO_MUTUAL, caCertificates: a}", &[OWN]),
    ]);
}
