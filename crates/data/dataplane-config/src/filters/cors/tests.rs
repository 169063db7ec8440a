//! Which pages of other origins may read answers.

use serde_json::{Value, json};

use super::super::PerFilter;
use super::*;
use crate::testing::{Scene, message, request, request_with};

/// One request where these policies are on its route, most specific first.
fn share(policies: &[Value]) -> Option<Box<dyn StreamFilter>> {
    let level = |policy: &Value| {
        let mut level = PerFilter::default();
        level.set_legacy_cors(&message::<route::CorsPolicy>(policy.clone())).unwrap();
        level
    };
    let levels: Vec<PerFilter> = policies.iter().map(level).collect();
    let levels: Vec<&PerFilter> = levels.iter().collect();
    Filter.start(&Overrides { levels: &levels, name: "cors" })
}

fn policy() -> Value {
    json!({
        "allow_origin_string_match": [{"exact": "https://a.example"}],
        "allow_methods": "GET", "allow_headers": "x-a", "expose_headers": "x-b", "max_age": "60", "allow_credentials": true,
    })
}

/// The fields of the answer to an ordinary request from an origin.
fn read(policies: &[Value], origin: &str) -> HeaderMap {
    let mut filter = share(policies).unwrap();
    let mut scene = Scene::of(request_with(&[("origin", origin)]));
    assert!(matches!(scene.request(&mut *filter), Flow::Continue));
    let mut head = ResponseHead::new(StatusCode::OK);
    assert!(matches!(scene.see(|x| filter.on_response(x, &mut head, true)), Flow::Continue));
    head.headers
}

fn ask(policies: &[Value], method: Method, fields: &[(&'static str, &str)]) -> Option<LocalReply> {
    let request = Request { method, ..request_with(fields) };
    match Scene::of(request).request(&mut *share(policies).unwrap()) {
        Flow::Reply(reply) => Some(*reply),
        _ => None,
    }
}

fn shown(headers: &HeaderMap) -> Vec<(&str, &str)> {
    let mut all: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    all.sort_unstable();
    all
}

const PREFLIGHT: [(&str, &str); 2] = [("origin", "https://a.example"), ("access-control-request-method", "GET")];

#[test]
fn an_allowed_origin_may_read_answers() {
    assert_eq!(
        shown(&read(&[policy()], "https://a.example")),
        [
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-expose-headers", "x-b"),
        ]
    );
}

#[test]
fn any_other_origin_gets_the_answer_without_leave_to_read_it() {
    assert!(read(&[policy()], "https://b.example").is_empty());
    let mut filter = share(&[policy()]).unwrap();
    let mut head = ResponseHead::new(StatusCode::OK);
    let mut scene = Scene::of(request());
    scene.request(&mut *filter);
    scene.see(|x| filter.on_response(x, &mut head, true));
    assert!(head.headers.is_empty(), "no origin was named");
}

#[test]
fn a_star_stands_for_every_origin() {
    let any = json!({"allow_origin_string_match": [{"exact": "*"}]});
    assert_eq!(shown(&read(&[any], "https://b.example")), [("access-control-allow-origin", "https://b.example")]);
}

#[test]
fn a_preflight_is_answered_here() {
    let reply = ask(&[policy()], Method::OPTIONS, &PREFLIGHT).unwrap();
    assert_eq!((reply.status, reply.details.as_ref()), (StatusCode::OK, "cors_response"));
    assert_eq!(
        shown(&reply.headers),
        [
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-headers", "x-a"),
            ("access-control-allow-methods", "GET"),
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-expose-headers", "x-b"),
            ("access-control-max-age", "60"),
        ]
    );
}

#[test]
fn what_is_no_preflight_of_an_allowed_origin_goes_on() {
    assert!(ask(&[policy()], Method::GET, &PREFLIGHT).is_none());
    assert!(ask(&[policy()], Method::OPTIONS, &PREFLIGHT[..1]).is_none());
    assert!(ask(&[policy()], Method::OPTIONS, &PREFLIGHT[1..]).is_none());
    let other = [("origin", "https://b.example"), PREFLIGHT[1]];
    assert!(ask(&[policy()], Method::OPTIONS, &other).is_none());
}

#[test]
fn each_field_is_taken_from_the_most_specific_policy_that_has_it() {
    let own = json!({"allow_methods": "PUT", "allow_credentials": false});
    let reply = ask(&[own, policy()], Method::OPTIONS, &PREFLIGHT).unwrap();
    assert_eq!(reply.headers[header::ACCESS_CONTROL_ALLOW_METHODS], "PUT");
    assert_eq!(reply.headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "x-a");
    assert!(!reply.headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
}

#[test]
fn without_a_policy_there_is_nothing_to_do() {
    assert!(share(&[]).is_none());
}

#[test]
fn policies_that_cannot_be_written_are_refused() {
    let refusal = |json: Value| CorsPolicy::compile(&message(json)).unwrap_err().0;
    assert_eq!(refusal(json!({"allow_methods": "a\nb"})), "\"a\\nb\" is no header value");
    let custom = json!({"allow_origin_string_match": [{"custom": {"name": "x"}}]});
    assert_eq!(refusal(custom), "allow_origin_string_match: custom string matchers are not supported");
}
