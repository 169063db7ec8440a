//! Who may do what: policies written in YAML, asked about requests. What RBAC means is evaluated here as Envoy documents it
//! (`envoy.config.rbac.v3`), so that a condition that is flipped, lost or put on the wrong side changes an answer.

use std::net::IpAddr;

use portolan_mesh::Inputs;
use prost::Message;
use serde_json::{Value, json};

use super::fixture;
use crate::{authz, context::Context, pb::*};

/// A request, or a connection when it has no headers.
struct Asked {
    principal: Option<&'static str>,
    source: &'static str,
    remote: &'static str,
    destination: &'static str,
    port: u32,
    sni: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    claims: Value,
}

fn get() -> Asked {
    Asked {
        principal: Some("spiffe://cluster.local/ns/shop/sa/web"),
        source: "10.1.2.3",
        remote: "192.0.2.7",
        destination: "10.64.0.5",
        port: 9080,
        sni: "outbound_.9080_._.reviews",
        headers: vec![
            (":method", "GET"),
            (":path", "/a/b?q=1"),
            (":authority", "Reviews:9080"),
            ("x-t", "one"),
        ],
        claims: json!({"iss": "issuer", "sub": "me", "aud": ["a", "b"], "nested": {"k": "v"}}),
    }
}

fn text(matcher: &matcher::StringMatcher, value: &str) -> bool {
    use matcher::string_matcher::MatchPattern as P;
    let fold = |s: &str| if matcher.ignore_case { s.to_lowercase() } else { s.to_owned() };
    let value = fold(value);
    match matcher.match_pattern.as_ref().unwrap() {
        P::Exact(t) => value == fold(t),
        P::Prefix(t) => value.starts_with(&fold(t)),
        P::Suffix(t) => value.ends_with(&fold(t)),
        P::Contains(t) => value.contains(&fold(t)),
        P::SafeRegex(r) => regex::Regex::new(&format!("^(?:{})$", r.regex)).unwrap().is_match(&value),
        P::Custom(_) => panic!("custom matcher"),
    }
}

fn within(range: &core::CidrRange, ip: &str) -> bool {
    let bits = |ip: &str| match ip.parse().unwrap() {
        IpAddr::V4(ip) => u32::from(ip),
        IpAddr::V6(_) => panic!("only IPv4 here"),
    };
    let len = range.prefix_len.unwrap().value;
    let mask = if len == 0 { 0 } else { u32::MAX << (32 - len) };
    bits(&range.address_prefix) & mask == bits(ip) & mask
}

impl Asked {
    fn header(&self, m: &route::HeaderMatcher) -> bool {
        use route::header_matcher::HeaderMatchSpecifier as S;
        let value = self.headers.iter().find(|(name, _)| *name == m.name).map(|(_, value)| *value);
        match m.header_match_specifier.as_ref().unwrap() {
            S::PresentMatch(present) => value.is_some() == *present,
            S::StringMatch(s) => value.is_some_and(|value| text(s, value)),
            other => panic!("{other:?}"),
        }
    }

    fn permission(&self, p: &rbac::Permission) -> bool {
        use rbac::permission::Rule as R;
        match p.rule.as_ref().unwrap() {
            R::Any(any) => *any,
            R::AndRules(set) | R::OrRules(set) if set.rules.is_empty() => panic!("Envoy refuses it"),
            R::AndRules(set) => set.rules.iter().all(|p| self.permission(p)),
            R::OrRules(set) => set.rules.iter().any(|p| self.permission(p)),
            R::NotRule(p) => !self.permission(p),
            R::Header(m) => self.header(m),
            R::UrlPath(m) => {
                let Some(matcher::path_matcher::Rule::Path(m)) = &m.rule else { panic!("no path") };
                let path = self.headers.iter().find(|(name, _)| *name == ":path").map(|(_, path)| *path);
                path.is_some_and(|path| text(m, path.split('?').next().unwrap()))
            }
            R::DestinationIp(range) => within(range, self.destination),
            R::DestinationPort(port) => *port == self.port,
            R::RequestedServerName(m) => text(m, self.sni),
            other => panic!("{other:?}"),
        }
    }

    fn principal(&self, p: &rbac::Principal) -> bool {
        use rbac::principal::Identifier as I;
        match p.identifier.as_ref().unwrap() {
            I::Any(any) => *any,
            I::AndIds(set) | I::OrIds(set) if set.ids.is_empty() => panic!("Envoy refuses it"),
            I::AndIds(set) => set.ids.iter().all(|p| self.principal(p)),
            I::OrIds(set) => set.ids.iter().any(|p| self.principal(p)),
            I::NotId(p) => !self.principal(p),
            I::Authenticated(a) => match (&a.principal_name, self.principal) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(m), Some(name)) => text(m, name),
            },
            I::DirectRemoteIp(range) => within(range, self.source),
            I::RemoteIp(range) => within(range, self.remote),
            I::Header(m) => self.header(m),
            I::SourcedMetadata(m) => self.claim(m.metadata_matcher.as_ref().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn claim(&self, m: &matcher::MetadataMatcher) -> bool {
        use matcher::{metadata_matcher::path_segment::Segment, value_matcher::MatchPattern as P};
        assert_eq!(m.filter, "envoy.filters.http.jwt_authn");
        let all = json!({ "payload": self.claims });
        let found = m.path.iter().fold(&all, |value, segment| match segment.segment.as_ref().unwrap() {
            Segment::Key(key) => &value[key],
        });
        match m.value.as_ref().unwrap().match_pattern.as_ref().unwrap() {
            P::StringMatch(m) => found.as_str().is_some_and(|found| text(m, found)),
            P::ListMatch(list) => {
                let Some(matcher::list_matcher::MatchPattern::OneOf(one)) = &list.match_pattern else {
                    panic!("no list")
                };
                let Some(P::StringMatch(m)) = &one.match_pattern else { panic!("no text") };
                found.as_array().is_some_and(|l| l.iter().any(|v| v.as_str().is_some_and(|v| text(m, v))))
            }
            other => panic!("{other:?}"),
        }
    }

    fn passes(&self, rules: &rbac::Rbac) -> bool {
        let fits = rules.policies.values().any(|policy| {
            assert!(!policy.permissions.is_empty() && !policy.principals.is_empty(), "Envoy refuses it");
            policy.permissions.iter().any(|p| self.permission(p))
                && policy.principals.iter().any(|p| self.principal(p))
        });
        let deny = rules.action == rbac::rbac::Action::Deny as i32;
        assert!(deny || rules.action == rbac::rbac::Action::Allow as i32);
        fits != deny
    }
}

fn mesh(yaml: &str) -> portolan_mesh::Mesh {
    let mut inputs = Inputs::default();
    let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).unwrap();
    objects.into_iter().for_each(|o| inputs.insert(o).unwrap());
    portolan_mesh::Mesh::from(&inputs)
}

/// The first RBAC filter for HTTP of a workload in namespace `shop`.
fn http_rules(mesh: &portolan_mesh::Mesh) -> rbac::Rbac {
    let node = fixture::node("sidecar", "shop", "x", "10.64.0.5", &[("app", "x")], true);
    let made = authz::of_proxy(&Context::new(mesh.model(), &node));
    let Some(hcm::http_filter::ConfigType::TypedConfig(config)) = &made.http[0].config_type else {
        panic!("no configuration")
    };
    http_rbac::Rbac::decode(config.value.as_slice()).unwrap().rules.unwrap()
}

/// A rule for HTTP as RBAC says it.
fn made(rule: &str) -> rbac::Policy {
    let rules = http_rules(&mesh(&policy("ALLOW", &format!("[{rule}]"))));
    rules.policies.into_values().next().unwrap()
}

#[test]
fn a_single_condition_stands_by_itself() {
    use rbac::{permission::Rule, principal::Identifier};
    let one = made("{from: [{source: {namespaces: [shop]}}], to: [{operation: {paths: [/a]}}]}");
    assert!(matches!(one.permissions[0].rule, Some(Rule::UrlPath(_))));
    assert!(matches!(one.principals[0].identifier, Some(Identifier::Authenticated(_))));
    let all = made("{}");
    assert_eq!(all.permissions[0].rule, Some(Rule::Any(true)));
    assert_eq!(all.principals[0].identifier, Some(Identifier::Any(true)));
}

/// Whether a request to a workload in namespace `shop` gets through these policies, HTTP or TCP.
fn may(yaml: &str, asked: &Asked, tcp: bool, envoy: bool) -> bool {
    let mesh = mesh(yaml);
    let node = fixture::node("sidecar", "shop", "x", "10.64.0.5", &[("app", "x")], envoy);
    let made = authz::of_proxy(&Context::new(mesh.model(), &node));
    if tcp {
        return made.network.iter().all(|filter| {
            let Some(listener::filter::ConfigType::TypedConfig(config)) = &filter.config_type else {
                panic!("no configuration")
            };
            asked.passes(&network_rbac::Rbac::decode(config.value.as_slice()).unwrap().rules.unwrap())
        });
    }
    made.http.iter().filter(|filter| filter.name.ends_with("rbac")).all(|filter| {
        let Some(hcm::http_filter::ConfigType::TypedConfig(config)) = &filter.config_type else {
            panic!("no configuration")
        };
        asked.passes(&http_rbac::Rbac::decode(config.value.as_slice()).unwrap().rules.unwrap())
    })
}

fn policy(action: &str, rules: &str) -> String {
    format!(
        "kind: AuthorizationPolicy\nmetadata: {{name: p, namespace: shop}}\nspec: {{action: {action}, rules: {rules}}}\n"
    )
}

/// Whether a rule holds for a request: then ALLOW lets it through and DENY does not.
fn holds(rule: &str, asked: &Asked) -> bool {
    let allowed = may(&policy("ALLOW", &format!("[{rule}]")), asked, false, true);
    let denied = !may(&policy("DENY", &format!("[{rule}]")), asked, false, true);
    assert_eq!(allowed, denied, "ALLOW and DENY differ: {rule}");
    allowed
}

/// Rules that hold for [`get`], and their neighbours that do not.
#[test]
fn each_field_of_a_rule_decides() {
    for (yes, no) in [
        // Sources.
        ("principals: ['cluster.local/ns/shop/sa/web']", "principals: ['cluster.local/ns/shop/sa/we']"),
        ("principals: ['cluster.local/ns/shop/*']", "principals: ['cluster.local/ns/other/*']"),
        ("principals: ['*/sa/web']", "principals: ['*/sa/other']"),
        ("principals: ['x', '*']", "notPrincipals: ['*']"),
        ("notPrincipals: ['cluster.local/ns/a/sa/b']", "notPrincipals: ['cluster.local/ns/shop/sa/web']"),
        ("namespaces: [shop]", "namespaces: [sho]"),
        ("namespaces: ['s*']", "namespaces: ['o*']"),
        ("notNamespaces: [other]", "notNamespaces: [shop]"),
        ("ipBlocks: [10.0.0.0/8]", "ipBlocks: [10.2.0.0/16]"),
        ("ipBlocks: [10.1.2.3]", "ipBlocks: [192.0.2.7]"),
        ("notIpBlocks: [10.2.0.0/16]", "notIpBlocks: [10.1.0.0/16]"),
        ("remoteIpBlocks: [192.0.2.0/24]", "remoteIpBlocks: [10.1.2.3]"),
        ("notRemoteIpBlocks: [10.1.2.3]", "notRemoteIpBlocks: [192.0.2.0/24]"),
        ("requestPrincipals: ['issuer/me']", "requestPrincipals: ['issuer/you']"),
        ("requestPrincipals: ['*']", "notRequestPrincipals: ['*']"),
        ("requestPrincipals: ['issuer/*']", "requestPrincipals: ['other/*']"),
        ("requestPrincipals: ['*/me']", "requestPrincipals: ['*/you']"),
        ("requestPrincipals: ['issuer/']", "requestPrincipals: ['other/']"),
        ("requestPrincipals: ['iss*']", "requestPrincipals: ['oth*']"),
        ("notIpBlocks: [nonsense]", "ipBlocks: [nonsense]"),
        ("notRequestPrincipals: ['other/me']", "notRequestPrincipals: ['issuer/me']"),
        // Both of a source must hold.
        ("namespaces: [shop], ipBlocks: [10.0.0.0/8]", "namespaces: [shop], ipBlocks: [11.0.0.0/8]"),
    ] {
        assert!(holds(&format!("{{from: [{{source: {{{yes}}}}}]}}"), &get()), "{yes}");
        assert!(!holds(&format!("{{from: [{{source: {{{no}}}}}]}}"), &get()), "{no}");
    }
    for (yes, no) in [
        ("hosts: [reviews]", "hosts: [review]"),
        ("hosts: ['reviews:9080']", "hosts: ['reviews:80']"),
        ("hosts: ['rev*']", "hosts: ['*.example']"),
        ("notHosts: [other]", "notHosts: [REVIEWS]"),
        ("methods: [POST, GET]", "methods: [POST]"),
        ("notMethods: [POST]", "notMethods: [GET]"),
        ("paths: [/a/b]", "paths: [/a]"),
        ("paths: ['/a/*']", "paths: ['/b/*']"),
        ("paths: ['*/b']", "paths: ['*/b?q=1']"),
        ("paths: ['*']", "notPaths: ['*']"),
        ("notPaths: [/a]", "notPaths: ['/a*']"),
        ("ports: ['80', '9080']", "ports: ['80']"),
        ("notPorts: ['80']", "notPorts: ['9080']"),
        ("notPorts: [nonsense]", "ports: [nonsense]"),
        ("methods: [GET], ports: ['9080']", "methods: [GET], ports: ['80']"),
    ] {
        assert!(holds(&format!("{{to: [{{operation: {{{yes}}}}}]}}"), &get()), "{yes}");
        assert!(!holds(&format!("{{to: [{{operation: {{{no}}}}}]}}"), &get()), "{no}");
    }
    for (yes, no) in [
        ("key: source.ip, values: [10.1.2.3]", "key: source.ip, values: [10.1.2.4]"),
        ("key: remote.ip, values: [192.0.2.7]", "key: remote.ip, notValues: [192.0.2.7]"),
        ("key: source.namespace, values: [shop]", "key: source.namespace, values: [other]"),
        ("key: source.principal, values: ['*/sa/web']", "key: source.principal, values: ['*/sa/x']"),
        ("key: destination.ip, values: [10.64.0.0/16]", "key: destination.ip, values: [10.1.2.3]"),
        ("key: destination.port, values: ['9080']", "key: destination.port, notValues: ['9080']"),
        ("key: connection.sni, values: ['outbound_*']", "key: connection.sni, values: ['*.example']"),
        ("key: connection.sni, values: ['*']", "key: connection.sni, notValues: ['*']"),
        ("key: 'request.headers[x-t]', values: [one]", "key: 'request.headers[x-t]', values: ['on']"),
        ("key: 'request.headers[x-t]', values: ['*']", "key: 'request.headers[x-u]', values: ['*']"),
        ("key: 'request.headers[x-t]', notValues: [two]", "key: 'request.headers[x-t]', notValues: [one]"),
        (
            "key: 'request.regex.headers[x-t]', values: ['o.e']",
            "key: 'request.regex.headers[x-t]', values: ['on']",
        ),
        (
            "key: request.auth.principal, values: ['issuer/me']",
            "key: request.auth.principal, values: [issuer]",
        ),
        ("key: request.auth.audiences, values: [b]", "key: request.auth.audiences, values: [c]"),
        (
            "key: 'request.auth.claims[iss]', values: ['iss*']",
            "key: 'request.auth.claims[iss]', values: [me]",
        ),
        ("key: 'request.auth.claims[nested][k]', values: [v]", "key: 'request.auth.claims[k]', values: [v]"),
        ("key: request.auth.presenter, notValues: [x]", "key: request.auth.presenter, values: ['*']"),
        ("key: destination.ip, notValues: [nonsense]", "key: destination.ip, values: [nonsense]"),
    ] {
        assert!(holds(&format!("{{when: [{{{yes}}}]}}"), &get()), "{yes}");
        assert!(!holds(&format!("{{when: [{{{no}}}]}}"), &get()), "{no}");
    }
}

#[test]
fn sources_operations_and_conditions_must_all_hold_and_one_of_each_list() {
    let source = |yes: bool| format!("{{source: {{namespaces: [{}]}}}}", if yes { "shop" } else { "x" });
    let operation = |yes: bool| format!("{{operation: {{methods: [{}]}}}}", if yes { "GET" } else { "X" });
    let when =
        |yes: bool| format!("{{key: source.ip, values: [{}]}}", if yes { "10.1.2.3" } else { "10.1.2.4" });
    for (from, to, condition) in (0..8).map(|n| (n & 1 == 0, n & 2 == 0, n & 4 == 0)) {
        let rule = format!(
            "{{from: [{}, {}], to: [{}, {}], when: [{}, {}]}}",
            source(false),
            source(from),
            operation(false),
            operation(to),
            when(true),
            when(condition)
        );
        assert_eq!(holds(&rule, &get()), from && to && condition, "{rule}");
    }
}

#[test]
fn the_presenter_of_a_token_is_its_authorized_party() {
    let asked = Asked { claims: json!({"azp": "app"}), ..get() };
    assert!(holds("{when: [{key: request.auth.presenter, values: [app]}]}", &asked));
    assert!(!holds("{when: [{key: request.auth.presenter, values: [other]}]}", &asked));
}

#[test]
fn a_host_with_a_port_or_a_wildcard_is_taken_as_it_is_written() {
    for (host, authority) in [("reviews:9080", "reviews:9080:1"), ("*.example", "*.example:80")] {
        let asked = Asked { headers: vec![(":authority", authority)], ..get() };
        assert!(!holds(&format!("{{to: [{{operation: {{hosts: ['{host}']}}}}]}}"), &asked), "{host}");
    }
}

#[test]
fn conditions_on_the_connection_decide_on_tcp() {
    let connection = Asked { headers: Vec::new(), claims: Value::Null, ..get() };
    for (condition, expected) in [
        ("key: source.ip, values: [10.1.2.3]", true),
        ("key: source.ip, values: [10.1.2.4]", false),
        ("key: connection.sni, values: ['outbound_*']", true),
        ("key: destination.port, values: ['80']", false),
    ] {
        let rules = format!("[{{when: [{{{condition}}}]}}]");
        assert_eq!(may(&policy("ALLOW", &rules), &connection, true, true), expected, "{condition}");
        assert_eq!(may(&policy("DENY", &rules), &connection, true, true), !expected, "{condition}");
    }
}

#[test]
fn nobody_is_authenticated_without_a_certificate() {
    let asked = Asked { principal: None, ..get() };
    for rule in ["principals: ['*']", "principals: ['*/sa/web']", "namespaces: ['*']"] {
        assert!(!holds(&format!("{{from: [{{source: {{{rule}}}}}]}}"), &asked), "{rule}");
    }
    assert!(holds("{from: [{source: {notPrincipals: ['*']}}]}", &asked));
}

#[test]
fn a_policy_without_rules_allows_nothing_and_denies_nothing() {
    assert!(!may(&policy("ALLOW", "[]"), &get(), false, true));
    assert!(may(&policy("DENY", "[]"), &get(), false, true));
    assert!(may("kind: Namespace\nmetadata: {name: shop}\n", &get(), false, true), "no policy at all");
    assert!(may(&policy("ALLOW", "[{}]"), &get(), false, true));
    assert!(!may(&policy("DENY", "[{}]"), &get(), false, true));
}

#[test]
fn a_denial_outweighs_what_is_allowed() {
    let deny = policy("DENY", "[{to: [{operation: {methods: [GET]}}]}]").replace("name: p", "name: d");
    let both = format!("{}---\n{deny}", policy("ALLOW", "[{}]"));
    assert!(!may(&both, &get(), false, true));
}

#[test]
fn what_a_custom_policy_covers_is_denied() {
    let custom = policy("CUSTOM", "[{to: [{operation: {methods: [GET]}}]}]");
    assert!(!may(&custom, &get(), false, true));
    let post = Asked { headers: vec![(":method", "POST")], ..get() };
    assert!(may(&custom, &post, false, true));
}

#[test]
fn an_audit_policy_decides_nothing() {
    assert!(may(&policy("AUDIT", "[{}]"), &get(), false, true));
}

/// A connection knows no HTTP: what needs it allows nothing, and denies all that the rest of the rule covers.
#[test]
fn on_tcp_what_only_http_knows_never_allows_and_always_denies() {
    let connection = Asked { headers: Vec::new(), claims: Value::Null, ..get() };
    for rule in [
        "to: [{operation: {methods: [POST], ports: ['9080']}}]",
        "to: [{operation: {notPaths: ['*'], ports: ['9080']}}]",
        "from: [{source: {requestPrincipals: ['*'], namespaces: [shop]}}]",
        "when: [{key: 'request.headers[x]', values: ['y']}, {key: source.namespace, values: [shop]}]",
    ] {
        assert!(!may(&policy("ALLOW", &format!("[{{{rule}}}]")), &connection, true, true), "{rule}");
        assert!(!may(&policy("DENY", &format!("[{{{rule}}}]")), &connection, true, true), "{rule}");
    }
    // The rest of the rule still decides.
    let other_port = "[{to: [{operation: {methods: [POST], ports: ['80']}}]}]";
    assert!(may(&policy("DENY", other_port), &connection, true, true));
    assert!(may(&policy("ALLOW", "[{to: [{operation: {ports: ['9080']}}]}]"), &connection, true, true));
}

#[test]
fn an_attribute_that_nobody_knows_never_allows_and_denies_what_the_rest_covers() {
    let rule = "[{when: [{key: source.shoe-size, values: ['43']}], to: [{operation: {methods: [GET]}}]}]";
    assert!(!may(&policy("ALLOW", rule), &get(), false, true));
    assert!(!may(&policy("DENY", rule), &get(), false, true));
    let post = Asked { headers: vec![(":method", "POST")], ..get() };
    assert!(may(&policy("DENY", rule), &post, false, true));
}

/// `cluster.local` means the mesh's own trust domain whatever that is called; a peer's is nobody else's.
#[test]
fn principals_hold_for_the_other_names_of_our_trust_domain() {
    for (domain, aliases, named, expected) in [
        ("new.local", &["cluster.local"][..], "new.local", ["cluster.local", "new.local"]),
        ("new.local", &["cluster.local"], "cluster.local", ["cluster.local", "new.local"]),
        ("new.local", &["old.local"], "cluster.local", ["new.local", "old.local"]),
        ("new.local", &["old.local"], "east.local", ["east.local", "east.local"]),
        ("cluster.local", &[], "east.local", ["east.local", "east.local"]),
        ("cluster.local", &["old.local"], "east.local", ["east.local", "east.local"]),
    ] {
        let rule = format!("[{{from: [{{source: {{principals: ['{named}/ns/shop/sa/web']}}}}]}}]");
        let mut inputs = Inputs::default();
        inputs.insert(serde_saphyr::from_str(&policy("ALLOW", &rule)).unwrap()).unwrap();
        let mesh = portolan_resources::MeshConfig {
            trust_domain: domain.to_owned(),
            trust_domain_aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            ..Default::default()
        };
        inputs.mesh_config = std::sync::Arc::new(mesh);
        let rules = http_rules(&portolan_mesh::Mesh::from(&inputs));
        for (client, identity) in [
            ("cluster.local", "spiffe://cluster.local/ns/shop/sa/web"),
            ("new.local", "spiffe://new.local/ns/shop/sa/web"),
            ("old.local", "spiffe://old.local/ns/shop/sa/web"),
            ("east.local", "spiffe://east.local/ns/shop/sa/web"),
        ] {
            let holds = Asked { principal: Some(identity), ..get() }.passes(&rules);
            let itself = client == named;
            assert_eq!(holds, itself || expected.contains(&client), "{domain} {aliases:?} {named} {client}");
        }
    }
}

/// Our own proxy verifies no tokens: requests that carry one are refused, all others go on as Istio has it.
#[test]
fn our_proxy_refuses_tokens_that_nobody_verifies() {
    let authentication = |rule: &str| {
        format!(
            "kind: RequestAuthentication\nmetadata: {{name: j, namespace: shop}}\nspec: {{jwtRules: [{rule}]}}\n"
        )
    };
    let with = |name: &'static str, value: &'static str| Asked {
        headers: vec![(":method", "GET"), (":path", "/"), (name, value)],
        claims: Value::Null,
        ..get()
    };
    let usual = authentication("{issuer: a}");
    assert!(may(&usual, &with("x", "y"), false, false), "no token");
    assert!(may(&usual, &with("authorization", "Basic eA=="), false, false), "no token");
    assert!(!may(&usual, &with("authorization", "Bearer x.y.z"), false, false));
    assert!(!may(&usual, &with("authorization", "bearer x.y.z"), false, false));
    let in_query = Asked { headers: vec![(":path", "/?access_token=x")], ..with("x", "y") };
    assert!(!may(&usual, &in_query, false, false));
    let elsewhere = authentication(
        "{issuer: a, fromHeaders: [{name: x-jwt}, {name: x-b, prefix: 'T '}], fromParams: [t]}",
    );
    assert!(may(&elsewhere, &with("authorization", "Bearer x.y.z"), false, false), "not looked at");
    assert!(!may(&elsewhere, &with("x-jwt", "z"), false, false));
    assert!(!may(&elsewhere, &with("x-b", "T z"), false, false));
    assert!(may(&elsewhere, &with("x-b", "z"), false, false));
    assert!(!may(&elsewhere, &Asked { headers: vec![(":path", "/?t=x")], ..with("x", "y") }, false, false));
    // An Envoy verifies them itself, and a workload without rules takes no notice.
    assert!(may(&usual, &with("authorization", "Bearer x.y.z"), false, true));
    assert!(may(&authentication(""), &with("authorization", "Bearer x.y.z"), false, false));
    // Rules that need verified claims never hold.
    let claims = policy("ALLOW", "[{from: [{source: {requestPrincipals: ['*']}}]}]");
    assert!(!may(&format!("{usual}---\n{claims}"), &with("x", "y"), false, false));
}
