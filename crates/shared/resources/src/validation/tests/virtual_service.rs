use super::{NETWORKING, Row, check_in};

fn check(rows: &[Row<'_>]) {
    check_in(NETWORKING, "VirtualService", "$", "", rows);
}

/// Fields of an HTTP route that has a destination; `$` in findings is `spec.http[0]`.
fn check_http(rows: &[Row<'_>]) {
    let template = "{hosts: [a], http: [{route: [{destination: {host: a}}], $}]}";
    check_in(NETWORKING, "VirtualService", template, "spec.http[0]", rows);
}

/// Fields of one HTTP match.
fn check_match(rows: &[Row<'_>]) {
    let template = "{hosts: [a], http: [{match: [{$}], route: [{destination: {host: a}}]}]}";
    check_in(NETWORKING, "VirtualService", template, "spec.http[0].match[0]", rows);
}

/// A whole HTTP route.
fn check_route(rows: &[Row<'_>]) {
    check_in(NETWORKING, "VirtualService", "{hosts: [a], http: [{$}]}", "spec.http[0]", rows);
}

const HTTP: &str = "http: [{route: [{destination: {host: a}}]}]";

#[test]
fn hosts() {
    let with = |hosts: &str| format!("{{hosts: {hosts}, {HTTP}}}");
    let bound = |hosts: &str| format!("{{hosts: {hosts}, gateways: [g], {HTTP}}}");
    const STAR: &str =
        "spec.hosts[0]: host * is not allowed for virtual services in the mesh; bind the object to a gateway";
    check(&[
        (&with("[a]"), &[]),
        (&with("[a.b, '*.b', 192.0.2.1]"), &[]),
        (&with("[a, '']"), &["spec.hosts[1]: host is required"]),
        (
            &with("['a.*']"),
            &[r#"spec.hosts[0]: "a.*" is not a DNS name (a wildcard may only be the first label)"#],
        ),
        (&with("['*']"), &[STAR]),
        (&bound("['*']"), &[]),
        (&format!("{{hosts: ['*'], gateways: [g, mesh], {HTTP}}}"), &[STAR]),
        (&with("[a, b, a]"), &[r#"spec.hosts[2]: "a" is listed twice"#]),
    ]);
}

#[test]
fn gateways() {
    let with = |gateway: &str| format!("{{hosts: [a], gateways: ['{gateway}'], {HTTP}}}");
    check(&[
        (&with("g"), &[]),
        (&with("ns/g"), &[]),
        (&with("mesh"), &[]),
        (&with("a/b/c"), &[r#"spec.gateways[0]: "a/b/c" is not [namespace/]name"#]),
        (&with("ns/"), &[r#"spec.gateways[0]: "ns/" is not [namespace/]name"#]),
        (&with("a b"), &[r#"spec.gateways[0]: "a b" is not [namespace/]name"#]),
        (&with(""), &[r#"spec.gateways[0]: "" is not [namespace/]name"#]),
    ]);
}

#[test]
fn there_is_at_least_one_route() {
    const MISSING: &[&str] = &["spec: http, tcp or tls must be provided"];
    check(&[
        ("{hosts: [a]}", MISSING),
        ("{hosts: [a], http: []}", MISSING),
        (&format!("{{hosts: [a], {HTTP}}}"), &[]),
        ("{hosts: [a], tcp: [{route: [{destination: {host: a}}]}]}", &[]),
        ("{hosts: [a], tls: [{match: [{sniHosts: [a]}], route: [{destination: {host: a}}]}]}", &[]),
    ]);
}

#[test]
fn a_delegate_has_http_rules_alone() {
    const ALONE: &str =
        "spec.hosts: must have at least one host (only a delegate with http rules alone may have none)";
    check(&[
        (&format!("{{{HTTP}}}"), &[]),
        ("{}", &[ALONE]),
        (&format!("{{gateways: [g], {HTTP}}}"), &[ALONE]),
        (&format!("{{tcp: [{{route: [{{destination: {{host: a}}}}]}}], {HTTP}}}"), &[ALONE]),
        (
            &format!(
                "{{tls: [{{match: [{{sniHosts: [a]}}], route: [{{destination: {{host: a}}}}]}}], {HTTP}}}"
            ),
            &[ALONE],
        ),
        (
            "{http: [{route: [{destination: {host: a}}], match: [{port: 1}]}, {delegate: {name: x}}]}",
            &["spec.http[1].delegate: a delegate may not delegate further"],
        ),
        ("{hosts: [a], http: [{delegate: {name: x}}]}", &[]),
    ]);
}

#[test]
fn export_to() {
    check(&[
        (&format!("{{hosts: [a], exportTo: ['.'], {HTTP}}}"), &[]),
        (
            &format!("{{hosts: [a], exportTo: ['.', '.'], {HTTP}}}"),
            &[r#"spec.exportTo[1]: "." is listed twice"#],
        ),
    ]);
}

#[test]
fn routes_behind_one_that_matches_everything_are_told() {
    const A: &str = "{match: [{port: 80}], route: [{destination: {host: a}}]}";
    const ALL: &str = "{route: [{destination: {host: a}}]}";
    let with = |routes: &[&str]| format!("{{hosts: [a], http: [{}]}}", routes.join(", "));
    check(&[
        (&with(&[A, A, ALL]), &[]),
        (
            &with(&[A, ALL, A, ALL]),
            &[
                "warning: spec.http[2]: is never reached: spec.http[1] matches every request",
                "warning: spec.http[3]: is never reached: spec.http[1] matches every request",
            ],
        ),
    ]);
}

#[test]
fn an_http_route_does_one_thing() {
    check_route(&[
        ("route: [{destination: {host: a}}]", &[]),
        ("redirect: {uri: /x}", &[]),
        ("delegate: {name: x}", &[]),
        ("name: x", &["$: one of route, redirect, delegate is required"]),
        (
            "route: [{destination: {host: a}}], redirect: {uri: /x}",
            &["$: only one of route, redirect may be set"],
        ),
        (
            "route: [{destination: {host: a}}], delegate: {name: x}",
            &["$: only one of route, delegate may be set"],
        ),
        ("redirect: {uri: /x}, delegate: {name: x}", &["$: only one of redirect, delegate may be set"]),
    ]);
}

#[test]
fn redirects() {
    check_route(&[
        ("redirect: {authority: b}", &[]),
        ("redirect: {uri: /x, authority: b, redirectCode: 308}", &[]),
        ("redirect: {}", &["$.redirect: uri or authority is required"]),
        (
            "redirect: {uri: /x, redirectCode: 304}",
            &["$.redirect.redirectCode: 304 is not one of 301, 302, 303, 307, 308"],
        ),
        (
            "redirect: {uri: /x}, fault: {abort: {httpStatus: 500}}",
            &["$.fault: cannot be used with a redirect"],
        ),
        ("redirect: {uri: /x}, rewrite: {uri: /y}", &["$.rewrite: cannot be used with a redirect"]),
    ]);
    for code in [0, 301, 302, 303, 307, 308] {
        check_route(&[(&format!("redirect: {{uri: /x, redirectCode: {code}}}"), &[])]);
    }
}

#[test]
fn delegates_and_rewrites_say_where_to() {
    check_route(&[
        ("delegate: {}", &["$.delegate.name: is required"]),
        ("delegate: {name: ''}", &["$.delegate.name: is required"]),
        ("delegate: {namespace: b, name: x}", &[]),
    ]);
    check_http(&[
        ("rewrite: {uri: /x}", &[]),
        ("rewrite: {authority: b}", &[]),
        ("rewrite: {}", &["$.rewrite: uri or authority is required"]),
        ("fault: {abort: {httpStatus: 500}}", &[]),
    ]);
}

#[test]
fn timeouts_may_be_zero() {
    check_http(&[
        ("timeout: 0s", &[]),
        ("timeout: 5s", &[]),
        ("timeout: fast", &[r#"$.timeout: "fast" is not a duration; write for example 5s or 100ms"#]),
    ]);
}

#[test]
fn retries() {
    check_http(&[
        ("retries: {attempts: 3}", &[]),
        ("retries: {attempts: 0}", &[]),
        ("retries: {attempts: -1}", &["$.retries.attempts: must not be negative"]),
        ("retries: {attempts: 1, perTryTimeout: 1ms}", &[]),
        (
            "retries: {attempts: 1, perTryTimeout: 0s}",
            &["$.retries.perTryTimeout: 0s is too short; the least is 1ms"],
        ),
    ]);
    for field in ["perTryTimeout: 1s", "retryOn: 5xx", "retryRemoteLocalities: true"] {
        check_http(&[
            (
                &format!("retries: {{attempts: 0, {field}}}"),
                &["$.retries.attempts: attempts 0 turns retries off and excludes the other fields"],
            ),
            (&format!("retries: {{attempts: 1, {field}}}"), &[]),
        ]);
    }
}

#[test]
fn retry_conditions_are_those_of_envoy_or_a_status() {
    let with = |condition: &str| format!("retries: {{attempts: 1, retryOn: '{condition}'}}");
    for good in [
        "5xx",
        "gateway-error",
        "reset",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
        "100",
        "599",
        "5xx, 503,reset",
    ] {
        check_http(&[(&with(good), &[])]);
    }
    for bad in ["4xx", "99", "600", "5XX", ""] {
        let text = format!("$.retries.retryOn: {bad:?} is neither a retry condition nor a status code");
        check_http(&[(&with(bad), &[&text]), (&with(&format!("5xx,{bad}")), &[&text])]);
    }
}

#[test]
fn faults() {
    check_http(&[
        ("fault: {}", &["$.fault: delay or abort is required"]),
        ("fault: {delay: {fixedDelay: 1ms}}", &[]),
        ("fault: {delay: {}}", &["$.fault.delay.fixedDelay: is required"]),
        (
            "fault: {delay: {fixedDelay: 0s}}",
            &["$.fault.delay.fixedDelay: 0s is too short; the least is 1ms"],
        ),
        ("fault: {delay: {fixedDelay: 1s, percentage: {value: 100}}}", &[]),
        (
            "fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}",
            &["$.fault.delay.percentage.value: 101 must be in the range 0..100"],
        ),
        (
            "fault: {delay: {fixedDelay: 1s, percent: -1}}",
            &["$.fault.delay.percent: -1 must be in the range 0..100"],
        ),
        ("fault: {abort: {httpStatus: 200}}", &[]),
        ("fault: {abort: {httpStatus: 600}}", &[]),
        (
            "fault: {abort: {httpStatus: 199}}",
            &["$.fault.abort.httpStatus: 199 is not in the range 200..600"],
        ),
        (
            "fault: {abort: {httpStatus: 601}}",
            &["$.fault.abort.httpStatus: 601 is not in the range 200..600"],
        ),
        ("fault: {abort: {grpcStatus: UNAVAILABLE}}", &[]),
        ("fault: {abort: {http2Error: x}}", &[]),
        ("fault: {abort: {}}", &["$.fault.abort: one of httpStatus, grpcStatus, http2Error is required"]),
        (
            "fault: {abort: {httpStatus: 500, grpcStatus: X}}",
            &["$.fault.abort: only one of httpStatus, grpcStatus may be set"],
        ),
        (
            "fault: {abort: {grpcStatus: X, http2Error: x}}",
            &["$.fault.abort: only one of grpcStatus, http2Error may be set"],
        ),
        (
            "fault: {abort: {httpStatus: 500, percentage: {value: -1}}}",
            &["$.fault.abort.percentage.value: -1 must be in the range 0..100"],
        ),
    ]);
}

#[test]
fn mirrors() {
    check_http(&[
        ("mirror: {host: b}", &[]),
        ("mirror: {host: ''}", &["$.mirror.host: host is required"]),
        ("mirror_percent: 100", &[]),
        ("mirror_percent: 101", &["$.mirror_percent: 101 must be in the range 0..100"]),
        ("mirrorPercentage: {value: 0.5}", &[]),
        (
            "mirrorPercentage: {value: 100.5}",
            &["$.mirrorPercentage.value: 100.5 must be in the range 0..100"],
        ),
    ]);
}

#[test]
fn cors() {
    check_http(&[
        ("corsPolicy: {allowOrigins: [{exact: a}], allowHeaders: [x-a], maxAge: 24h}", &[]),
        (
            "corsPolicy: {allowOrigins: [{exact: a}, {}]}",
            &["$.corsPolicy.allowOrigins[1]: one of exact, prefix, regex is required"],
        ),
        (
            "corsPolicy: {allowHeaders: [x-a, ':path']}",
            &[r#"$.corsPolicy.allowHeaders[1]: ":path" is not a header name"#],
        ),
        ("corsPolicy: {maxAge: 0s}", &[]),
        (
            "corsPolicy: {maxAge: x}",
            &[r#"$.corsPolicy.maxAge: "x" is not a duration; write for example 5s or 100ms"#],
        ),
        ("corsPolicy: {maxAge: 1.5s}", &["$.corsPolicy.maxAge: must be whole seconds"]),
    ]);
}

#[test]
fn header_operations() {
    for (holder, path) in
        [("headers: {DIRECTION}", "spec.http[0].headers"), ("", "spec.http[0].route[0].headers")]
    {
        for direction in ["request", "response"] {
            let fields = |operations: &str| {
                let headers = format!("{direction}: {{{operations}}}");
                if holder.is_empty() {
                    format!("route: [{{destination: {{host: a}}, headers: {{{headers}}}}}]")
                } else {
                    format!("route: [{{destination: {{host: a}}}}], headers: {{{headers}}}")
                }
            };
            let at = format!("{path}.{direction}");
            check_route(&[
                (&fields("set: {x-a: b}, add: {':authority': c}, remove: [x-d]"), &[]),
                (&fields("set: {'a b': c}"), &[&format!(r#"{at}.set[a b]: "a b" is not a header name"#)]),
                (&fields("add: {'a b': c}"), &[&format!(r#"{at}.add[a b]: "a b" is not a header name"#)]),
                (
                    &fields("remove: [x-a, ':path']"),
                    &[&format!(r#"{at}.remove[1]: ":path" is not a header name"#)],
                ),
                (&fields("remove: [Host]"), &[&format!("{at}.remove[0]: the host header cannot be removed")]),
            ]);
        }
    }
}

#[test]
fn matches_have_one_form() {
    for field in ["uri", "scheme", "method", "authority"] {
        let missing = format!("$.{field}: one of exact, prefix, regex is required");
        check_match(&[(&format!("{field}: {{exact: a}}"), &[]), (&format!("{field}: {{}}"), &[&missing])]);
    }
    check_match(&[
        ("queryParams: {a: {exact: b}}", &[]),
        ("queryParams: {a: {}}", &["$.queryParams[a]: one of exact, prefix, regex is required"]),
        ("port: 80", &[]),
        ("port: 0", &["$.port: port number 0 must be in the range 1..65535"]),
        ("sourceLabels: {a: b}", &[]),
        ("sourceLabels: {a: 'b c'}", &[r#"$.sourceLabels[a]: "b c" is not a label value"#]),
    ]);
}

#[test]
fn matches_of_headers() {
    for field in ["headers", "withoutHeaders"] {
        check_match(&[
            (&format!("{field}: {{x-a: {{exact: b}}, x-b: {{}}}}"), &[]),
            (
                &format!("{field}: {{'a b': {{}}}}"),
                &[&format!(r#"$.{field}[a b]: "a b" is not a header name"#)],
            ),
            (
                &format!("{field}: {{x-a: {{exact: a, prefix: b}}}}"),
                &[&format!("$.{field}[x-a]: only one of exact, prefix, regex may be set")],
            ),
            (
                &format!("{field}: {{Method: {{exact: GET}}}}"),
                &[&format!(
                    "warning: $.{field}[Method]: use the field of this name instead of headers; the entry is ignored"
                )],
            ),
        ]);
    }
}

#[test]
fn destinations() {
    let with = |destination: &str| format!("route: [{{destination: {destination}}}]");
    check_route(&[
        (&with("{host: b.c, subset: v1, port: {number: 80}}"), &[]),
        (&with("{host: 192.0.2.1}"), &[]),
        ("route: [{}]", &["$.route[0].destination: is required"]),
        (&with("{host: ''}"), &["$.route[0].destination.host: host is required"]),
        (&with("{host: '*'}"), &["$.route[0].destination.host: a destination cannot be a wildcard"]),
        (&with("{host: '*.b'}"), &["$.route[0].destination.host: a destination cannot be a wildcard"]),
        (
            &with("{host: 'a b'}"),
            &[
                r#"$.route[0].destination.host: "a b" is not a DNS name (a wildcard may only be the first label)"#,
            ],
        ),
        (
            &with("{host: b, subset: 'a b'}"),
            &[r#"$.route[0].destination.subset: "a b" is not a subset name"#],
        ),
        (
            &with("{host: b, port: {number: 70000}}"),
            &["$.route[0].destination.port.number: port number 70000 must be in the range 1..65535"],
        ),
    ]);
}

#[test]
fn weights_of_several_destinations_add_up_to_100() {
    let with = |weights: &[&str]| {
        let one = |weight: &&str| format!("{{destination: {{host: a}}{weight}}}");
        format!("route: [{}]", weights.iter().map(one).collect::<Vec<_>>().join(", "))
    };
    check_route(&[
        (&with(&[""]), &[]),
        (&with(&[", weight: 10"]), &[]),
        (&with(&[", weight: 110"]), &["$.route[0].weight: 110 must be in the range 0..100"]),
        (&with(&[", weight: 20", ", weight: 80"]), &[]),
        (&with(&[", weight: 100", ""]), &[]),
        (&with(&[", weight: 20", ", weight: 79"]), &["$.route: total destination weight 99 != 100"]),
        (&with(&["", ""]), &["$.route: total destination weight 0 != 100"]),
        (
            &with(&[", weight: -10", ", weight: 110"]),
            &[
                "$.route[0].weight: -10 must be in the range 0..100",
                "$.route[1].weight: 110 must be in the range 0..100",
            ],
        ),
    ]);
}

/// Fields of a TLS route, and of its only match.
fn check_tls(rows: &[Row<'_>]) {
    let template = "{hosts: [a.com, '*.b.com'], tls: [{$}]}";
    check_in(NETWORKING, "VirtualService", template, "spec.tls[0]", rows);
}

#[test]
fn tls_routes() {
    let with = |fields: &str| format!("match: [{{{fields}}}], route: [{{destination: {{host: a}}}}]");
    check_tls(&[
        (&with("sniHosts: [a.com, x.b.com, '*.b.com']"), &[]),
        ("route: [{destination: {host: a}}]", &["$.match: TLS routes need at least one match"]),
        ("match: [{sniHosts: [a.com]}]", &["$.route: at least one destination is required"]),
        ("match: [{sniHosts: [a.com]}], route: [{}]", &["$.route[0].destination: is required"]),
        (&with("port: 80"), &["$.match[0].sniHosts: at least one SNI host is required"]),
        (
            &with("sniHosts: [a.com, c.com]"),
            &[r#"$.match[0].sniHosts[1]: "c.com" is not within one of spec.hosts"#],
        ),
        (
            &with("sniHosts: [x.a.com]"),
            &[r#"$.match[0].sniHosts[0]: "x.a.com" is not within one of spec.hosts"#],
        ),
        (&with("sniHosts: ['a*.b.com']"), &[r#"$.match[0].sniHosts[0]: "a*.b.com" is not a DNS name"#]),
        (&with("sniHosts: [a.com], destinationSubnets: [192.0.2.0/24], port: 443"), &[]),
        (
            &with("sniHosts: [a.com], destinationSubnets: [x]"),
            &[r#"$.match[0].destinationSubnets[0]: "x" is neither IP nor CIDR"#],
        ),
        (
            &with("sniHosts: [a.com], port: 0"),
            &["$.match[0].port: port number 0 must be in the range 1..65535"],
        ),
        (
            &with("sniHosts: [a.com], sourceLabels: {a: '*'}"),
            &[r#"$.match[0].sourceLabels[a]: "*" is not a label value"#],
        ),
    ]);
    check(&[
        (
            "{hosts: [a.com], tls: [{match: [{sniHosts: ['']}], route: [{destination: {host: a}}]}]}",
            &[
                r#"spec.tls[0].match[0].sniHosts[0]: "" is not a DNS name"#,
                r#"spec.tls[0].match[0].sniHosts[0]: "" is not within one of spec.hosts"#,
            ],
        ),
        (
            "{tls: [{match: [{sniHosts: [any.com]}], route: [{destination: {host: a}}]}]}",
            &[
                "spec.hosts: must have at least one host (only a delegate with http rules alone may have none)",
            ],
        ),
    ]);
}

#[test]
fn tcp_routes() {
    let template = "{hosts: [a], tcp: [{$}]}";
    let with = |fields: &str| format!("match: [{{{fields}}}], route: [{{destination: {{host: a}}}}]");
    check_in(
        NETWORKING,
        "VirtualService",
        template,
        "spec.tcp[0]",
        &[
            (
                &with(
                    "port: 80, destinationSubnets: [192.0.2.1], sourceSubnet: 192.0.2.0/24, sourceLabels: {a: b}",
                ),
                &[],
            ),
            ("match: [{port: 80}]", &["$.route: at least one destination is required"]),
            (&with("port: 70000"), &["$.match[0].port: port number 70000 must be in the range 1..65535"]),
            (
                &with("destinationSubnets: [192.0.2.1, x]"),
                &[r#"$.match[0].destinationSubnets[1]: "x" is neither IP nor CIDR"#],
            ),
            (&with("sourceSubnet: x"), &[r#"$.match[0].sourceSubnet: "x" is neither IP nor CIDR"#]),
            (&with("sourceLabels: {a: '*'}"), &[r#"$.match[0].sourceLabels[a]: "*" is not a label value"#]),
            (
                "route: [{destination: {host: '*'}}]",
                &["$.route[0].destination.host: a destination cannot be a wildcard"],
            ),
            (
                "route: [{destination: {host: a}, weight: 1}, {destination: {host: b}, weight: 1}]",
                &["$.route: total destination weight 2 != 100"],
            ),
        ],
    );
}
