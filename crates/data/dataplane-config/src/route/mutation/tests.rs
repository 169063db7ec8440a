//! What becomes of header fields.

use serde_json::{Value, json};

use super::*;
use crate::testing::message;

fn changes(add: Value, remove: &[&str]) -> Valid<Changes> {
    let add: Vec<_> = add.as_array().unwrap().iter().cloned().map(message).collect();
    let remove: Vec<_> = remove.iter().map(|name| (*name).to_owned()).collect();
    Changes::compile(&add, &remove)
}

/// The values of `x-a` after a change, of those that there were.
fn after(change: Value, before: &[&str]) -> Vec<String> {
    let mut headers = HeaderMap::new();
    before.iter().for_each(|value| _ = headers.append("x-a", value.parse().unwrap()));
    changes(json!([change]), &[]).unwrap().apply(&mut headers, None);
    headers.get_all("x-a").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn one(value: &str) -> Value {
    json!({"header": {"key": "x-a", "value": value}})
}

#[test]
fn the_action_says_what_becomes_of_values_that_are_there() {
    for (action, with, without) in [
        (json!({}), vec!["1", "2"], vec!["2"]),
        (json!({"append": true}), vec!["1", "2"], vec!["2"]),
        (json!({"append": false}), vec!["2"], vec!["2"]),
        (json!({"append_action": "APPEND_IF_EXISTS_OR_ADD"}), vec!["1", "2"], vec!["2"]),
        (json!({"append_action": "ADD_IF_ABSENT"}), vec!["1"], vec!["2"]),
        (json!({"append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}), vec!["2"], vec!["2"]),
        (json!({"append_action": "OVERWRITE_IF_EXISTS"}), vec!["2"], vec![]),
    ] {
        let mut change = one("2");
        change.as_object_mut().unwrap().extend(action.as_object().unwrap().clone());
        assert_eq!(after(change.clone(), &["1"]), with, "{action}");
        assert_eq!(after(change, &[]), without, "{action}");
    }
}

#[test]
fn an_empty_value_is_left_out_unless_it_is_to_be_kept() {
    assert!(after(one(""), &[]).is_empty());
    let mut kept = one("");
    kept["keep_empty_value"] = json!(true);
    assert_eq!(after(kept, &[]), [""]);
}

#[test]
fn a_raw_value_comes_before_a_text() {
    let raw = json!({"header": {"key": "x-a", "value": "text", "raw_value": "cmF3"}});
    assert_eq!(after(raw, &[]), ["raw"]);
}

#[test]
fn operators_are_worked_out_by_the_one_who_knows() {
    struct Knows;
    impl Render for Knows {
        fn text(&self, _: &Format) -> String {
            "known".into()
        }
    }
    let changes = changes(json!([one("%PROTOCOL%"), one("plain")]), &[]).unwrap();
    let mut headers = HeaderMap::new();
    changes.apply(&mut headers, Some(&Knows));
    assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["known", "plain"]);
    let mut headers = HeaderMap::new();
    changes.apply(&mut headers, None);
    assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["plain"]);
}

#[test]
fn removals_come_first() {
    let mut headers = HeaderMap::new();
    headers.append("x-a", HeaderValue::from_static("1"));
    headers.append("x-b", HeaderValue::from_static("1"));
    changes(json!([one("2")]), &["x-a", "x-b"]).unwrap().apply(&mut headers, None);
    assert_eq!(headers["x-a"], "2");
    assert_eq!(headers.len(), 1);
}

#[test]
fn what_changes_nothing_is_empty() {
    assert!(changes(json!([]), &[]).unwrap().is_empty());
    assert!(!changes(json!([one("1")]), &[]).unwrap().is_empty());
    assert!(!changes(json!([]), &["x-a"]).unwrap().is_empty());
}

#[test]
fn fields_that_route_or_frame_cannot_be_changed() {
    for name in [":path", "host", "Host"] {
        let reason = format!("{name:?} cannot be changed as a header");
        assert_eq!(changes(json!([]), &[name]).unwrap_err().0, reason);
        assert_eq!(changes(json!([{"header": {"key": name}}]), &[]).unwrap_err().0, reason);
    }
    assert_eq!(changes(json!([]), &["a b"]).unwrap_err().0, "\"a b\" is not a header name");
}

#[test]
fn changes_that_cannot_be_read_are_refused() {
    assert_eq!(changes(json!([{}]), &[]).unwrap_err().0, "header is missing");
    let raw = json!([{"header": {"key": "x-a", "raw_value": "/w=="}}]);
    assert_eq!(changes(raw, &[]).unwrap_err().0, "raw_value is not UTF-8");
    let header = Some(core::HeaderValue { key: "x-a".into(), ..Default::default() });
    let unknown = core::HeaderValueOption { header, append_action: 9, ..Default::default() };
    assert_eq!(Changes::compile(&[unknown], &[]).unwrap_err().0, "unknown append_action");
}

#[test]
fn both_directions_are_compiled_and_named_in_errors() {
    let bad = ["host".to_owned()];
    let error = |request: &[String], response: &[String]| {
        Mutations::compile(&[], request, &[], response).unwrap_err().0
    };
    assert!(error(&bad, &[]).starts_with("request headers: "));
    assert!(error(&[], &bad).starts_with("response headers: "));
    let add = [message::<core::HeaderValueOption>(one("1"))];
    let both = Mutations::compile(&add, &[], &[], &[]).unwrap();
    assert!(!both.request.is_empty() && both.response.is_empty());
}
