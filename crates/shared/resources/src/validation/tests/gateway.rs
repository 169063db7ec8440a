use super::{NETWORKING, Row, check_in};

fn check(rows: &[Row<'_>]) {
    check_in(NETWORKING, "Gateway", "$", "", rows);
}

/// A server of a gateway.
fn check_server(rows: &[Row<'_>]) {
    check_in(NETWORKING, "Gateway", "{selector: {a: b}, servers: [{$}]}", "spec.servers[0]", rows);
}

const PORT: &str = "port: {number: 80, name: http, protocol: HTTP}";

#[test]
fn a_gateway_has_servers_and_a_selector() {
    check(&[
        (&format!("{{selector: {{a: b}}, servers: [{{{PORT}, hosts: [a]}}]}}"), &[]),
        ("{selector: {a: b}}", &["spec.servers: at least one server is required"]),
        (
            &format!("{{servers: [{{{PORT}, hosts: [a]}}]}}"),
            &["warning: spec.selector: is empty: the gateway applies to every gateway proxy"],
        ),
    ]);
}

#[test]
fn port_names_are_used_once() {
    let with = |names: [&str; 3]| {
        let server =
            |name: &str| format!("{{port: {{number: 80, name: '{name}', protocol: HTTP}}, hosts: [a]}}");
        format!("{{selector: {{a: b}}, servers: [{}]}}", names.map(server).join(", "))
    };
    check(&[
        (&with(["a", "b", "c"]), &[]),
        (
            &with(["a", "b", "a"]),
            &[r#"spec.servers[2].port.name: port name "a" is used twice in this gateway"#],
        ),
        (
            &with(["a", "", ""]),
            &["spec.servers[1].port.name: is required", "spec.servers[2].port.name: is required"],
        ),
    ]);
}

#[test]
fn a_server_has_a_port_with_name_number_and_protocol() {
    check_server(&[
        ("hosts: [a]", &["$.port: is required"]),
        ("port: {number: 80, protocol: HTTP}, hosts: [a]", &["$.port.name: is required"]),
        (
            "port: {number: 0, name: x, protocol: HTTP}, hosts: [a]",
            &["$.port.number: port number 0 must be in the range 1..65535"],
        ),
        (
            "port: {number: 80, name: x, protocol: UDP}, hosts: [a]",
            &[r#"$.port.protocol: "UDP" is not one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP, TLS"#],
        ),
    ]);
    for protocol in ["HTTP", "http", "GRPC", "GRPC-WEB", "HTTP2", "MONGO", "TCP"] {
        check_server(&[(&format!("port: {{number: 80, name: x, protocol: {protocol}}}, hosts: [a]"), &[])]);
    }
    for protocol in ["HTTPS", "TLS"] {
        let server = format!(
            "port: {{number: 80, name: x, protocol: {protocol}}}, hosts: [a], tls: {{mode: PASSTHROUGH}}"
        );
        check_server(&[(&server, &[])]);
    }
}

#[test]
fn hosts() {
    let with = |hosts: &str| format!("{PORT}, hosts: {hosts}");
    check_server(&[
        (&with("[a, '*', '*.b', 192.0.2.1, ./a, '*/a', ns/a, ns/192.0.2.1]"), &[]),
        (&with("[]"), &["$.hosts: at least one host is required"]),
        (&with("[a, '']"), &["$.hosts[1]: host is required"]),
        (&with("[ns/]"), &["$.hosts[0]: host is required"]),
        (
            &with("[a, 'b.*']"),
            &[r#"$.hosts[1]: "b.*" is not a DNS name (a wildcard may only be the first label)"#],
        ),
        (&with("['~/a']"), &[r#"$.hosts[0]: "~" is neither "*", "." nor a namespace"#]),
        (&with("[/a]"), &[r#"$.hosts[0]: "" is neither "*", "." nor a namespace"#]),
    ]);
}

#[test]
fn bind_addresses() {
    let with = |bind: &str| format!("{PORT}, hosts: [a], bind: '{bind}'");
    check_server(&[
        (&with("192.0.2.1"), &[]),
        (&with("::1"), &[]),
        (&with("unix:///run/x"), &[]),
        (&with("a.b"), &[r#"$.bind: "a.b" is neither an IP nor unix://"#]),
    ]);
}

/// TLS settings of a server that terminates TLS.
fn check_tls(rows: &[Row<'_>]) {
    let server = "port: {number: 443, name: x, protocol: HTTPS}, hosts: [a]";
    let template = format!("{{selector: {{a: b}}, servers: [{{{server}, tls: {{$}}}}]}}");
    check_in(NETWORKING, "Gateway", &template, "spec.servers[0].tls", rows);
}

#[test]
fn protocols_that_terminate_need_tls() {
    for protocol in ["HTTPS", "TLS", "https"] {
        let server = format!("port: {{number: 443, name: x, protocol: {protocol}}}, hosts: [a]");
        check_server(&[(&server, &["$.tls: is required for HTTPS and TLS"])]);
    }
}

#[test]
fn protocols_without_tls_ignore_its_mode() {
    for protocol in ["HTTP", "HTTP2", "GRPC"] {
        let with = |tls: &str| {
            format!("port: {{number: 80, name: x, protocol: {protocol}}}, hosts: [a], tls: {tls}")
        };
        let ignored = format!("warning: $.tls.mode: is ignored for protocol {protocol}");
        check_server(&[
            (&with("{httpsRedirect: true}"), &[]),
            (&with("{serverCertificate: a}"), &[]),
            (&with("{mode: SIMPLE}"), &[&ignored]),
            (
                &with("{mode: ISTIO_MUTUAL, credentialName: c}"),
                &[
                    "$.tls: mode ISTIO_MUTUAL uses the gateway's own certificate; remove the certificate fields",
                    &ignored,
                ],
            ),
        ]);
    }
}

#[test]
fn other_protocols_check_tls_but_need_no_material() {
    let with = |tls: &str| format!("port: {{number: 80, name: x, protocol: TCP}}, hosts: [a], tls: {tls}");
    check_server(&[
        (&with("{mode: SIMPLE}"), &[]),
        (&with("{mode: MUTUAL}"), &[]),
        (
            &with("{serverCertificate: a}"),
            &["$.tls: mode PASSTHROUGH does not terminate TLS; remove the certificate fields"],
        ),
    ]);
}

#[test]
fn modes_have_the_material_that_they_use() {
    const SIMPLE: &str = "$: mode SIMPLE needs credentialName, or serverCertificate and privateKey";
    const OWN: &str =
        "$: mode ISTIO_MUTUAL uses the gateway's own certificate; remove the certificate fields";
    check_tls(&[
        ("mode: SIMPLE, credentialName: c", &[]),
        ("mode: SIMPLE, serverCertificate: a, privateKey: b", &[]),
        ("mode: SIMPLE", &[SIMPLE]),
        ("mode: SIMPLE, credentialName: ''", &[SIMPLE]),
        ("mode: SIMPLE, serverCertificate: a", &[SIMPLE]),
        ("mode: SIMPLE, privateKey: b", &[SIMPLE]),
        ("mode: MUTUAL, credentialName: c", &[]),
        ("mode: MUTUAL, serverCertificate: a, privateKey: b, caCertificates: d", &[]),
        (
            "mode: MUTUAL, serverCertificate: a, privateKey: b",
            &["$.caCertificates: is required for mode MUTUAL without credentialName"],
        ),
        (
            "mode: MUTUAL, caCertificates: d",
            &["$: mode MUTUAL needs credentialName, or serverCertificate and privateKey"],
        ),
        ("mode: ISTIO_MUTUAL", &[]),
        ("mode: ISTIO_MUTUAL, credentialName: c", &[OWN]),
        ("mode: ISTIO_MUTUAL, serverCertificate: a", &[OWN]),
        ("mode: ISTIO_MUTUAL, privateKey: a", &[OWN]),
        ("mode: ISTIO_MUTUAL, caCertificates: a", &[OWN]),
    ]);
    for mode in ["PASSTHROUGH", "AUTO_PASSTHROUGH"] {
        let refused = format!("$: mode {mode} does not terminate TLS; remove the certificate fields");
        check_tls(&[
            (&format!("mode: {mode}"), &[]),
            (&format!("mode: {mode}, caCertificates: a"), &[]),
            (&format!("mode: {mode}, credentialName: c"), &[&refused]),
            (&format!("mode: {mode}, serverCertificate: a"), &[&refused]),
            (&format!("mode: {mode}, privateKey: a"), &[&refused]),
        ]);
    }
}

/// What would keep somebody out is not taken where nobody looks at it.
#[test]
fn mesh_tls_has_no_restrictions_of_its_own() {
    check_tls(&[
        (
            "mode: ISTIO_MUTUAL, subjectAltNames: [a]",
            &[
                "$.subjectAltNames: mode ISTIO_MUTUAL lets in whoever the mesh knows; use an AuthorizationPolicy",
            ],
        ),
        (
            "mode: ISTIO_MUTUAL, minProtocolVersion: TLSV1_3",
            &["$.minProtocolVersion: is TLSV1_2 for mode ISTIO_MUTUAL"],
        ),
        ("mode: ISTIO_MUTUAL, minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_3", &[]),
        ("mode: ISTIO_MUTUAL, maxProtocolVersion: TLS_AUTO", &[]),
        (
            "mode: ISTIO_MUTUAL, maxProtocolVersion: TLSV1_2",
            &["$.maxProtocolVersion: is TLSV1_3 for mode ISTIO_MUTUAL"],
        ),
        ("mode: MUTUAL, credentialName: c, subjectAltNames: [a], maxProtocolVersion: TLSV1_2", &[]),
    ]);
}

#[test]
fn protocol_versions_are_a_range() {
    let with = |min: &str, max: &str| {
        format!("mode: PASSTHROUGH, minProtocolVersion: {min}, maxProtocolVersion: {max}")
    };
    check_tls(&[
        (&with("TLSV1_2", "TLSV1_3"), &[]),
        (&with("TLSV1_2", "TLSV1_2"), &[]),
        (&with("TLSV1_2", "TLS_AUTO"), &[]),
        (&with("TLS_AUTO", "TLSV1_0"), &[]),
        (
            &with("TLSV1_3", "TLSV1_2"),
            &["$.minProtocolVersion: TLSV1_3 is higher than maxProtocolVersion TLSV1_2"],
        ),
        ("mode: PASSTHROUGH, minProtocolVersion: TLSV1_3", &[]),
    ]);
}
