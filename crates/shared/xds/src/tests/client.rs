//! A client of delta xDS.

use portolan_envoy_api::pb::envoy::{config::core::v3::Node, service::discovery::v3::DeltaDiscoveryRequest};

use crate::{
    client::{DeltaClient, MAX_REJECTION_TEXT, Rejection, ResponseError, Update},
    type_url::{CLUSTER, ENDPOINT, ROUTE, VIRTUAL_HOST},
    wire::{Any, DeltaDiscoveryResponse, DeltaResource},
};

fn client() -> DeltaClient {
    let mut client = DeltaClient::new(Node { id: "n".into(), ..Node::default() });
    assert!(client.connected().is_empty());
    client
}

fn resource(type_url: &str, name: &str, version: &str) -> DeltaResource {
    let body = Any { type_url: type_url.into(), value: version.to_owned().into_bytes().into() };
    DeltaResource { name: name.into(), version: version.into(), resource: Some(body) }
}

fn response(type_url: &str, resources: &[(&str, &str)], removed: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: type_url.into(),
        nonce: "n1".into(),
        resources: resources.iter().map(|(name, version)| resource(type_url, name, version)).collect(),
        removed_resources: removed.iter().map(|n| (*n).to_owned()).collect(),
        ..Default::default()
    }
}

/// Takes a response over whole.
fn take(client: &mut DeltaClient, response: DeltaDiscoveryResponse) -> Update {
    let update = client.on_response(response).unwrap();
    client.finish(&update, &[]);
    update
}

fn upserts(update: &Update) -> Vec<(&str, &str)> {
    update.upserts.iter().map(|u| (u.name.as_str(), u.version.as_str())).collect()
}

fn held(client: &DeltaClient, type_url: &str) -> Vec<(String, String)> {
    client.held(type_url).into_iter().flatten().map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// Names that a request asks for and gives up.
fn asked(request: Option<DeltaDiscoveryRequest>) -> Option<(String, String)> {
    request.map(|r| (r.resource_names_subscribe.join(" "), r.resource_names_unsubscribe.join(" ")))
}

fn both(subscribed: &str, given_up: &str) -> Option<(String, String)> {
    Some((subscribed.to_owned(), given_up.to_owned()))
}

#[test]
fn the_first_request_of_a_stream_says_who_asks() {
    let mut client = client();
    let first = client.subscribe_all(CLUSTER).unwrap();
    assert_eq!((first.type_url.as_str(), first.node.unwrap().id.as_str()), (CLUSTER, "n"));
    assert!(client.subscribe(ROUTE, ["80"]).unwrap().node.is_none());
    client.disconnected();
    let again = client.connected();
    assert_eq!(again.iter().map(|r| r.node.is_some()).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn everything_is_asked_for_once() {
    let mut client = client();
    assert_eq!(asked(client.subscribe_all(CLUSTER)), both("", ""));
    assert_eq!(client.subscribe_all(CLUSTER), None);
}

/// An empty list means everything only as long as nothing is asked for by name.
#[test]
fn everything_beside_names_has_a_name_of_its_own() {
    let mut client = client();
    assert_eq!(asked(client.subscribe(CLUSTER, ["a"])), both("a", ""));
    assert_eq!(asked(client.subscribe_all(CLUSTER)), both("*", ""));
    client.disconnected();
    assert_eq!(asked(client.connected().pop()), both("a *", ""));
}

#[test]
fn only_new_names_are_asked_for() {
    let mut client = client();
    assert_eq!(asked(client.subscribe(ROUTE, ["b", "a"])), both("a b", ""));
    assert_eq!(asked(client.subscribe(ROUTE, ["a", "c"])), both("c", ""));
    assert_eq!(client.subscribe(ROUTE, ["a", "c"]), None);
}

#[test]
fn names_are_given_up_once() {
    let mut client = client();
    assert_eq!(client.unsubscribe(ROUTE, ["a"]), None, "never heard of");
    client.subscribe(ROUTE, ["a", "b"]);
    take(&mut client, response(ROUTE, &[("a", "1"), ("b", "1")], &[]));
    assert_eq!(asked(client.unsubscribe(ROUTE, ["a", "x"])), both("", "a"));
    assert_eq!(client.unsubscribe(ROUTE, ["a"]), None);
    assert_eq!(held(&client, ROUTE), [("b".to_owned(), "1".to_owned())]);
}

#[test]
fn a_set_of_names_changes_with_one_request() {
    let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    let mut client = client();
    assert_eq!(client.set_names(ROUTE, set(&[])), None);
    assert_eq!(asked(client.set_names(ROUTE, set(&["a", "b"]))), both("a b", ""));
    take(&mut client, response(ROUTE, &[("a", "1"), ("b", "1")], &[]));
    assert_eq!(client.set_names(ROUTE, set(&["a", "b"])), None);
    assert_eq!(asked(client.set_names(ROUTE, set(&["b", "c"]))), both("c", "a"));
    assert_eq!(held(&client, ROUTE), [("b".to_owned(), "1".to_owned())]);
    assert_eq!(asked(client.set_names(ROUTE, set(&["b"]))), both("", "c"));
}

#[test]
fn nothing_is_asked_without_a_stream() {
    let mut client = DeltaClient::new(Node::default());
    assert_eq!(client.subscribe_all(CLUSTER), None);
    assert_eq!(client.subscribe(ROUTE, ["a", "b"]), None);
    assert_eq!(client.unsubscribe(ROUTE, ["b"]), None);
    assert_eq!(client.set_names(ENDPOINT, ["x".to_owned()].into()), None);
    assert_eq!(client.set_names(ENDPOINT, [].into()), None);
    let types: Vec<_> =
        client.connected().into_iter().map(|r| (r.type_url, r.resource_names_subscribe)).collect();
    assert_eq!(types, [(CLUSTER.to_owned(), vec![]), (ROUTE.to_owned(), vec!["a".to_owned()])]);
}

#[test]
fn a_new_stream_hears_what_is_held() {
    let mut client = client();
    client.subscribe_all(CLUSTER);
    take(&mut client, response(CLUSTER, &[("a", "1"), ("b", "2")], &[]));
    client.disconnected();
    let request = client.connected().pop().unwrap();
    let versions: std::collections::BTreeMap<_, _> = request.initial_resource_versions.into_iter().collect();
    assert_eq!(versions, [("a", "1"), ("b", "2")].map(|(n, v)| (n.to_owned(), v.to_owned())).into());
}

#[test]
fn a_stream_that_is_gone_is_told_nothing() {
    let mut client = client();
    client.subscribe_all(CLUSTER);
    let update = client.on_response(response(CLUSTER, &[("a", "1")], &[])).unwrap();
    client.disconnected();
    assert_eq!(client.finish(&update, &[]), None);
    assert_eq!(client.subscribe(CLUSTER, ["x"]), None);
    assert_eq!(held(&client, CLUSTER), [("a".to_owned(), "1".to_owned())]);
}

#[test]
fn what_was_not_asked_for_is_no_answer() {
    let mut client = client();
    let refused = Err(ResponseError::NotSubscribed(CLUSTER.to_owned()));
    assert_eq!(client.on_response(response(CLUSTER, &[], &[])), refused);
    client.subscribe_all(CLUSTER);
    assert!(client.on_response(response(CLUSTER, &[], &[])).is_ok());
    client.disconnected();
    client.connected();
    assert!(client.on_response(response(CLUSTER, &[], &[])).is_ok(), "announced again");
    client.subscribe(ROUTE, ["a"]);
    client.unsubscribe(ROUTE, ["a"]);
    client.disconnected();
    client.connected();
    assert!(client.on_response(response(ROUTE, &[], &[])).is_err(), "given up before this stream");
}

#[test]
fn the_first_response_of_a_type_is_the_first_over_all_streams() {
    let mut client = client();
    client.subscribe_all(CLUSTER);
    assert!(take(&mut client, response(CLUSTER, &[], &[])).first);
    assert!(!take(&mut client, response(CLUSTER, &[], &[])).first);
    client.disconnected();
    client.connected();
    assert!(!take(&mut client, response(CLUSTER, &[], &[])).first);
}

/// It may cross with an unsubscription on the way.
#[test]
fn resources_that_are_not_wanted_any_more_are_left_out() {
    let mut client = client();
    client.subscribe(ROUTE, ["a", "b"]);
    client.unsubscribe(ROUTE, ["b"]);
    let update = take(&mut client, response(ROUTE, &[("a", "1"), ("b", "1")], &["c"]));
    assert_eq!(upserts(&update), [("a", "1")]);
    assert_eq!((update.type_url.as_str(), update.nonce.as_str()), (ROUTE, "n1"));
    assert_eq!(update.removed, ["c"]);
}

#[test]
fn an_answer_takes_over_or_names_what_is_refused() {
    let mut client = client();
    client.subscribe_all(CLUSTER);
    let update = client.on_response(response(CLUSTER, &[("a", "1"), ("b", "1")], &[])).unwrap();
    let ack = client.finish(&update, &[]).unwrap();
    assert_eq!((ack.type_url.as_str(), ack.response_nonce.as_str(), ack.error_detail), (CLUSTER, "n1", None));
    let update = client.on_response(response(CLUSTER, &[("a", "2"), ("c", "2")], &["b", "x"])).unwrap();
    let reject = |name: &str| Rejection { name: name.into(), reason: format!("no {name}") };
    let nack = client.finish(&update, &[reject("c"), reject("b")]).unwrap();
    let detail = nack.error_detail.unwrap();
    assert_eq!((detail.code, detail.message.as_str()), (3, "c: no c; b: no b"));
    // What could not be removed is still there, what could not be taken over is not.
    assert_eq!(held(&client, CLUSTER), [("a", "2"), ("b", "1")].map(|(n, v)| (n.to_owned(), v.to_owned())));
    take(&mut client, response(CLUSTER, &[], &["b"]));
    assert_eq!(held(&client, CLUSTER), [("a".to_owned(), "2".to_owned())]);
}

#[test]
fn resources_that_are_none_are_refused() {
    let mut client = client();
    client.subscribe_all(CLUSTER);
    let mut odd = response(CLUSTER, &[("good", "1")], &[]);
    odd.resources.push(DeltaResource { name: "empty".into(), ..Default::default() });
    odd.resources.push(resource(ROUTE, "other", "1"));
    let update = client.on_response(odd).unwrap();
    assert_eq!(upserts(&update), [("good", "1")]);
    let text = client.finish(&update, &[]).unwrap().error_detail.unwrap().message;
    let expected =
        format!("empty: the resource has no body; other: the body is of type {ROUTE}, expected {CLUSTER}");
    assert_eq!(text, expected);
}

#[test]
fn the_text_of_a_refusal_ends_somewhere() {
    let mut client = client();
    client.subscribe_all(CLUSTER);
    let update = client.on_response(response(CLUSTER, &[], &[])).unwrap();
    let text = |client: &mut DeltaClient, first: usize| {
        let rejected = [first, 1, 1].map(|n| Rejection { name: "x".repeat(n), reason: String::new() });
        client.finish(&update, &rejected).unwrap().error_detail.unwrap().message
    };
    // The colon and the space count.
    let fits = MAX_REJECTION_TEXT - 2;
    assert_eq!(text(&mut client, fits), format!("{}: ; x: ; and more", "x".repeat(fits)));
    assert_eq!(text(&mut client, fits + 1), format!("{}: ; and more", "x".repeat(fits + 1)));
}

#[test]
fn a_wildcard_that_was_given_up_is_not_asked_for_on_the_next_stream() {
    let mut client = DeltaClient::default();
    client.subscribe_all(CLUSTER);
    client.subscribe_all(VIRTUAL_HOST);
    assert_eq!(client.unsubscribe_all(VIRTUAL_HOST), None, "there is no stream");
    let types: Vec<String> = client.connected().into_iter().map(|request| request.type_url).collect();
    assert_eq!(types, [CLUSTER]);
}
