//! Route configurations as messages, and what is made of them.

use serde_json::{Value, json};

use super::*;
use crate::route::RouteTable;
use crate::testing::{connection_of, message, request};
use crate::value::unread;

fn compile(json: Value) -> Valid<Arc<RouteTable>> {
    RouteTable::compile(&message(json), unread).map(Arc::new)
}

/// A table of one route.
fn table(route: Value) -> Valid<Arc<RouteTable>> {
    compile(json!({"virtual_hosts": [{"name": "h", "domains": ["*"], "routes": [route]}]}))
}

/// A route with this action.
fn acting(action: Value) -> Value {
    let mut route = json!({"name": "r", "match": {"prefix": "/"}});
    route.as_object_mut().unwrap().extend(action.as_object().unwrap().clone());
    route
}

/// The action `route` with these fields beside a cluster.
fn forward(fields: Value) -> RouteAction {
    try_forward(fields).unwrap()
}

fn try_forward(fields: Value) -> Valid<RouteAction> {
    let mut action = json!({"cluster": "c"});
    action.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    route_action(&message(action))
}

fn refusal(route: Value) -> String {
    let error = table(route).unwrap_err().0;
    error.strip_prefix("virtual host \"h\": route 0 \"r\": ").unwrap_or(&error).to_owned()
}

#[test]
fn timeouts_have_defaults_and_zero_means_none() {
    let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs());
    let plain = forward(json!({}));
    assert_eq!(seconds(plain.timeout), Some(15));
    assert_eq!(plain.idle_timeout, None);
    assert_eq!((plain.max_stream_duration, plain.grpc_timeout, plain.grpc_duration), (None, None, None));
    let set = forward(json!({
        "timeout": "3s", "idle_timeout": "4s", "max_grpc_timeout": "5s",
        "max_stream_duration": {"max_stream_duration": "6s", "grpc_timeout_header_max": "7s"},
    }));
    assert_eq!(seconds(set.timeout), Some(3));
    assert_eq!(set.idle_timeout.map(seconds), Some(Some(4)));
    assert_eq!(set.grpc_timeout.map(seconds), Some(Some(5)));
    assert_eq!(seconds(set.max_stream_duration), Some(6));
    assert_eq!(set.grpc_duration.map(seconds), Some(Some(7)));
    let off = forward(json!({
        "timeout": "0s", "idle_timeout": "0s", "max_grpc_timeout": "0s",
        "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
    }));
    assert_eq!((off.timeout, off.idle_timeout, off.grpc_timeout), (None, Some(None), Some(None)));
    assert_eq!((off.max_stream_duration, off.grpc_duration), (None, Some(None)));
}

#[test]
fn the_status_without_a_cluster_is_configured() {
    let status = |fields: Value| forward(fields).not_found.as_u16();
    assert_eq!(status(json!({})), 503);
    assert_eq!(status(json!({"cluster_not_found_response_code": "NOT_FOUND"})), 404);
    assert_eq!(status(json!({"cluster_not_found_response_code": "INTERNAL_SERVER_ERROR"})), 500);
}

#[test]
fn paths_are_rewritten_by_prefix_or_expression() {
    let pattern = json!({"pattern": {"regex": "a"}, "substitution": "b"});
    let by = PathMatch::Prefix("/a".into(), true);
    let rewritten = |fields: Value| forward(fields).path_rewrite.map(|rewrite| rewrite.apply(&by, "/a/a"));
    assert_eq!(rewritten(json!({})), None);
    assert_eq!(rewritten(json!({"prefix_rewrite": "/x"})).as_deref(), Some("/x/a"));
    assert_eq!(rewritten(json!({ "regex_rewrite": pattern })).as_deref(), Some("/b/b"));
    let both = json!({"prefix_rewrite": "/x", "regex_rewrite": pattern});
    assert_eq!(rewritten(both).as_deref(), Some("/x/a"));
}

#[test]
fn hosts_are_rewritten_as_configured() {
    let rewrite = |fields: Value| forward(fields).host_rewrite;
    assert!(matches!(rewrite(json!({})), HostRewrite::None));
    assert!(
        matches!(rewrite(json!({"host_rewrite_literal": "a"})), HostRewrite::Literal(text) if text == "a")
    );
    assert!(matches!(rewrite(json!({"auto_host_rewrite": true})), HostRewrite::Auto));
    assert!(matches!(rewrite(json!({"auto_host_rewrite": false})), HostRewrite::None));
    assert!(
        matches!(rewrite(json!({"host_rewrite_header": "X-Host"})), HostRewrite::Header(name) if name == "x-host")
    );
    let regex = json!({"host_rewrite_path_regex": {"pattern": {"regex": "a"}, "substitution": "b"}});
    assert!(matches!(rewrite(regex), HostRewrite::PathRegex(_, text) if text == "b"));
}

#[test]
fn the_rest_of_an_action_is_taken_over() {
    let plain = forward(json!({}));
    assert!(!plain.append_forwarded_host && !plain.high_priority && plain.retry.is_none());
    assert!(plain.hash.is_empty() && plain.mirrors.is_empty() && plain.subset.is_empty());
    let set = forward(json!({
        "append_x_forwarded_host": true,
        "priority": "HIGH",
        "retry_policy": {"num_retries": 5},
        "metadata_match": {"filter_metadata": {"envoy.lb": {"version": "v1"}}},
    }));
    assert!(set.append_forwarded_host && set.high_priority);
    assert_eq!(set.retry.unwrap().retries, 5);
    assert_eq!(set.subset.len(), 1);
}

#[test]
fn hash_policies_keep_their_order_and_ends() {
    let hash = forward(json!({"hash_policy": [
        {"header": {"header_name": "X-User"}, "terminal": true},
        {"cookie": {"name": "user", "path": "/p", "ttl": "9s"}},
        {"connection_properties": {"source_ip": true}},
        {"query_parameter": {"name": "q"}, "terminal": true},
    ]}))
    .hash;
    assert!(matches!(&hash[0], HashPolicy::Header(name, true) if name == "x-user"));
    assert!(matches!(&hash[1], HashPolicy::Cookie { name, path, ttl: Some(ttl), terminal: false }
        if name == "user" && path == "/p" && ttl.as_secs() == 9));
    assert!(matches!(hash[2], HashPolicy::SourceIp(false)));
    assert!(matches!(&hash[3], HashPolicy::Query(name, true) if name == "q"));
}

#[test]
fn mirrors_have_a_share_and_a_name() {
    let mirrors = forward(json!({"request_mirror_policies": [
        {"cluster": "all"},
        {"cluster": "some", "disable_shadow_host_suffix_append": true,
            "runtime_fraction": {"default_value": {"numerator": 5}}},
    ]}))
    .mirrors;
    let seen: Vec<_> = mirrors.iter().map(|one| (&*one.cluster, one.share, one.suffix)).collect();
    assert_eq!(seen, [("all", 1_000_000, true), ("some", 50_000, false)]);
}

#[test]
fn upgrades_are_switched_by_route_or_listener() {
    let action = forward(json!({"upgrade_configs": [
        {"upgrade_type": "WebSocket"}, {"upgrade_type": "other", "enabled": false},
    ]}));
    let listener = ["other".to_owned(), "third".to_owned()];
    for (upgrade, wanted) in [
        (None, true),
        (Some("websocket"), true),
        (Some("other"), false),
        (Some("third"), true),
        (Some("fourth"), false),
    ] {
        assert_eq!(action.allows_upgrade(upgrade, &listener), wanted, "{upgrade:?}");
    }
}

#[test]
fn weighted_clusters_have_what_stands_beside_their_weight() {
    let choice = try_forward(json!({"cluster": null, "weighted_clusters": {"clusters": [
        {"name": "a", "weight": 1, "host_rewrite_literal": "a.example",
            "metadata_match": {"filter_metadata": {"envoy.lb": {"version": "v1"}}}},
        {"name": "b", "weight": 2, "request_headers_to_remove": ["x-a"]},
    ]}}))
    .unwrap()
    .cluster;
    let ClusterChoice::Weighted { clusters, total } = choice else { panic!("{choice:?}") };
    assert_eq!(total, 3);
    assert_eq!((&*clusters[0].name, clusters[0].weight, clusters[0].subset.len()), ("a", 1, 1));
    assert_eq!(clusters[0].host_rewrite.as_deref(), Some("a.example"));
    assert!(clusters[0].mutations.request.is_empty() && !clusters[1].mutations.request.is_empty());
}

#[test]
fn actions_that_cannot_be_carried_out_are_refused() {
    let regex = json!({"pattern": {"regex": "("}, "substitution": ""});
    for (fields, reason) in [
        (json!({"cluster": null}), "missing cluster"),
        (json!({"cluster": null, "cluster_header": "a b"}), "\"a b\" is not a header name"),
        (
            json!({"cluster": null, "cluster_specifier_plugin": "x"}),
            "cluster specifier plugins are not supported",
        ),
        (
            json!({"cluster": null, "weighted_clusters": {"clusters": [{"weight": 1}]}}),
            "weighted_clusters: weighted cluster without name",
        ),
        (
            json!({"cluster": null, "weighted_clusters": {"clusters": [{"name": "a"}]}}),
            "weighted_clusters: the sum of weights is 0",
        ),
        (json!({ "regex_rewrite": regex }), "regex_rewrite: regular expression"),
        (json!({"regex_rewrite": {}}), "regex_rewrite: regex rewrite without pattern"),
        (json!({"path_rewrite_policy": {"name": "x"}}), "path_rewrite_policy is not supported"),
        (json!({"host_rewrite": "%PROTOCOL%"}), "host_rewrite with formats is not supported"),
        (json!({"request_mirror_policies": [{}]}), "request_mirror_policies: cluster is empty"),
        (json!({"hash_policy": [{}]}), "hash_policy: empty hash policy"),
        (
            json!({"hash_policy": [{"filter_state": {"key": "x"}}]}),
            "hash_policy: filter_state is not supported",
        ),
    ] {
        let error = try_forward(fields.clone()).unwrap_err().0;
        assert!(error.starts_with(reason), "{fields}: {error}");
    }
}

#[test]
fn a_direct_response_has_a_status_and_a_small_body() {
    let direct = |status: u32, body: usize| {
        table(acting(
            json!({"direct_response": {"status": status, "body": {"inline_string": "x".repeat(body)}}}),
        ))
    };
    let largest = direct(200, 4096).unwrap();
    assert!(matches!(&largest.hosts[0].routes[0].action, Action::Direct { status, body }
        if status.as_u16() == 200 && body.len() == 4096));
    assert!(direct(599, 0).is_ok());
    assert_eq!(
        direct(200, 4097).unwrap_err().0,
        "virtual host \"h\": route 0 \"r\": direct_response: body is larger than 4096 bytes"
    );
    for status in [199, 600, 65_736] {
        assert!(direct(status, 0).unwrap_err().0.ends_with("is not a usable status"), "{status}");
    }
}

#[test]
fn redirects_are_compiled() {
    let redirect = |json: Value| compile_redirect(&message(json)).unwrap();
    for (name, code) in [
        ("MOVED_PERMANENTLY", 301),
        ("FOUND", 302),
        ("SEE_OTHER", 303),
        ("TEMPORARY_REDIRECT", 307),
        ("PERMANENT_REDIRECT", 308),
    ] {
        assert_eq!(redirect(json!({ "response_code": name })).status.as_u16(), code);
    }
    let plain = redirect(json!({}));
    assert!(plain.scheme.is_none() && plain.host.is_none() && plain.port.is_none() && plain.path.is_none());
    assert!(!plain.strip_query);
    let set = redirect(json!({"host_redirect": "b", "port_redirect": 81, "strip_query": true}));
    assert_eq!((set.host.as_deref(), set.port, set.strip_query), (Some("b"), Some(81), true));
    assert_eq!(redirect(json!({"https_redirect": true})).scheme.as_deref(), Some("https"));
    assert_eq!(redirect(json!({"https_redirect": false})).scheme, None);
    assert_eq!(redirect(json!({"scheme_redirect": "wss"})).scheme.as_deref(), Some("wss"));
    assert_eq!(redirect(json!({"scheme_redirect": ""})).scheme, None);
    let by = PathMatch::Prefix("/a".into(), true);
    let path = |json: Value| redirect(json).path.map(|path| path.apply(&by, "/a/c"));
    assert_eq!(path(json!({"path_redirect": "/b"})).as_deref(), Some("/b"));
    assert_eq!(path(json!({"path_redirect": ""})), None);
    assert_eq!(path(json!({"prefix_rewrite": "/b"})).as_deref(), Some("/b/c"));
    let regex = json!({"regex_rewrite": {"pattern": {"regex": "c"}, "substitution": "d"}});
    assert_eq!(path(regex).as_deref(), Some("/a/d"));
}

#[test]
fn routes_that_cannot_be_taken_are_refused() {
    let matching = |wanted: Value| json!({"name": "r", "match": wanted, "non_forwarding_action": {}});
    let elsewhere = "match by cookies, dynamic metadata or filter state is not supported";
    for (route, reason) in [
        (json!({"name": "r", "non_forwarding_action": {}}), "missing match"),
        (json!({"name": "r", "match": {"prefix": "/"}}), "missing action"),
        (acting(json!({"filter_action": {}})), "filter_action is not supported"),
        (matching(json!({})), "match: missing path specifier"),
        (matching(json!({"safe_regex": {"regex": "("}})), "match: regular expression"),
        (matching(json!({"path_match_policy": {"name": "x"}})), "match: path_match_policy is not supported"),
        (matching(json!({"prefix": "/", "dynamic_metadata": [{}]})), elsewhere),
        (matching(json!({"prefix": "/", "filter_state": [{}]})), elsewhere),
        (matching(json!({"prefix": "/", "cookies": [{}]})), elsewhere),
        (matching(json!({"prefix": "/", "headers": [{"name": "a b"}]})), "headers: "),
        (
            matching(json!({"prefix": "/", "query_parameters": [{"name": "a", "present_match": false}]})),
            "query_parameters: ",
        ),
        (acting(json!({"redirect": {"regex_rewrite": {}}})), "redirect: regex rewrite without pattern"),
    ] {
        let error = refusal(route.clone());
        assert!(error.starts_with(reason), "{route}: {error}");
    }
}

#[test]
fn tables_that_cannot_be_used_are_refused() {
    let host = |fields: Value| {
        let mut host = json!({"name": "h", "domains": ["a"]});
        host.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"virtual_hosts": [host]})
    };
    for (json, reason) in [
        (json!({"internal_only_headers": ["a b"]}), "\"a b\" is not a header name"),
        (host(json!({"matcher": {}})), "virtual host \"h\": matcher is not supported"),
        (host(json!({"domains": ["a", "A"]})), "virtual host \"h\": domain \"a\" is listed twice"),
        (host(json!({"domains": ["*", "*"]})), "virtual host \"h\": domain \"*\" is listed twice"),
        (host(json!({"domains": ["*.a", "*.a"]})), "virtual host \"h\": domain \"*.a\" is listed twice"),
        (host(json!({"domains": ["a.*", "a.*"]})), "virtual host \"h\": domain \"a.*\" is listed twice"),
    ] {
        assert_eq!(compile(json).unwrap_err().0, reason);
    }
}

#[test]
fn a_host_has_what_stands_beside_its_routes() {
    let one = |host: Value| {
        let mut host = host;
        host["domains"] = json!(["*"]);
        compile(json!({ "virtual_hosts": [host] })).unwrap().hosts[0].clone()
    };
    let plain = one(json!({}));
    assert_eq!((plain.require_tls, plain.buffer_limit), (RequireTls::No, None));
    assert!(!plain.attempt_count_to_upstream && !plain.attempt_count_to_client && plain.retry.is_none());
    let set = one(json!({
        "include_request_attempt_count": true, "per_request_buffer_limit_bytes": 7, "retry_policy": {},
    }));
    assert!(set.attempt_count_to_upstream && !set.attempt_count_to_client && set.retry.is_some());
    assert_eq!(set.buffer_limit, Some(7));
    assert!(one(json!({"include_attempt_count_in_response": true})).attempt_count_to_client);
    assert_eq!(one(json!({"require_tls": "EXTERNAL_ONLY"})).require_tls, RequireTls::External);
    assert_eq!(one(json!({"require_tls": "ALL"})).require_tls, RequireTls::All);
}

#[test]
fn a_table_has_what_stands_beside_its_hosts() {
    let plain = compile(json!({})).unwrap();
    assert!(!plain.ignore_port && !plain.most_specific_wins && plain.internal_only.is_empty());
    assert!(plain.mutations.request.is_empty());
    let set = compile(json!({
        "ignore_port_in_host_matching": true, "most_specific_header_mutations_wins": true,
        "internal_only_headers": ["X-Inner"], "request_headers_to_remove": ["x-a"],
    }))
    .unwrap();
    assert!(set.ignore_port && set.most_specific_wins && !set.mutations.request.is_empty());
    assert_eq!(*set.internal_only, ["x-inner"]);
}

#[test]
fn a_route_may_ask_for_grpc_a_share_or_a_certificate() {
    let takes = |wanted: Value, grpc: bool, peer: bool| {
        let mut json = json!({"prefix": "/"});
        json.as_object_mut().unwrap().extend(wanted.as_object().unwrap().clone());
        let table = table(json!({"match": json, "non_forwarding_action": {}})).unwrap();
        let request = crate::message::Request { is_grpc: grpc, ..request() };
        let plain = crate::testing::connection();
        let connection = if peer { connection_of(&[], &[]) } else { plain };
        table.find(&request, &connection, false).is_some()
    };
    assert!(takes(json!({"grpc": {}}), true, false) && !takes(json!({"grpc": {}}), false, false));
    for field in ["presented", "validated"] {
        let wants = |wanted: bool, peer: bool| takes(json!({"tls_context": {field: wanted}}), false, peer);
        assert!(wants(true, true) && wants(false, false), "{field}");
        assert!(!wants(true, false) && !wants(false, true), "{field}");
    }
    assert!(takes(json!({"tls_context": {}}), false, false));
    let share = |numerator: u32| json!({"runtime_fraction": {"default_value": {"numerator": numerator}}});
    assert!(takes(share(100), false, false) && !takes(share(0), false, false));
}

#[test]
fn a_route_has_limits_and_changes_of_its_own() {
    let table = table(acting(json!({
        "per_request_buffer_limit_bytes": 7, "response_headers_to_remove": ["x-a"], "non_forwarding_action": {},
    })))
    .unwrap();
    let route = &table.hosts[0].routes[0];
    assert_eq!((&*route.name, route.buffer_limit), ("r", Some(7)));
    assert!(route.mutations.request.is_empty() && !route.mutations.response.is_empty());
    assert!(matches!(route.action, Action::None));
}

#[test]
fn policies_for_other_origins_stand_on_routes_and_hosts() {
    let cors = json!({"allow_origin_string_match": [{"custom": {"name": "x"}}]});
    let on_route = table(acting(json!({"route": {"cluster": "c", "cors": cors}})));
    assert!(on_route.unwrap_err().0.contains("allow_origin_string_match"));
    let on_host = compile(json!({"virtual_hosts": [{"name": "h", "domains": ["*"], "cors": cors}]}));
    assert!(on_host.unwrap_err().0.contains("allow_origin_string_match"));
}

#[test]
fn the_longest_domain_wins_however_they_are_listed() {
    let any = json!([{"match": {"prefix": "/"}, "non_forwarding_action": {}}]);
    let host = |name: &str, domain: &str| json!({"name": name, "domains": [domain], "routes": any});
    let table = compile(json!({"virtual_hosts": [
        host("s1", "*.com"), host("s2", "*.a.com"), host("p1", "www.*"), host("p2", "www.a.*"),
    ]}))
    .unwrap();
    let at = |authority: &str| table.virtual_host(authority).map(Arc::as_ptr);
    let own = |at: usize| Some(Arc::as_ptr(&table.hosts[at]));
    assert_eq!(at("x.a.com"), own(1));
    assert_eq!(at("x.b.com"), own(0));
    assert_eq!(at("www.a.org"), own(3));
    assert_eq!(at("www.b.org"), own(2));
    assert_eq!(at("www."), None);
}
