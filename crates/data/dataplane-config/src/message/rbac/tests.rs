//! Who is let in: what each rule takes and what it does not, and what engines make of it.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::*;
use crate::testing::{connection, connection_of, message, request};

fn compile(rules: Value) -> Valid<Rbac> {
    Rbac::compile_http(&message::<http_rbac::Rbac>(json!({ "rules": rules })))
}

/// One policy called `p`.
fn policy(permission: &Value, principal: &Value) -> Value {
    json!({"policies": {"p": {"permissions": [permission], "principals": [principal]}}})
}

#[derive(Debug)]
struct Scene {
    connection: ConnectionFacts,
    request: Option<Request>,
    metadata: HashMap<String, pb::Struct>,
}

impl Scene {
    /// `POST https://shop.example/cart?item=1`, forwarded for 203.0.113.9, from 192.0.2.7 to 10.0.0.1:8080.
    fn new(connection: ConnectionFacts) -> Scene {
        Scene { connection, request: Some(request()), metadata: HashMap::new() }
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            connection: &self.connection,
            request: self.request.as_ref(),
            remote: "203.0.113.9".parse().unwrap(),
            metadata: &self.metadata,
        }
    }

    fn decide(&self, rules: Value) -> Decision {
        compile(rules).unwrap().decide(&self.subject()).unwrap()
    }

    fn permits(&self, permission: &Value) -> bool {
        self.decide(policy(permission, &json!({"any": true}))).allowed
    }

    fn admits(&self, principal: &Value) -> bool {
        self.decide(policy(&json!({"any": true}), principal)).allowed
    }
}

fn plain() -> Scene {
    Scene::new(connection())
}

fn refused(permission: &Value, principal: &Value) -> String {
    compile(policy(permission, principal)).unwrap_err().0
}

#[test]
fn permissions_take_what_they_name() {
    let mut scene = plain();
    scene.connection.sni = Some("shop.example".into());
    for (permission, wanted) in [
        (json!({"any": true}), true),
        (json!({"any": false}), false),
        (json!({"header": {"name": ":method", "exact_match": "POST"}}), true),
        (json!({"header": {"name": ":method", "exact_match": "GET"}}), false),
        (json!({"url_path": {"path": {"exact": "/cart"}}}), true),
        (json!({"url_path": {"path": {"exact": "/cart?item=1"}}}), false),
        (json!({"destination_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}), true),
        (json!({"destination_ip": {"address_prefix": "192.0.2.7", "prefix_len": 32}}), false),
        (json!({"destination_port": 8079}), false),
        (json!({"destination_port": 8080}), true),
        (json!({"destination_port": 8081}), false),
        (json!({"destination_port_range": {"start": 8080, "end": 8081}}), true),
        (json!({"destination_port_range": {"start": 8000, "end": 8080}}), false),
        (json!({"destination_port_range": {"start": 8081, "end": 9000}}), false),
        (json!({"requested_server_name": {"exact": "shop.example"}}), true),
        (json!({"requested_server_name": {"exact": "other.example"}}), false),
        (json!({"not_rule": {"any": true}}), false),
        (json!({"not_rule": {"any": false}}), true),
    ] {
        assert_eq!(scene.permits(&permission), wanted, "{permission}");
    }
}

#[test]
fn principals_take_whom_they_name() {
    let scene = plain();
    for (principal, wanted) in [
        (json!({"any": true}), true),
        (json!({"any": false}), false),
        (json!({"header": {"name": ":authority", "exact_match": "shop.example"}}), true),
        (json!({"header": {"name": ":authority", "exact_match": "other.example"}}), false),
        (json!({"url_path": {"path": {"prefix": "/cart"}}}), true),
        (json!({"url_path": {"path": {"prefix": "/admin"}}}), false),
        (json!({"source_ip": {"address_prefix": "192.0.2.7", "prefix_len": 32}}), true),
        (json!({"source_ip": {"address_prefix": "203.0.113.9", "prefix_len": 32}}), false),
        (json!({"direct_remote_ip": {"address_prefix": "192.0.2.0", "prefix_len": 24}}), true),
        (json!({"direct_remote_ip": {"address_prefix": "203.0.113.9", "prefix_len": 32}}), false),
        (json!({"remote_ip": {"address_prefix": "203.0.113.9", "prefix_len": 32}}), true),
        (json!({"remote_ip": {"address_prefix": "192.0.2.7", "prefix_len": 32}}), false),
        (json!({"not_id": {"any": true}}), false),
        (json!({"not_id": {"any": false}}), true),
    ] {
        assert_eq!(scene.admits(&principal), wanted, "{principal}");
    }
}

#[test]
fn sets_ask_for_all_or_for_one() {
    let scene = plain();
    let (yes, no) = (json!({"any": true}), json!({"any": false}));
    for (set, all, one) in [
        (vec![], true, false),
        (vec![&yes, &yes], true, true),
        (vec![&yes, &no], false, true),
        (vec![&no, &no], false, false),
    ] {
        assert_eq!(scene.permits(&json!({"and_rules": {"rules": set}})), all, "{set:?}");
        assert_eq!(scene.permits(&json!({"or_rules": {"rules": set}})), one, "{set:?}");
        assert_eq!(scene.admits(&json!({"and_ids": {"ids": set}})), all, "{set:?}");
        assert_eq!(scene.admits(&json!({"or_ids": {"ids": set}})), one, "{set:?}");
    }
}

#[test]
fn addresses_of_ipv4_are_the_same_inside_of_ipv6() {
    let mut scene = plain();
    scene.connection.local = "[::ffff:10.0.0.1]:8080".parse().unwrap();
    scene.connection.remote = "[::ffff:192.0.2.7]:4000".parse().unwrap();
    assert!(scene.permits(&json!({"destination_ip": {"address_prefix": "10.0.0.1", "prefix_len": 32}})));
    assert!(scene.admits(&json!({"direct_remote_ip": {"address_prefix": "192.0.2.7", "prefix_len": 32}})));
}

#[test]
fn without_a_server_name_it_is_empty() {
    assert!(plain().permits(&json!({"requested_server_name": {"exact": ""}})));
    assert!(!plain().permits(&json!({"requested_server_name": {"exact": "shop.example"}})));
}

#[test]
fn rules_on_requests_take_no_connection() {
    let mut scene = plain();
    scene.request = None;
    assert!(!scene.permits(&json!({"header": {"name": ":method", "present_match": true}})));
    assert!(!scene.permits(&json!({"url_path": {"path": {"prefix": "/"}}})));
}

#[test]
fn any_verified_peer_is_authenticated() {
    let anyone = json!({"authenticated": {}});
    assert!(!plain().admits(&anyone));
    assert!(Scene::new(connection_of(&[], &[])).admits(&anyone));
}

#[test]
fn a_peer_is_known_by_its_uri_then_its_dns_name_then_its_subject() {
    let named = |name: &str| json!({"authenticated": {"principal_name": {"exact": name}}});
    let of = |uris: &[&str], dns: &[&str]| Scene::new(connection_of(uris, dns));
    let (uri, other) = ("spiffe://west.local/ns/a/sa/b", "spiffe://west.local/ns/a/sa/c");
    let both = of(&[uri, other], &["peer.example"]);
    assert!(both.admits(&named(uri)) && both.admits(&named(other)));
    assert!(!both.admits(&named("spiffe://west.local/ns/a/sa/d")));
    assert!(!both.admits(&named("peer.example")), "a DNS name counts only without a URI");
    let dns = of(&[], &["peer.example", "two.example"]);
    assert!(dns.admits(&named("peer.example")) && dns.admits(&named("two.example")));
    assert!(!dns.admits(&named("CN=peer")), "the subject counts only without names");
    let subject = of(&[], &[]);
    assert!(subject.admits(&named("CN=peer")));
    assert!(!subject.admits(&named("CN=other")));
    assert!(!plain().admits(&json!({"authenticated": {"principal_name": {"prefix": ""}}})));
}

/// Whether a value matcher takes a value of the metadata; `None` stands for none.
fn takes(matcher: &Value, value: Option<Value>) -> bool {
    let mut scene = plain();
    if let Some(value) = value {
        scene.metadata.insert("jwt".into(), message(json!({ "claim": value })));
    }
    let from = json!({"filter": "jwt", "path": [{"key": "claim"}], "value": matcher});
    let permitted = scene.permits(&json!({ "metadata": from }));
    // All four ways to say it mean the same.
    assert_eq!(scene.permits(&json!({"sourced_metadata": {"metadata_matcher": from}})), permitted);
    assert_eq!(scene.admits(&json!({ "metadata": from })), permitted);
    assert_eq!(scene.admits(&json!({"sourced_metadata": {"metadata_matcher": from}})), permitted);
    permitted
}

#[test]
fn values_of_metadata_match_by_their_kind() {
    for (matcher, value, wanted) in [
        (json!({"null_match": {}}), json!(null), true),
        (json!({"null_match": {}}), json!(""), false),
        (json!({"double_match": {"exact": 1.5}}), json!(1.5), true),
        (json!({"double_match": {"exact": 1.5}}), json!(2), false),
        (json!({"double_match": {"exact": 1.5}}), json!("1.5"), false),
        (json!({"double_match": {"range": {"start": 1, "end": 3}}}), json!(0.5), false),
        (json!({"double_match": {"range": {"start": 1, "end": 3}}}), json!(1), true),
        (json!({"double_match": {"range": {"start": 1, "end": 3}}}), json!(3), false),
        (json!({"string_match": {"prefix": "a"}}), json!("ab"), true),
        (json!({"string_match": {"prefix": "a"}}), json!("b"), false),
        (json!({"string_match": {"prefix": ""}}), json!(["a"]), false),
        (json!({"bool_match": true}), json!(true), true),
        (json!({"bool_match": true}), json!(false), false),
        (json!({"bool_match": false}), json!(false), true),
        (json!({"present_match": true}), json!(1), true),
        (json!({"present_match": false}), json!(1), false),
        (json!({"list_match": {"one_of": {"string_match": {"exact": "b"}}}}), json!(["a", "b"]), true),
        (json!({"list_match": {"one_of": {"string_match": {"exact": "c"}}}}), json!(["a", "b"]), false),
        (json!({"list_match": {"one_of": {"string_match": {"exact": "b"}}}}), json!("b"), false),
        (
            json!({"or_match": {"value_matchers": [{"bool_match": true}, {"string_match": {"exact": "a"}}]}}),
            json!("a"),
            true,
        ),
        (
            json!({"or_match": {"value_matchers": [{"bool_match": true}, {"string_match": {"exact": "a"}}]}}),
            json!("b"),
            false,
        ),
    ] {
        assert_eq!(takes(&matcher, Some(value.clone())), wanted, "{matcher} {value}");
    }
    assert!(!takes(&json!({"string_match": {"prefix": ""}}), None));
    assert!(!takes(&json!({"present_match": true}), None));
    assert!(takes(&json!({"present_match": false}), None));
}

#[test]
fn metadata_are_found_along_their_path() {
    let mut scene = plain();
    scene.metadata.insert("jwt".into(), message(json!({"claims": {"sub": "alice"}, "sub": "bob"})));
    let at = |filter: &str, path: &[&str]| {
        let path: Vec<Value> = path.iter().map(|key| json!({ "key": key })).collect();
        json!({"metadata": {"filter": filter, "path": path, "value": {"string_match": {"exact": "alice"}}}})
    };
    assert!(scene.permits(&at("jwt", &["claims", "sub"])));
    assert!(!scene.permits(&at("jwt", &["sub"])));
    assert!(!scene.permits(&at("jwt", &["sub", "sub"])));
    assert!(!scene.permits(&at("jwt", &["claims"])));
    assert!(!scene.permits(&at("other", &["claims", "sub"])));
}

#[test]
fn a_metadata_matcher_can_be_inverted() {
    let scene = plain();
    let inverted = |invert: bool| {
        let value = json!({"string_match": {"exact": "a"}});
        json!({"metadata": {"filter": "jwt", "path": [{"key": "claim"}], "value": value, "invert": invert}})
    };
    assert!(scene.permits(&inverted(true)));
    assert!(!scene.permits(&inverted(false)));
}

#[test]
fn what_cannot_be_decided_is_refused() {
    let any = json!({"any": true});
    let metadata = |value: Value| json!({"metadata": {"filter": "f", "value": value}});
    for (permission, reason) in [
        (json!({}), "empty permission"),
        (json!({"destination_port_range": {"start": -1, "end": 80}}), "negative port range"),
        (json!({"destination_port_range": {"start": 1, "end": -80}}), "negative port range"),
        (json!({"destination_ip": {"address_prefix": "here"}}), "\"here\" is not an IP address"),
        (json!({"matcher": {}}), "extension matchers are not supported"),
        (json!({"uri_template": {}}), "extension matchers are not supported"),
        (json!({"url_path": {}}), "empty path matcher"),
        (json!({"sourced_metadata": {"metadata_source": "ROUTE"}}), "route metadata is not supported"),
        (json!({"sourced_metadata": {}}), "missing metadata_matcher"),
        (json!({"metadata": {"filter": "f"}}), "metadata matcher without value"),
        (json!({"metadata": {"path": [{}], "value": {"bool_match": true}}}), "empty path segment"),
        (metadata(json!({})), "empty value matcher"),
        (metadata(json!({"double_match": {}})), "empty double matcher"),
        (metadata(json!({"list_match": {}})), "empty list matcher"),
    ] {
        assert_eq!(refused(&permission, &any), format!("rules: p: {reason}"), "{permission}");
    }
    for (principal, reason) in [
        (json!({}), "empty principal"),
        (json!({"filter_state": {}}), "filter state and custom principals are not supported"),
        (json!({"custom": {}}), "filter state and custom principals are not supported"),
    ] {
        assert_eq!(refused(&any, &principal), format!("rules: p: {reason}"), "{principal}");
    }
}

#[test]
fn conditions_in_cel_are_refused() {
    for condition in ["condition", "checked_condition"] {
        let error = compile(json!({"policies": {"p": {condition: {}}}})).unwrap_err().0;
        assert_eq!(error, "rules: policy \"p\": CEL conditions are not supported");
    }
}

#[test]
fn an_action_says_what_a_match_means() {
    let of = |action: &str, permission: bool, principal: bool| {
        let mut rules = policy(&json!({ "any": permission }), &json!({ "any": principal }));
        rules["action"] = json!(action);
        let Decision { allowed, policy } = plain().decide(rules);
        (allowed, policy.is_some())
    };
    for (action, permission, principal, wanted) in [
        ("ALLOW", true, true, (true, true)),
        ("ALLOW", true, false, (false, false)),
        ("ALLOW", false, true, (false, false)),
        ("DENY", true, true, (false, true)),
        ("DENY", true, false, (true, false)),
        ("LOG", true, true, (true, true)),
        ("LOG", false, false, (true, false)),
    ] {
        assert_eq!(of(action, permission, principal), wanted, "{action} {permission} {principal}");
    }
}

#[test]
fn an_unknown_action_is_refused() {
    let rules = rbac::Rbac { action: 9, ..Default::default() };
    let error =
        Rbac::compile_http(&http_rbac::Rbac { rules: Some(rules), ..Default::default() }).unwrap_err().0;
    assert_eq!(error, "rules: unknown action");
}

#[test]
fn rules_without_policies_let_nobody_in() {
    assert_eq!(plain().decide(json!({})), Decision { allowed: false, policy: None });
}

#[test]
fn the_first_policy_by_name_decides() {
    let any = json!({"permissions": [{"any": true}], "principals": [{"any": true}]});
    let none = json!({"permissions": [{"any": true}], "principals": [{"any": false}]});
    let decision = plain().decide(json!({"policies": {"a": none, "c": any, "b": any}}));
    assert_eq!(decision.policy.as_deref(), Some("b"));
}

#[test]
fn one_of_a_policys_permissions_and_principals_is_enough() {
    let either = json!([{"any": false}, {"any": true}]);
    let rules = json!({"policies": {"p": {"permissions": either, "principals": either}}});
    assert!(plain().decide(rules).allowed);
}

/// Both filters have the same rules in messages of their own.
fn both(json: Value) -> [Valid<Rbac>; 2] {
    let mut network = json.clone();
    network["stat_prefix"] = json!("tcp");
    [Rbac::compile_http(&message(json)), Rbac::compile_network(&message::<net_rbac::Rbac>(network))]
}

#[test]
fn shadow_rules_decide_beside_the_rules() {
    let json = json!({
        "rules": policy(&json!({"any": true}), &json!({"any": true})),
        "shadow_rules": policy(&json!({"any": false}), &json!({"any": true})),
        "shadow_rules_stat_prefix": "try_",
    });
    let scene = plain();
    for rbac in both(json) {
        let rbac = rbac.unwrap();
        assert!(rbac.decide(&scene.subject()).unwrap().allowed);
        assert!(!rbac.shadow(&scene.subject()).unwrap().allowed);
        assert_eq!(rbac.shadow_prefix, "try_");
    }
}

#[test]
fn without_rules_nothing_is_decided() {
    let scene = plain();
    for (json, empty) in
        [(json!({}), true), (json!({"rules": {}}), false), (json!({"shadow_rules": {}}), false)]
    {
        for rbac in both(json.clone()) {
            let rbac = rbac.unwrap();
            assert_eq!(rbac.is_empty(), empty, "{json}");
            assert_eq!(rbac.decide(&scene.subject()).is_some(), json.get("rules").is_some(), "{json}");
            assert_eq!(rbac.shadow(&scene.subject()).is_some(), json.get("shadow_rules").is_some(), "{json}");
        }
    }
}

#[test]
fn matcher_trees_are_refused() {
    for field in ["matcher", "shadow_matcher"] {
        for rbac in both(json!({ field: {} })) {
            assert_eq!(rbac.unwrap_err().0, "matcher trees are not supported", "{field}");
        }
    }
}

#[test]
fn details_are_one_word() {
    let details =
        |policy: Option<&str>| Decision { allowed: false, policy: policy.map(str::to_owned) }.details();
    assert_eq!(details(Some("ns[a] b\tc")), "rbac_access_denied_matched_policy[ns[a]_b_c]");
    assert_eq!(details(None), "rbac_access_denied_matched_policy[none]");
}
