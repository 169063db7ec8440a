//! Which faults are injected, and how they show.

use serde_json::{Value, json};

use super::super::PerFilter;
use super::super::stream::Effect;
use super::*;
use crate::testing::{Scene, message, request, request_with};

fn compile(json: Value) -> Valid<Fault> {
    Fault::compile(&message(json))
}

fn always(mut fault: Value) -> Value {
    for part in ["delay", "abort"] {
        if let Some(part) = fault.get_mut(part) {
            part["percentage"] = json!({"numerator": 100});
        }
    }
    fault
}

/// A filter that always injects.
fn injecting(fault: Value) -> Filter {
    Filter(Arc::new(compile(always(fault)).unwrap()))
}

fn start(filter: &Filter) -> Option<Box<dyn StreamFilter>> {
    filter.start(&Overrides { levels: &[], name: "fault" })
}

/// What a fault says to a request with these fields.
fn asked(fault: Value, fields: &[(&'static str, &str)]) -> (Scene, Flow) {
    let mut scene = Scene::of(request_with(fields));
    let flow = scene.request(&mut *start(&injecting(fault)).unwrap());
    (scene, flow)
}

fn status(flow: Flow) -> Option<u16> {
    match flow {
        Flow::Reply(reply) => Some(reply.status.as_u16()),
        _ => None,
    }
}

#[test]
fn an_abort_answers_and_is_counted() {
    let (scene, flow) = asked(json!({"abort": {"http_status": 503}}), &[]);
    let Flow::Reply(reply) = flow else { panic!("{flow:?}") };
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (503, b"fault filter abort".as_slice()));
    assert_eq!((reply.details.as_ref(), reply.flags, reply.grpc), ("fault_filter_abort", Flags::FAULT_INJECTED, None));
    assert_eq!(scene.counted(), ["fault_aborts_injected"]);
}

#[test]
fn callers_of_grpc_get_the_status_that_is_configured() {
    let (_, flow) = asked(json!({"abort": {"grpc_status": 14}}), &[]);
    let Flow::Reply(reply) = flow else { panic!("{flow:?}") };
    assert_eq!((reply.status, reply.grpc), (StatusCode::OK, Some(14)));
}

#[test]
fn a_delay_waits_and_then_goes_on() {
    let filter = injecting(json!({"delay": {"fixed_delay": "3s"}}));
    let (mut one, mut scene) = (start(&filter).unwrap(), Scene::of(request()));
    assert!(matches!(scene.request(&mut *one), Flow::Pause));
    assert_eq!(scene.counted(), ["fault_delays_injected"]);
    assert!(matches!(scene.effects[1], Effect::Flag(Flags::DELAY_INJECTED)));
    assert!(matches!(scene.effects[2], Effect::Wake { after, .. } if after == Duration::from_secs(3)));
    assert!(matches!(scene.see(|x| one.on_event(x, Event::Wake(0))), Flow::Continue));
}

#[test]
fn an_abort_comes_after_the_delay() {
    let filter = injecting(json!({"delay": {"fixed_delay": "3s"}, "abort": {"http_status": 500}}));
    let (mut one, mut scene) = (start(&filter).unwrap(), Scene::of(request()));
    assert!(matches!(scene.request(&mut *one), Flow::Pause));
    assert_eq!(status(scene.see(|x| one.on_event(x, Event::Wake(0)))), Some(500));
}

#[test]
fn clients_may_ask_for_faults_where_that_is_configured() {
    let delay = json!({"delay": {"header_delay": {}}});
    let (scene, flow) = asked(delay.clone(), &[("x-envoy-fault-delay-request", "250")]);
    assert!(matches!(flow, Flow::Pause));
    assert!(matches!(scene.effects[2], Effect::Wake { after, .. } if after == Duration::from_millis(250)));
    for value in ["0", "soon"] {
        assert!(matches!(asked(delay.clone(), &[("x-envoy-fault-delay-request", value)]).1, Flow::Continue), "{value}");
    }
    let abort = |value: &str| {
        status(asked(json!({"abort": {"header_abort": {}}}), &[("x-envoy-fault-abort-request", value)]).1)
    };
    for (value, wanted) in [
        ("200", Some(200)),
        ("599", Some(599)),
        ("199", None),
        ("600", None),
        ("66036", None),
        ("x", None),
    ] {
        assert_eq!(abort(value), wanted, "{value}");
    }
}

#[test]
fn faults_may_be_for_some_requests_only() {
    let abort = |more: Value| {
        let mut fault = json!({"abort": {"http_status": 500}});
        fault.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        injecting(fault)
    };
    let hits = |filter: &Filter, cluster: Option<&'static str>, fields: &[(&'static str, &str)]| {
        let mut scene = Scene::of(request_with(fields));
        scene.cluster = cluster;
        status(scene.request(&mut *start(filter).unwrap())).is_some()
    };
    let by_cluster = abort(json!({"upstream_cluster": "c"}));
    assert!(hits(&by_cluster, Some("c"), &[]));
    assert!(!hits(&by_cluster, Some("d"), &[]) && !hits(&by_cluster, None, &[]));
    let by_header = abort(json!({"headers": [{"name": "x-user", "exact_match": "jason"}]}));
    assert!(hits(&by_header, None, &[("x-user", "jason")]));
    assert!(!hits(&by_header, None, &[]));
}

#[test]
fn a_share_of_none_hits_nobody() {
    let fault = json!({"abort": {"http_status": 500}, "delay": {"fixed_delay": "1s"}});
    let filter = Filter(Arc::new(compile(fault).unwrap()));
    assert!(matches!(Scene::of(request()).request(&mut *start(&filter).unwrap()), Flow::Continue));
}

#[test]
fn no_more_faults_are_active_than_allowed() {
    let filter = injecting(json!({"delay": {"fixed_delay": "3s"}, "max_active_faults": 1}));
    let (mut first, mut scene) = (start(&filter).unwrap(), Scene::of(request()));
    let waits = || matches!(Scene::of(request()).request(&mut *start(&filter).unwrap()), Flow::Pause);
    assert!(matches!(scene.request(&mut *first), Flow::Pause));
    assert!(!waits());
    // One that is over makes room, and so did the one that was let go.
    scene.see(|x| first.on_event(x, Event::Wake(0)));
    assert!(waits());
    assert!(waits());
}

#[test]
fn a_route_has_faults_of_its_own() {
    let own: super::super::Override =
        Arc::new(Override(Arc::new(compile(always(json!({"abort": {"http_status": 404}}))).unwrap())));
    let level = PerFilter { overrides: [("fault".to_owned(), own)].into(), ..Default::default() };
    let filter = injecting(json!({"abort": {"http_status": 500}}));
    let mut one = filter.start(&Overrides { levels: &[&level], name: "fault" }).unwrap();
    assert_eq!(status(Scene::of(request()).request(&mut *one)), Some(404));
}

#[test]
fn without_faults_there_is_nothing_to_do() {
    assert!(start(&injecting(json!({}))).is_none());
}

#[test]
fn faults_that_cannot_be_injected_are_refused() {
    for (json, reason) in [
        (json!({"downstream_nodes": ["a"]}), "downstream_nodes is not supported"),
        (json!({"response_rate_limit": {}}), "response_rate_limit is not supported"),
        (json!({"delay": {}}), "delay: neither fixed_delay nor header_delay"),
        (json!({"delay": {"fixed_delay": "-1s"}}), "delay: negative or malformed duration"),
        (json!({"abort": {}}), "abort: no error type"),
        (json!({"abort": {"http_status": 199}}), "abort: 199 is no usable status"),
        (json!({"abort": {"http_status": 600}}), "abort: 600 is no usable status"),
    ] {
        assert_eq!(compile(json).unwrap_err().0, reason);
    }
    assert!(compile(json!({"abort": {"http_status": 599}})).is_ok());
}
