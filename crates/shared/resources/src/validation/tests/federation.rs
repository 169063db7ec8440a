use super::{FEDERATION, Row, check_in};

const GATEWAYS: &str = "gateways: {ingress: {name: in}, egress: {name: out}}";
const REMOTE: &str = "remote: {addresses: [192.0.2.1]}";
const SECURITY: &str = "security: {clientID: east.local/ns/a/sa/b}";

fn check_peer(rows: &[Row<'_>]) {
    check_in(FEDERATION, "ServiceMeshPeer", "{$}", "", rows);
}

#[test]
fn a_peer_is_reached_by_addresses_and_ports() {
    let with = |remote: &str| format!("remote: {remote}, {GATEWAYS}, {SECURITY}");
    const PORT: &str = "must be in the range 0..65535; 0 means the default";
    check_peer(&[
        (&with("{addresses: [192.0.2.1, '2001:db8::1', east.example]}"), &[]),
        (&with("{addresses: [a], discoveryPort: 0, servicePort: 65535}"), &[]),
        (
            &with("{}"),
            &[
                "warning: spec.remote.addresses: is empty: nothing can be discovered or imported from this peer",
            ],
        ),
        (
            &with("{addresses: [a, 'a:80']}"),
            &[
                r#"spec.remote.addresses[1]: "a:80" is neither an IP nor a DNS name (ports have fields of their own)"#,
            ],
        ),
        (&with("{addresses: [a], discoveryPort: 65536}"), &[&format!("spec.remote.discoveryPort: {PORT}")]),
        (&with("{addresses: [a], discoveryPort: -1}"), &[&format!("spec.remote.discoveryPort: {PORT}")]),
        (&with("{addresses: [a], servicePort: 65536}"), &[&format!("spec.remote.servicePort: {PORT}")]),
    ]);
}

#[test]
fn a_peer_has_two_gateways() {
    let with = |gateways: &str| format!("{REMOTE}, gateways: {gateways}, {SECURITY}");
    check_peer(&[
        (
            &with("{ingress: {name: in}}"),
            &["spec.gateways.egress.name: is required: the gateway that leads to this peer"],
        ),
        (
            &with("{egress: {name: out}}"),
            &["spec.gateways.ingress.name: is required: the gateway that serves this peer"],
        ),
    ]);
}

#[test]
fn a_peer_is_known_by_its_identity() {
    let with = |security: &str| format!("{REMOTE}, {GATEWAYS}, security: {security}");
    check_peer(&[
        (&with("{clientID: east.local/ns/a/sa/b}"), &[]),
        (&with("{}"), &["warning: spec.security.clientID: is empty: every request of this peer is denied"]),
        (
            &with("{clientID: 'spiffe://east.local/ns/a/sa/b'}"),
            &["spec.security.clientID: is written without spiffe://"],
        ),
        (&with("{clientID: a, certificateChain: {kind: ConfigMap, name: x}}"), &[]),
        (&with("{clientID: a, certificateChain: {kind: '', name: x}}"), &[]),
        (
            &with("{clientID: a, certificateChain: {kind: Secret, name: x}}"),
            &[r#"spec.security.certificateChain.kind: "Secret" must be ConfigMap"#],
        ),
    ]);
}

/// The second export rule.
fn check_export(rows: &[Row<'_>]) {
    let template = "{exportRules: [{type: NameSelector, nameSelector: {}}, {$}]}";
    check_in(FEDERATION, "ExportedServiceSet", template, "spec.exportRules[1]", rows);
}

#[test]
fn export_rules_have_the_selector_of_their_type() {
    check_export(&[
        ("type: NameSelector, nameSelector: {name: a}", &[]),
        ("type: LabelSelector, labelSelector: {selector: {matchLabels: {a: b}}}", &[]),
        ("type: NameSelector", &["$.nameSelector: is required for type NameSelector"]),
        ("type: NameSelector, labelSelector: {}", &["$.nameSelector: is required for type NameSelector"]),
        ("type: LabelSelector", &["$.labelSelector: is required for type LabelSelector"]),
        ("type: LabelSelector, nameSelector: {}", &["$.labelSelector: is required for type LabelSelector"]),
        ("type: X, nameSelector: {}", &[r#"$.type: "X" must be NameSelector or LabelSelector"#]),
    ]);
}

/// Names in a mapping at `path` of a rule that begins with `start`; `@` in it stands for the mapping's fields.
fn check_names(check: fn(&[Row<'_>]), start: &str, path: &str) {
    let with = |fields: &str| start.replacen('@', fields, 1);
    let glob = format!(r#"{path}.name: "a*": only "*" alone is a wildcard"#);
    check(&[
        (&with("name: a, namespace: b, alias: {name: c, namespace: d}"), &[]),
        (&with("name: '*', namespace: '*', alias: {name: '*', namespace: '*'}"), &[]),
        (&with("name: 'a*'"), &[&glob]),
    ]);
    for field in ["name", "namespace"] {
        for bad in ["a.b", "a b", "a."] {
            let label = format!(r#"{path}.{field}: {bad:?} is not a DNS label"#);
            let alias = format!(r#"{path}.alias.{field}: {bad:?} is not a DNS label"#);
            check(&[
                (&with(&format!("{field}: '{bad}'")), &[&label]),
                (&with(&format!("name: x, alias: {{{field}: '{bad}'}}")), &[&alias]),
            ]);
        }
    }
    let many = format!(
        "warning: {path}.alias.name: gives all matched services the same name; only one can be reached"
    );
    check(&[
        (&with("alias: {name: c}"), &[&many]),
        (&with("name: '*', alias: {name: c}"), &[&many]),
        (&with("name: a, alias: {name: c}"), &[]),
        (&with("name: '*', alias: {namespace: d}"), &[]),
    ]);
}

#[test]
fn names_of_export_rules_are_labels_or_any() {
    check_names(check_export, "type: NameSelector, nameSelector: {@}", "$.nameSelector");
    check_names(
        check_export,
        "type: LabelSelector, labelSelector: {aliases: [{name: x}, {@}]}",
        "$.labelSelector.aliases[1]",
    );
    check_export(&[
        ("type: LabelSelector, labelSelector: {namespace: '*'}", &[]),
        (
            "type: LabelSelector, labelSelector: {namespace: a.b}",
            &[r#"$.labelSelector.namespace: "a.b" is not a DNS label"#],
        ),
    ]);
}

/// The second import rule.
fn check_import(rows: &[Row<'_>]) {
    let template = "{importRules: [{type: NameSelector, nameSelector: {}}, {$}]}";
    check_in(FEDERATION, "ImportedServiceSet", template, "spec.importRules[1]", rows);
}

#[test]
fn import_rules_select_by_name() {
    check_import(&[
        ("type: NameSelector, nameSelector: {name: a}", &[]),
        ("type: NameSelector", &["$.nameSelector: is required"]),
        ("type: LabelSelector, nameSelector: {}", &[r#"$.type: "LabelSelector" must be NameSelector"#]),
    ]);
    check_names(check_import, "type: NameSelector, nameSelector: {@}", "$.nameSelector");
}

#[test]
fn import_domains_are_dns_names() {
    check_import(&[
        ("type: NameSelector, nameSelector: {}, domainSuffix: svc.a.b", &[]),
        (
            "type: NameSelector, nameSelector: {}, domainSuffix: '*.b'",
            &[r#"$.domainSuffix: "*.b" is not a DNS name"#],
        ),
    ]);
    check_in(
        FEDERATION,
        "ImportedServiceSet",
        "{domainSuffix: $}",
        "",
        &[("svc.a.b", &[]), ("''", &[]), ("a..b", &[r#"spec.domainSuffix: "a..b" is not a DNS name"#])],
    );
}

#[test]
fn import_localities_are_complete_from_the_left() {
    const HOLE: &str = "spec.locality: a zone needs a region, a subzone needs a zone";
    check_in(
        FEDERATION,
        "ImportedServiceSet",
        "{locality: {$}}",
        "",
        &[
            ("region: a", &[]),
            ("region: a, zone: b", &[]),
            ("region: a, zone: b, subzone: c", &[]),
            ("zone: b", &[HOLE]),
            ("subzone: c", &[HOLE]),
            ("region: a, subzone: c", &[HOLE]),
            ("zone: b, subzone: c", &[HOLE]),
        ],
    );
}

#[test]
fn local_imports_name_their_namespace() {
    const NAMESPACE: &str = "$.nameSelector.alias.namespace: importAsLocal needs the local namespace here; without it the rule is skipped";
    let with = |selector: &str| format!("type: NameSelector, importAsLocal: true, nameSelector: {selector}");
    check_import(&[
        (&with("{alias: {namespace: a}}"), &[]),
        (&with("{}"), &[NAMESPACE]),
        (&with("{name: a, alias: {name: b}}"), &[NAMESPACE]),
        (&with("{alias: {namespace: '*'}}"), &[NAMESPACE]),
    ]);
}
