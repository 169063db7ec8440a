use super::{NETWORKING, Row, check_in};

const PORTS: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";

/// Fields of a ServiceEntry with one HTTP port.
fn check(rows: &[Row<'_>]) {
    let template = format!("{{{PORTS}, $}}");
    check_in(NETWORKING, "ServiceEntry", &template, "", rows);
}

/// Ports of a ServiceEntry.
fn check_ports(rows: &[Row<'_>]) {
    let template = "{hosts: [a.b], addresses: [192.0.2.1], resolution: STATIC, ports: [$]}";
    check_in(NETWORKING, "ServiceEntry", template, "", rows);
}

#[test]
fn hosts() {
    check(&[
        ("hosts: [a.b, '*.b']", &[]),
        ("hosts: []", &["spec.hosts: at least one host is required"]),
        ("hosts: [a, '*']", &[r#"spec.hosts[1]: "*" alone is not allowed; name a domain"#]),
        ("hosts: [a, '']", &["spec.hosts[1]: host is required"]),
    ]);
}

#[test]
fn addresses() {
    check(&[
        ("hosts: [a], addresses: [192.0.2.1, 192.0.2.0/24]", &[]),
        ("hosts: [a], addresses: [192.0.2.1, x]", &[r#"spec.addresses[1]: "x" is neither IP nor CIDR"#]),
    ]);
}

#[test]
fn export_to() {
    check(&[
        ("hosts: [a], exportTo: ['.']", &[]),
        (
            "hosts: [a], exportTo: ['a.b']",
            &[r#"spec.exportTo[0]: "a.b" is neither ".", "*" nor a namespace"#],
        ),
    ]);
}

#[test]
fn endpoints_are_named_or_selected() {
    check(&[
        ("hosts: [a], resolution: STATIC, workloadSelector: {labels: {a: b}}", &[]),
        ("hosts: [a], resolution: STATIC, endpoints: [{address: 192.0.2.1}]", &[]),
        (
            "hosts: [a], resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: [{address: 192.0.2.1}]",
            &["spec.endpoints: only one of workloadSelector and endpoints may be set"],
        ),
    ]);
}

#[test]
fn there_is_at_least_one_port() {
    check_ports(&[("", &["spec.ports: at least one port is required"])]);
}

#[test]
fn ports() {
    check_ports(&[
        ("{number: 80, name: a, protocol: TCP}, {number: 81, name: b}", &[]),
        ("{number: 80, name: a, targetPort: 8080}", &[]),
        ("{number: 0, name: a}", &["spec.ports[0].number: port number 0 must be in the range 1..65535"]),
        (
            "{number: 80, name: a, targetPort: 0}",
            &["spec.ports[0].targetPort: port number 0 must be in the range 1..65535"],
        ),
        ("{number: 80}", &["spec.ports[0].name: is required"]),
        ("{number: 80, name: a, protocol: SCTP}", &[r#"spec.ports[0].protocol: "SCTP" is not a protocol"#]),
        (
            "{number: 80, name: a}, {number: 81, name: b}, {number: 82, name: a}",
            &[r#"spec.ports[2].name: port name "a" is used twice"#],
        ),
        (
            "{number: 80, name: a}, {number: 81, name: b}, {number: 80, name: c}",
            &["spec.ports[2].number: port number 80 is used twice"],
        ),
    ]);
    for protocol in [
        "HTTP", "https", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "UDP", "MONGO", "MONGODB", "REDIS",
        "MYSQL", "THRIFT",
    ] {
        check_ports(&[(&format!("{{number: 80, name: a, protocol: {protocol}}}"), &[])]);
    }
}

#[test]
fn a_tcp_port_without_addresses_is_told() {
    const TAKES_ALL: &str =
        "warning: spec.addresses: a TCP port without addresses takes all traffic to that port number";
    let with = |protocol: &str, addresses: &str| {
        format!(
            "{{hosts: [a], addresses: {addresses}, ports: [{{number: 80, name: a, protocol: '{protocol}'}}]}}"
        )
    };
    check_in(
        NETWORKING,
        "ServiceEntry",
        "$",
        "",
        &[
            (&with("TCP", "[]"), &[TAKES_ALL]),
            (&with("tcp", "[]"), &[TAKES_ALL]),
            (&with("", "[]"), &[TAKES_ALL]),
            (&with("TCP", "[192.0.2.1]"), &[]),
            (&with("TLS", "[]"), &[]),
        ],
    );
}

#[test]
fn without_resolution_there_are_no_endpoints() {
    const EMPTY: &str = "spec.endpoints: must be empty for resolution NONE";
    check(&[
        ("hosts: [a], resolution: NONE", &[]),
        ("hosts: [a], endpoints: [{address: 192.0.2.1}]", &[EMPTY]),
        ("hosts: [a], resolution: NONE, endpoints: [{address: 192.0.2.1}]", &[EMPTY]),
    ]);
    let template =
        "{hosts: [a], resolution: $, ports: [{number: 80, name: a, protocol: HTTP, targetPort: 81}]}";
    check_in(
        NETWORKING,
        "ServiceEntry",
        template,
        "",
        &[
            ("NONE", &["warning: spec.ports: targetPort has no effect for resolution NONE"]),
            ("DNS", &["warning: spec.ports: targetPort has no effect for resolution DNS without endpoints"]),
            ("DNS, endpoints: [{address: a.example}]", &[]),
            ("DNS, workloadSelector: {labels: {a: b}}", &[]),
        ],
    );
}

#[test]
fn static_endpoints_are_addresses() {
    let with = |address: &str| {
        format!(
            "hosts: [a], resolution: STATIC, endpoints: [{{address: 192.0.2.1}}, {{address: '{address}'}}]"
        )
    };
    check(&[
        (&with("2001:db8::1"), &[]),
        (&with("unix:///run/x"), &[]),
        (&with("b.com"), &["spec.endpoints[1].address: must be an IP or unix:// for resolution STATIC"]),
        (&with(""), &["spec.endpoints[1].address: is required"]),
    ]);
}

#[test]
fn a_wildcard_cannot_be_asked_of_dns() {
    const WILDCARD: &str = "spec.hosts: a wildcard host needs endpoints for resolution DNS";
    check(&[
        ("hosts: [a], resolution: DNS", &[]),
        ("hosts: [a, '*.b'], resolution: DNS", &[WILDCARD]),
        ("hosts: ['*.b'], resolution: DNS, endpoints: [{address: b.com}]", &[]),
        ("hosts: ['*.b'], resolution: DNS, workloadSelector: {labels: {a: b}}", &[]),
        ("hosts: ['*.b'], resolution: STATIC", &[]),
    ]);
}

#[test]
fn ports_of_endpoints_are_ports_of_the_service() {
    let with = |ports: &str| {
        format!("hosts: [a], resolution: STATIC, endpoints: [{{address: 192.0.2.1, ports: {ports}}}]")
    };
    check(&[
        (&with("{http: 8080}"), &[]),
        (
            &with("{http: 8080, other: 1}"),
            &[r#"spec.endpoints[0].ports[other]: no port of the service is named "other""#],
        ),
        (&with("{http: 0}"), &["spec.endpoints[0].ports[http]: port number 0 must be in the range 1..65535"]),
    ]);
}

#[test]
fn workload_entries() {
    check_in(
        NETWORKING,
        "WorkloadEntry",
        "{$}",
        "",
        &[
            ("address: 192.0.2.1, ports: {http: 80}, labels: {a: b}", &[]),
            ("address: a.b", &[]),
            ("address: unix:///run/x", &[]),
            ("address: ''", &["spec.address: is required"]),
            ("address: 'a:80'", &[r#"spec.address: "a:80" is neither an IP nor a DNS name"#]),
            ("address: unix://run/x", &["spec.address: a unix:// address must be an absolute path"]),
            (
                "address: unix:///run/x, ports: {http: 80}",
                &["spec.ports: must be empty for a unix:// address"],
            ),
            (
                "address: 192.0.2.1, ports: {http: 70000}",
                &["spec.ports[http]: port number 70000 must be in the range 1..65535"],
            ),
            ("address: 192.0.2.1, labels: {a: '*'}", &[r#"spec.labels[a]: "*" is not a label value"#]),
        ],
    );
}
