use super::{NETWORKING, Row, check_in};

fn check(rows: &[Row<'_>]) {
    check_in(NETWORKING, "Sidecar", "{$}", "", rows);
}

#[test]
fn a_sidecar_says_something() {
    check(&[
        ("", &["spec: ingress, egress or outboundTrafficPolicy is required"]),
        (
            "workloadSelector: {labels: {a: b}}",
            &["spec: ingress, egress or outboundTrafficPolicy is required"],
        ),
        ("egress: [{hosts: ['*/*']}]", &[]),
        ("ingress: [{port: {number: 80}}]", &[]),
        ("outboundTrafficPolicy: {mode: ALLOW_ANY}", &[]),
        (
            "workloadSelector: {labels: {a: '*'}}, egress: [{hosts: ['*/*']}]",
            &[r#"spec.workloadSelector.labels[a]: "*" is not a label value"#],
        ),
    ]);
}

#[test]
fn ingress_ports_are_given_and_used_once() {
    check(&[
        ("ingress: [{port: {number: 80}}, {port: {number: 81}}]", &[]),
        ("ingress: [{port: {number: 80}}, {}]", &["spec.ingress[1].port: is required"]),
        (
            "ingress: [{port: {number: 0}}]",
            &["spec.ingress[0].port.number: port number 0 must be in the range 1..65535"],
        ),
        (
            "ingress: [{port: {number: 80}}, {port: {number: 81}}, {port: {number: 80}}]",
            &["spec.ingress[2].port.number: port 80 is used twice"],
        ),
    ]);
}

#[test]
fn default_endpoints() {
    let with = |endpoint: &str| format!("ingress: [{{port: {{number: 80}}, defaultEndpoint: '{endpoint}'}}]");
    for good in ["", "127.0.0.1:8080", "0.0.0.0:1", "0.0.0.0:65535", "unix:///run/x"] {
        check(&[(&with(good), &[])]);
    }
    for bad in [
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:x",
        "192.0.2.1:80",
        ":80",
        "unix://run/x",
        "/run/x",
    ] {
        check(&[(
            &with(bad),
            &[
                "spec.ingress[0].defaultEndpoint: must be 127.0.0.1:PORT, 0.0.0.0:PORT or unix:///path/to/socket",
            ],
        )]);
    }
}

#[test]
fn only_the_last_egress_listener_is_without_port() {
    check(&[
        ("egress: [{port: {number: 80}, hosts: ['*/*']}, {hosts: ['*/*']}]", &[]),
        (
            "egress: [{hosts: ['*/*']}, {port: {number: 80}, hosts: ['*/*']}]",
            &["spec.egress[0]: only the last egress listener may be without a port"],
        ),
        (
            "egress: [{hosts: ['*/*']}, {hosts: ['*/*']}]",
            &["spec.egress[0]: only the last egress listener may be without a port"],
        ),
        (
            "egress: [{port: {number: 70000}, hosts: ['*/*']}]",
            &["spec.egress[0].port.number: port number 70000 must be in the range 1..65535"],
        ),
    ]);
}

#[test]
fn egress_hosts_are_of_a_namespace() {
    let with = |hosts: &str| format!("egress: [{{hosts: {hosts}}}]");
    check(&[
        (&with("['*/*', ./a.b, ~/a, ns/*.b]"), &[]),
        (&with("[]"), &["spec.egress[0].hosts: at least one host is required"]),
        (&with("['*/*', a.b]"), &[r#"spec.egress[0].hosts[1]: "a.b" must have the form namespace/host"#]),
        (&with("['a b/*']"), &[r#"spec.egress[0].hosts[0]: "a b" is neither "*", ".", "~" nor a namespace"#]),
        (&with("[/a]"), &[r#"spec.egress[0].hosts[0]: "" is neither "*", ".", "~" nor a namespace"#]),
        (&with("[ns/]"), &["spec.egress[0].hosts[0]: host is required"]),
    ]);
}
