//! Retries, injected faults and CORS of a VirtualService's HTTP rules.

use serde_json::{Value, json};

use super::mesh::{Mesh, at};

/// The route of a rule with these fields.
fn route(rule: Value) -> Value {
    let mut rule = rule;
    rule["route"] = json!([{"destination": {"host": "a"}}]);
    let mesh = Mesh::of(
        "{kind: Service, metadata: {name: a, namespace: shop}, spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}}",
    )
    .and(json!({"kind": "VirtualService", "metadata": {"name": "v", "namespace": "shop"},
        "spec": {"hosts": ["a"], "http": [rule]}}));
    at(&mesh.seen_by_sidecar().routes("80"), "/virtual_hosts/0/routes/0")
}

#[test]
fn retries_happen_on_the_conditions_that_the_rule_names() {
    let default = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";
    for (conditions, on, statuses) in [
        (json!(null), default, json!([503])),
        (json!(""), default, json!([503])),
        (json!("5xx, reset"), "5xx,reset", json!(null)),
        (json!("5xx,,409, 410"), "5xx,retriable-status-codes", json!([409, 410])),
        (json!("retriable-status-codes,409"), "retriable-status-codes", json!([409])),
        (json!("409"), "retriable-status-codes", json!([409])),
    ] {
        let found = route(json!({"retries": {"attempts": 1, "retryOn": conditions}}));
        let policy = &found["route"]["retry_policy"];
        assert_eq!(
            (&policy["retry_on"], &policy["retriable_status_codes"]),
            (&json!(on), &statuses),
            "{conditions}"
        );
    }
}

#[test]
fn retries_are_as_many_as_the_rule_names() {
    for (attempts, expected) in [(3, json!(3)), (1, json!(1)), (0, json!(null)), (-1, json!(null))] {
        let found = route(json!({"retries": {"attempts": attempts}}));
        assert_eq!(at(&found, "/route/retry_policy/num_retries"), expected, "{attempts}");
        assert_eq!(found["route"]["retry_policy"].is_null(), expected.is_null(), "{attempts}");
    }
}

#[test]
fn each_try_has_its_own_time() {
    let found = route(json!({"retries": {"attempts": 1, "perTryTimeout": "2s"}}));
    assert_eq!(at(&found, "/route/retry_policy/per_try_timeout"), "2s");
}

#[test]
fn retries_leave_the_locality_where_the_rule_says_so() {
    let priority = json!({
        "name": "envoy.retry_priorities.previous_priorities", "typed_config": {"update_frequency": 2}});
    for (remote, expected) in
        [(json!(true), priority), (json!(false), json!(null)), (json!(null), json!(null))]
    {
        let found = route(json!({"retries": {"attempts": 1, "retryRemoteLocalities": remote}}));
        assert_eq!(at(&found, "/route/retry_policy/retry_priority"), expected, "{remote}");
    }
}

fn per_filter(rule: Value, name: &str) -> Value {
    route(rule)["typed_per_filter_config"][name].clone()
}

#[test]
fn faults_hit_the_share_of_requests_that_the_rule_names() {
    let share = |millionths: u32| json!({"numerator": millionths, "denominator": "MILLION"});
    let delay = |millionths: u32| json!({"delay": {"fixed_delay": "2s", "percentage": share(millionths)}});
    let abort = |millionths: u32| json!({"abort": {"http_status": 418, "percentage": share(millionths)}});
    for (fault, expected) in [
        (json!({"delay": {"fixedDelay": "2s"}}), delay(1_000_000)),
        (json!({"delay": {"fixedDelay": "2s", "percent": 10}}), delay(100_000)),
        (json!({"delay": {"fixedDelay": "2s", "percentage": {"value": 0.1}}}), delay(1_000)),
        (json!({"delay": {"fixedDelay": "2s", "percentage": {"value": 0.1}, "percent": 10}}), delay(1_000)),
        (json!({"delay": {"fixedDelay": "2s", "percentage": {"value": 0.0}}}), json!(null)),
        (json!({"delay": {"percentage": {"value": 1.0}}}), json!(null)),
        (json!({"abort": {"httpStatus": 418}}), abort(1_000_000)),
        (json!({"abort": {"httpStatus": 418, "percentage": {"value": 0.0001}}}), abort(1)),
        (json!({"abort": {"httpStatus": 418, "percentage": {"value": 0.0}}}), json!(null)),
        (json!({"abort": {"percentage": {"value": 1.0}}}), json!(null)),
        (json!({}), json!(null)),
    ] {
        let found = per_filter(json!({"fault": fault}), "envoy.filters.http.fault");
        assert_eq!(found, expected, "{fault}");
    }
}

#[test]
fn a_fault_may_delay_and_abort() {
    let fault = json!({"delay": {"fixedDelay": "2s"}, "abort": {"httpStatus": 418}});
    let found = per_filter(json!({"fault": fault}), "envoy.filters.http.fault");
    assert!(found["delay"].is_object() && found["abort"].is_object(), "{found}");
}

#[test]
fn a_cors_policy_in_full() {
    let policy = json!({
        "allowOrigins": [{"exact": "https://a"}, {"prefix": "https://b"}, {"regex": ".*c"}, {"exact": "*"}],
        "allowOrigin": ["https://old"],
        "allowMethods": ["GET", "POST"], "allowHeaders": ["x", "y"], "exposeHeaders": ["z", "w"],
        "maxAge": "24h", "allowCredentials": true,
    });
    assert_eq!(
        per_filter(json!({"corsPolicy": policy}), "envoy.filters.http.cors"),
        json!({
            "allow_origin_string_match": [
                {"exact": "https://a"}, {"prefix": "https://b"}, {"safe_regex": {"regex": ".*c"}},
                {"safe_regex": {"regex": ".*"}},
            ],
            "allow_methods": "GET,POST", "allow_headers": "x,y", "expose_headers": "z,w",
            "max_age": "86400", "allow_credentials": true,
            "filter_enabled": {"default_value": {"numerator": 1_000_000, "denominator": "MILLION"}},
        })
    );
}

#[test]
fn origins_in_the_old_form_are_exact_or_any() {
    for (origins, expected) in [
        (json!(["https://a", "*"]), json!([{"exact": "https://a"}, {"safe_regex": {"regex": ".*"}}])),
        (json!([]), json!(null)),
    ] {
        let found = per_filter(json!({"corsPolicy": {"allowOrigin": origins}}), "envoy.filters.http.cors");
        assert_eq!(found["allow_origin_string_match"], expected, "{origins}");
    }
}
