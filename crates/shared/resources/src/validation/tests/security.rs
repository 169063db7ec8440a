use super::{Row, SECURITY, check_in};

fn check(kind: &str, rows: &[Row<'_>]) {
    check_in(SECURITY, kind, "{$}", "", rows);
}

#[test]
fn selectors_have_no_wildcards() {
    for kind in ["PeerAuthentication", "AuthorizationPolicy", "RequestAuthentication"] {
        let with = |labels: &str| format!("selector: {{matchLabels: {labels}}}");
        const WILDCARD: &str = "wildcards are not supported in selectors";
        check(
            kind,
            &[
                ("", &[]),
                (&with("{}"), &[]),
                (&with("{app: a}"), &[]),
                (&with("{app: 'a*'}"), &[&format!("spec.selector.matchLabels[app]: {WILDCARD}")]),
                (&with("{'app*': a}"), &[&format!("spec.selector.matchLabels[app*]: {WILDCARD}")]),
                (&with("{'': a}"), &["spec.selector.matchLabels: label key must not be empty"]),
            ],
        );
    }
}

#[test]
fn peer_authentication_of_ports_is_of_a_workload() {
    const SELECTOR: &str = "spec.portLevelMtls: needs a selector: port numbers belong to a workload";
    let with = |ports: &str| format!("selector: {{matchLabels: {{a: b}}}}, portLevelMtls: {ports}");
    check(
        "PeerAuthentication",
        &[
            ("mtls: {mode: STRICT}", &[]),
            (&with("{8080: {mode: DISABLE}}"), &[]),
            ("portLevelMtls: {8080: {mode: DISABLE}}", &[SELECTOR]),
            ("selector: {}, portLevelMtls: {8080: {mode: DISABLE}}", &[SELECTOR]),
            (
                &with("{0: {mode: DISABLE}}"),
                &["spec.portLevelMtls[0]: port number 0 must be in the range 1..65535"],
            ),
            (&with("{http: {mode: DISABLE}}"), &[r#"spec.portLevelMtls[http]: "http" is not a port number"#]),
        ],
    );
}

#[test]
fn a_provider_belongs_to_action_custom() {
    const ONLY: &str = "spec.provider: is only allowed for action CUSTOM";
    check(
        "AuthorizationPolicy",
        &[
            ("action: CUSTOM, provider: {name: x}", &[]),
            ("action: CUSTOM", &["spec.provider: is required for action CUSTOM"]),
            ("action: CUSTOM, provider: {}", &["spec.provider.name: is required"]),
            ("provider: {name: x}", &[ONLY]),
            ("action: ALLOW, provider: {name: x}", &[ONLY]),
            ("action: DENY, provider: {name: x}, rules: [{}]", &[ONLY]),
            ("action: AUDIT, provider: {name: x}", &[ONLY]),
        ],
    );
}

#[test]
fn a_deny_policy_has_rules() {
    check(
        "AuthorizationPolicy",
        &[
            ("action: DENY, rules: [{}]", &[]),
            (
                "action: DENY",
                &["spec.rules: a DENY policy without rules never denies; use rules: [{}] to deny all"],
            ),
            ("action: ALLOW", &[]),
            ("", &[]),
        ],
    );
}

/// Fields of the second source of the second rule.
fn check_source(rows: &[Row<'_>]) {
    check_in(
        SECURITY,
        "AuthorizationPolicy",
        "{rules: [{}, {from: [{source: {namespaces: [a]}}, {source: {$}}]}]}",
        "spec.rules[1].from[1].source",
        rows,
    );
}

#[test]
fn sources() {
    for field in [
        "principals",
        "notPrincipals",
        "requestPrincipals",
        "notRequestPrincipals",
        "namespaces",
        "notNamespaces",
    ] {
        let empty = format!("$.{field}[1]: must not be empty");
        check_source(&[(&format!("{field}: [a]"), &[]), (&format!("{field}: [a, '']"), &[&empty])]);
    }
    for field in ["ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks"] {
        let bad = format!(r#"$.{field}[1]: "x" is neither IP nor CIDR"#);
        let (empty, neither) = (
            format!("$.{field}[0]: must not be empty"),
            format!(r#"$.{field}[0]: "" is neither IP nor CIDR"#),
        );
        check_source(&[
            (&format!("{field}: [192.0.2.1, 192.0.2.0/24]"), &[]),
            (&format!("{field}: [192.0.2.1, x]"), &[&bad]),
            (&format!("{field}: ['']"), &[&empty, &neither]),
        ]);
    }
    check_source(&[("", &["$: at least one field is required"])]);
    check(
        "AuthorizationPolicy",
        &[("rules: [{from: [{}]}]", &["spec.rules[0].from[0].source: is required"])],
    );
}

#[test]
fn operations() {
    let check_operation = |rows: &[Row<'_>]| {
        check_in(
            SECURITY,
            "AuthorizationPolicy",
            "{rules: [{}, {to: [{operation: {hosts: [a]}}, {operation: {$}}]}]}",
            "spec.rules[1].to[1].operation",
            rows,
        );
    };
    for field in ["hosts", "notHosts", "methods", "notMethods", "paths", "notPaths"] {
        let empty = format!("$.{field}[1]: must not be empty");
        check_operation(&[(&format!("{field}: [a]"), &[]), (&format!("{field}: [a, '']"), &[&empty])]);
    }
    for field in ["ports", "notPorts"] {
        let range = format!("$.{field}[1]: port number 0 must be in the range 1..65535");
        let number = format!(r#"$.{field}[0]: "http" is not a port number"#);
        check_operation(&[
            (&format!("{field}: ['80']"), &[]),
            (&format!("{field}: ['80', '0']"), &[&range]),
            (&format!("{field}: [http]"), &[&number]),
        ]);
    }
    check_operation(&[("", &["$: at least one field is required"])]);
    check("AuthorizationPolicy", &[("rules: [{to: [{}]}]", &["spec.rules[0].to[0].operation: is required"])]);
}

/// Fields of the second condition.
fn check_condition(rows: &[Row<'_>]) {
    check_in(
        SECURITY,
        "AuthorizationPolicy",
        "{rules: [{when: [{key: source.ip, values: [192.0.2.1]}, {$}]}]}",
        "spec.rules[0].when[1]",
        rows,
    );
}

#[test]
fn conditions_name_attributes_that_exist() {
    for key in [
        "source.namespace",
        "source.principal",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "connection.sni",
        "request.headers[x-a]",
        "request.auth.claims[iss]",
        "request.regex.headers[x-a]",
        "experimental.envoy.filters.x",
        "experimental.envoy.filters.network.mysql_proxy[db.table]",
    ] {
        check_condition(&[(&format!("key: '{key}', values: [a]"), &[])]);
    }
    for key in [
        "",
        "nope",
        "source",
        "source.ip.x",
        "request.headers",
        "request.headers[x-a",
        "request.auth.claims[iss]x",
        "request.regex.headers[x",
        "xrequest.headers[a]",
        "destination.ports",
        "experimental.envoy.filters",
    ] {
        let unknown = format!("$.key: {key:?} is not a known attribute");
        check_condition(&[(&format!("key: '{key}', values: [a]"), &[&unknown])]);
    }
    for keyed in ["request.headers", "request.regex.headers"] {
        let key = format!("{keyed}[a b]");
        check_condition(&[(&format!("key: '{key}', values: [a]"), &["$.key: \"a b\" is not a header name"])]);
    }
}

#[test]
fn conditions_have_values_of_their_kind() {
    check_condition(&[
        ("key: source.namespace", &["$: values or notValues is required"]),
        ("key: source.namespace, values: [a]", &[]),
        ("key: source.namespace, notValues: [a]", &[]),
        ("key: 'request.regex.headers[a]', values: [b+]", &[]),
    ]);
    for list in ["values", "notValues"] {
        for key in ["source.ip", "remote.ip", "destination.ip"] {
            let bad = format!(r#"$.{list}[1]: "x" is neither IP nor CIDR"#);
            check_condition(&[
                (&format!("key: {key}, {list}: [192.0.2.1, 192.0.2.0/24]"), &[]),
                (&format!("key: {key}, {list}: [192.0.2.1, x]"), &[&bad]),
            ]);
        }
        let range = format!("$.{list}[1]: port number 65536 must be in the range 1..65535");
        let number = format!(r#"$.{list}[0]: "http" is not a port number"#);
        let regex = format!("$.{list}[0]: regex must not be empty");
        check_condition(&[
            (&format!("key: destination.port, {list}: ['80']"), &[]),
            (&format!("key: destination.port, {list}: ['80', '65536']"), &[&range]),
            (&format!("key: destination.port, {list}: [http]"), &[&number]),
            (&format!("key: 'request.regex.headers[a]', {list}: ['']"), &[&regex]),
            (&format!("key: 'request.headers[a]', {list}: ['(']"), &[]),
        ]);
    }
}

/// Fields of the second rule of a RequestAuthentication.
fn check_jwt(rows: &[Row<'_>]) {
    check_in(SECURITY, "RequestAuthentication", "{jwtRules: [{issuer: a}, {$}]}", "spec.jwtRules[1]", rows);
}

#[test]
fn jwt_rules() {
    check_jwt(&[
        ("issuer: a, audiences: [b], jwksUri: 'https://a/b', fromHeaders: [{name: x-a}]", &[]),
        ("issuer: a, jwksUri: 'http://a/b'", &[]),
        ("issuer: a, jwks: '{}'", &[]),
        ("", &["$.issuer: is required"]),
        ("issuer: a, audiences: [b, '']", &[r#"$.audiences[1]: "" must not be empty"#]),
        ("issuer: a, jwksUri: 'ftp://a/b'", &[r#"$.jwksUri: "ftp://a/b" is not an http(s) URL"#]),
        (
            "issuer: a, jwks: '{}', jwksUri: 'https://a/b'",
            &["$.jwks: only one of jwks and jwksUri may be set"],
        ),
        (
            "issuer: a, fromHeaders: [{name: x-a}, {name: ':path'}]",
            &[r#"$.fromHeaders[1].name: ":path" is not a header name"#],
        ),
    ]);
}
