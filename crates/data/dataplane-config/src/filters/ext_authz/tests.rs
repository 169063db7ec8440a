//! What an authorization server is asked, and what its answer does; the rest is held to Envoy in the conformance cases.

use serde_json::{Value, json};

use super::super::stream::{CalloutFail, Effect};
use super::super::PerFilter;
use super::*;
use crate::testing::{Scene, message, request_with};

fn config(fields: Value) -> Value {
    let mut all = json!({"http_service": {"server_uri": {"uri": "http://a", "cluster": "authz", "timeout": "1s"}}});
    for (name, value) in fields.as_object().unwrap() {
        match all.get_mut(name).and_then(Value::as_object_mut) {
            Some(known) => known.extend(value.as_object().unwrap().clone()),
            None => all[name] = value.clone(),
        }
    }
    all
}

fn compile(fields: Value) -> Valid<Authz> {
    Authz::compile(&message(config(fields)))
}

/// A filter for one request, whose route overrides `own`.
fn start(fields: Value, own: &PerFilter) -> Option<Box<dyn StreamFilter>> {
    let filter = Filter(Arc::new(compile(fields).unwrap()));
    filter.start(&Overrides { levels: &[own], name: "authz" })
}

fn plain(fields: Value) -> Box<dyn StreamFilter> {
    start(fields, &PerFilter::default()).unwrap()
}

fn own(json: Value) -> Valid<PerFilter> {
    let compiled = compile_override(&message(json))?;
    Ok(PerFilter { overrides: [("authz".to_owned(), compiled)].into(), ..PerFilter::default() })
}

fn answer(status: u16, fields: &[(&'static str, &str)], body: &'static str) -> Event {
    let headers = fields.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    let (status, headers) = (StatusCode::from_u16(status).unwrap(), headers.collect());
    Event::Answer(0, Ok(Answer { status, headers, body: body.into() }))
}

fn asked(scene: &Scene) -> Option<&Callout> {
    scene.effects.iter().find_map(|effect| match effect {
        Effect::CallOut { callout, .. } => Some(&**callout),
        _ => None,
    })
}

#[test]
fn nothing_is_asked_but_what_may_be_seen() {
    let fields = json!({
        "allowed_headers": {"patterns": [{"prefix": "x-"}]}, "disallowed_headers": {"patterns": [{"exact": "x-secret"}]},
        "http_service": {"path_prefix": "/check", "authorization_request": {"headers_to_add": [{"key": "x-a", "value": "b"}]}},
    });
    let mut scene = Scene::of(request_with(&[
        ("authorization", "key"), ("x-one", "1"), ("x-one", "2"), ("x-secret", "s"), ("cookie", "c"), ("content-length", "3"),
    ]));
    assert!(matches!(scene.request(&mut *plain(fields)), Flow::Pause));
    let asked = asked(&scene).unwrap();
    assert_eq!((asked.cluster.as_str(), asked.timeout), ("authz", Duration::from_secs(1)));
    assert_eq!((asked.authority.as_str(), asked.path.as_str()), ("shop.example", "/check/cart?item=1"));
    let mut seen: Vec<_> = asked.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("authorization", "key"), ("content-length", "0"), ("x-a", "b"), ("x-one", "1,2")]);
}

#[test]
fn who_fails_is_refused_unless_that_is_allowed() {
    let fails = [
        answer(500, &[], ""),
        Event::Answer(0, Err(CalloutFail::Timeout)),
        Event::Answer(0, Err(CalloutFail::NoCluster)),
        Event::Answer(0, Err(CalloutFail::TooLarge)),
    ];
    for fail in fails {
        let mut scene = Scene::of(request_with(&[]));
        let mut filter = plain(json!({}));
        let Flow::Reply(reply) = scene.see(|x| filter.on_event(x, fail)) else { panic!("passed") };
        assert_eq!((reply.status.as_u16(), reply.details.as_ref()), (403, "ext_authz_error"));
        assert_eq!(reply.flags, Flags::UNAUTHORIZED_EXTERNAL);
        assert_eq!(scene.counted(), ["ext_authz_error"]);
    }
    let mut scene = Scene::of(request_with(&[]));
    let mut filter = plain(json!({"failure_mode_allow": true}));
    assert!(matches!(scene.see(|x| filter.on_event(x, answer(503, &[], ""))), Flow::Continue));
    assert_eq!(scene.counted(), ["ext_authz_error", "ext_authz_failure_mode_allowed"]);
    assert!(scene.request.headers.is_empty());
}

#[test]
fn only_200_lets_pass() {
    for (status, passes) in [(200, true), (201, false), (204, false), (302, false), (401, false), (403, false)] {
        let mut scene = Scene::of(request_with(&[]));
        let mut filter = plain(json!({}));
        let flow = scene.see(|x| filter.on_event(x, answer(status, &[], "no")));
        match flow {
            Flow::Continue => assert!(passes, "{status}"),
            Flow::Reply(reply) => {
                assert!(!passes, "{status}");
                assert_eq!((reply.status.as_u16(), reply.details.as_ref()), (status, "ext_authz_denied"));
                assert_eq!(scene.counted(), ["ext_authz_denied"]);
            }
            Flow::Pause => panic!("{status}"),
        }
    }
}

#[test]
fn an_answer_changes_only_what_it_may() {
    let fields = json!({"http_service": {"authorization_response": {
        "allowed_upstream_headers": {"patterns": [{"exact": "x-user"}, {"exact": "host"}, {"exact": "content-length"}]},
    }}});
    let says = [("x-user", "jo"), ("x-other", "o"), ("host", "evil"), ("content-length", "9"),
        ("x-envoy-auth-headers-to-remove", "x-gone, host,")];
    let mut scene = Scene::of(request_with(&[("x-user", "claimed"), ("x-user", "twice"), ("x-gone", "g"), ("x-stays", "s")]));
    let mut filter = plain(fields);
    assert!(matches!(scene.see(|x| filter.on_event(x, answer(200, &says, ""))), Flow::Continue));
    let mut left: Vec<_> = scene.request.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    left.sort_unstable();
    assert_eq!(left, [("x-stays", "s"), ("x-user", "jo")]);
    assert!(!scene.effects.iter().any(|effect| matches!(effect, Effect::ClearRoute)));
}

#[test]
fn the_route_is_chosen_anew_when_the_request_changed() {
    let fields = json!({
        "clear_route_cache": true,
        "http_service": {"authorization_response": {"allowed_upstream_headers": {"patterns": [{"exact": "x-user"}]}}},
    });
    for (says, cleared) in [(vec![], false), (vec![("x-other", "o")], false), (vec![("x-user", "jo")], true),
        (vec![("x-envoy-auth-headers-to-remove", "x-a")], true)]
    {
        let mut scene = Scene::of(request_with(&[]));
        let mut filter = plain(fields.clone());
        scene.see(|x| filter.on_event(x, answer(200, &says, "")));
        assert_eq!(scene.effects.iter().any(|effect| matches!(effect, Effect::ClearRoute)), cleared, "{says:?}");
    }
}

#[test]
fn a_refusal_can_be_cut() {
    let mut scene = Scene::of(request_with(&[]));
    let mut filter = plain(json!({"max_denied_response_body_bytes": 2}));
    let Flow::Reply(reply) = scene.see(|x| filter.on_event(x, answer(403, &[], "long"))) else { panic!("passed") };
    assert_eq!(&reply.body[..], b"lo");
}

#[test]
fn routes_exempt_requests_and_bodies() {
    assert!(start(json!({}), &own(json!({"disabled": true})).unwrap()).is_none());
    let with_body = json!({"with_request_body": {"max_request_bytes": 4}});
    for (settings, waits) in [(json!({}), true), (json!({"disable_request_body_buffering": true}), false),
        (json!({"with_request_body": {"max_request_bytes": 9}}), true), (json!({"context_extensions": {"a": "b"}}), true)]
    {
        let own = own(json!({"check_settings": settings})).unwrap();
        let mut filter = start(with_body.clone(), &own).unwrap();
        let mut scene = Scene::of(request_with(&[]));
        assert!(matches!(scene.see(|x| filter.on_request(x, false)), Flow::Pause));
        assert_eq!(asked(&scene).is_none(), waits, "{settings}");
    }
}

#[test]
fn what_would_not_work_is_refused_with_its_path() {
    for (fields, reason) in [
        (json!({"filter_enabled_metadata": {}}), "filter_enabled_metadata is not supported"),
        (json!({"decoder_header_mutation_rules": {}}), "decoder_header_mutation_rules is not supported"),
        (json!({"shadow_mode": true}), "shadow_mode is not supported"),
        (json!({"http_service": {"path_override": "/x"}}), "http_service: path_override is not supported"),
        (json!({"http_service": {"retry_policy": {}}}), "http_service: retry_policy is not supported"),
        (json!({"with_request_body": {"max_request_bytes": 0}}), "with_request_body: max_request_bytes: not between 1 and 1048576"),
        (json!({"with_request_body": {"max_request_bytes": 1_048_577}}), "with_request_body: max_request_bytes: not between 1 and 1048576"),
        (
            json!({"http_service": {"authorization_response": {"dynamic_metadata_from_headers": {}}}}),
            "authorization_response: dynamic_metadata_from_headers is not supported",
        ),
        (
            json!({"http_service": {"authorization_request": {"headers_to_add": [{"key": "a", "value": "%REQ(b)%"}]}}}),
            "headers_to_add: \"a\": only values without operators are supported",
        ),
        (json!({"allowed_headers": {"patterns": [{}]}}), "allowed_headers: string matcher without pattern"),
    ] {
        assert_eq!(compile(fields).unwrap_err().0, reason);
    }
    let error = Authz::compile(&message(json!({"grpc_service": {}}))).unwrap_err().0;
    assert_eq!(error, "grpc_service is not supported");
    assert_eq!(Authz::compile(&message(json!({}))).unwrap_err().0, "missing http_service");
    let error = Authz::compile(&message(json!({"http_service": {}}))).unwrap_err().0;
    assert_eq!(error, "http_service: missing server_uri");
    for (settings, reason) in [
        (json!({}), "missing override"),
        (json!({"disabled": false}), "disabled must be true"),
        (json!({"check_settings": {"grpc_service": {}}}), "check_settings: grpc_service is not supported"),
        (json!({"check_settings": {"http_service": {}}}), "check_settings: http_service is not supported"),
        (
            json!({"check_settings": {"disable_request_body_buffering": true, "with_request_body": {"max_request_bytes": 1}}}),
            "check_settings: disable_request_body_buffering and with_request_body exclude each other",
        ),
    ] {
        assert_eq!(own(settings).unwrap_err().0, reason);
    }
}
