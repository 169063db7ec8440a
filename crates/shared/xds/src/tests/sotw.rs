//! A server's state-of-the-world stream.

use portolan_envoy_api::pb::envoy::service::discovery::v3::DiscoveryRequest;

use super::{anything, refusal, sotw};
use crate::{
    server::{Answer, MAX_NAMES, RequestError, SotwStream},
    testing::world,
    type_url::{CLUSTER, ENDPOINT, ROUTE, SECRET},
    wire::SotwResponse,
};

/// Answers a request when these are the resources.
fn respond(stream: &mut SotwStream, type_url: &str, resources: &[(&str, &str)]) -> Option<SotwResponse> {
    stream.respond(type_url, &world(resources), "v7")
}

/// Anything may have changed, and these are the resources now.
fn update(stream: &mut SotwStream, type_url: &str, resources: &[(&str, &str)]) -> Option<SotwResponse> {
    stream.update(type_url, &anything(), &world(resources), "v7")
}

#[test]
fn sotw_wildcard_repeats_the_state() {
    let mut stream = SotwStream::new("");
    assert!(stream.on_request(sotw(CLUSTER, &[], "")).unwrap().respond);
    let response = respond(&mut stream, CLUSTER, &[("a", "1"), ("b", "1")]).unwrap();
    assert_eq!(response.resources.len(), 2);
    let received = stream.on_request(sotw(CLUSTER, &[], "1")).unwrap();
    assert_eq!((received.answer, received.respond), (Answer::Ack, false));
    assert_eq!(update(&mut stream, CLUSTER, &[("a", "1"), ("b", "1")]), None);
    // A removal shows by the rest being sent.
    let response = update(&mut stream, CLUSTER, &[("a", "1")]).unwrap();
    assert_eq!((response.resources.len(), response.nonce.as_str()), (1, "2"));
    assert_eq!(stream.on_request(sotw(CLUSTER, &[], "1")).unwrap().answer, Answer::Expired);
}

#[test]
fn sotw_by_name_answers_new_names_only() {
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(ROUTE, &["80"], "")).unwrap();
    assert_eq!(respond(&mut stream, ROUTE, &[("80", "1")]).unwrap().resources.len(), 1);
    let received = stream.on_request(sotw(ROUTE, &["80", "81"], "1")).unwrap();
    assert!(received.respond);
    let response = respond(&mut stream, ROUTE, &[("80", "1"), ("81", "1")]).unwrap();
    assert_eq!(response.resources.iter().map(|r| &*r.name).collect::<Vec<_>>(), ["81"]);
    // Fewer names need no answer; a name that comes back does.
    assert!(!stream.on_request(sotw(ROUTE, &["81"], "2")).unwrap().respond);
    assert!(stream.on_request(sotw(ROUTE, &["80", "81"], "2")).unwrap().respond);
    assert_eq!(respond(&mut stream, ROUTE, &[("80", "1"), ("81", "1")]).unwrap().resources.len(), 1);
    assert!(!stream.on_request(sotw(SECRET, &[], "")).unwrap().respond);
}

fn sent(response: &SotwResponse) -> Vec<&str> {
    response.resources.iter().map(|r| &*r.name).collect()
}

#[test]
fn sotw_response_says_what_it_is() {
    let mut stream = SotwStream::new("n");
    let received = stream.on_request(sotw(CLUSTER, &[], "")).unwrap();
    assert_eq!((&*received.type_url, received.first, received.answer), (CLUSTER, true, Answer::None));
    let response = respond(&mut stream, CLUSTER, &[]).unwrap();
    let said = (&*response.type_url, response.version.as_str(), response.nonce.as_str());
    assert_eq!(said, (CLUSTER, "v7", "n1"));
    assert_eq!(update(&mut stream, CLUSTER, &[]), None, "an empty start is answered once");
}

#[test]
fn sotw_start_over_gets_everything_again() {
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(CLUSTER, &[], "")).unwrap();
    respond(&mut stream, CLUSTER, &[("a", "1")]).unwrap();
    let received = stream.on_request(sotw(CLUSTER, &[], "")).unwrap();
    assert!(received.respond && !received.first);
    assert!(!stream.blocked(CLUSTER));
    assert_eq!(sent(&respond(&mut stream, CLUSTER, &[("a", "1")]).unwrap()), ["a"]);
}

#[test]
fn sotw_start_over_by_name_gets_the_names_again() {
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(ROUTE, &["a", "b"], "")).unwrap();
    respond(&mut stream, ROUTE, &[("a", "1"), ("b", "1")]).unwrap();
    stream.on_request(sotw(ROUTE, &["b"], "")).unwrap();
    assert_eq!(stream.status(ROUTE).unwrap().resources, 0, "it has nothing");
    assert_eq!(sent(&respond(&mut stream, ROUTE, &[("a", "1"), ("b", "1")]).unwrap()), ["b"]);
}

/// The nonce of another stream comes with the first request after a reconnect.
#[test]
fn sotw_reconnect_gets_everything() {
    let mut stream = SotwStream::new("new-");
    let received = stream.on_request(sotw(CLUSTER, &[], "old-7")).unwrap();
    assert!(received.respond && received.first);
    assert_eq!(received.answer, Answer::None);
}

#[test]
fn sotw_names_limit_a_wildcard_type() {
    for (names, wildcard) in [(&[][..], true), (&["*"], true), (&["a", "*"], true), (&["a"], false)] {
        let mut stream = SotwStream::new("");
        stream.on_request(sotw(CLUSTER, names, "")).unwrap();
        let watch = stream.watch(CLUSTER).unwrap();
        assert_eq!(watch.wildcard, wildcard, "{names:?}");
        assert!(!watch.names.contains("*"), "{names:?}");
        let response = respond(&mut stream, CLUSTER, &[("a", "1"), ("b", "1")]).unwrap();
        assert_eq!(response.resources.len(), if wildcard { 2 } else { 1 }, "{names:?}");
    }
}

#[test]
fn sotw_types_by_name_have_no_wildcard() {
    let mut stream = SotwStream::new("");
    assert!(!stream.on_request(sotw(ENDPOINT, &["*"], "")).unwrap().respond);
    assert_eq!(respond(&mut stream, ENDPOINT, &[("a", "1")]), None);
}

#[test]
fn sotw_change_sends_the_whole_wildcard_type() {
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(CLUSTER, &[], "")).unwrap();
    respond(&mut stream, CLUSTER, &[("a", "1"), ("b", "1")]).unwrap();
    let response = update(&mut stream, CLUSTER, &[("a", "2"), ("b", "1")]).unwrap();
    assert_eq!(sent(&response), ["a", "b"]);
}

#[test]
fn sotw_change_sends_the_changed_names_only() {
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(ROUTE, &["a", "b"], "")).unwrap();
    respond(&mut stream, ROUTE, &[("a", "1"), ("b", "1")]).unwrap();
    let response = update(&mut stream, ROUTE, &[("a", "1"), ("b", "2"), ("c", "1")]);
    assert_eq!(sent(&response.unwrap()), ["b"]);
}

/// Absence means nothing for a type by name; what comes back is sent again.
#[test]
fn sotw_removal_of_a_name_is_silent() {
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(ROUTE, &["a"], "")).unwrap();
    respond(&mut stream, ROUTE, &[("a", "1")]).unwrap();
    assert_eq!(update(&mut stream, ROUTE, &[]), None);
    assert_eq!(sent(&update(&mut stream, ROUTE, &[("a", "1")]).unwrap()), ["a"]);
}

#[test]
fn sotw_resources_are_sent_again_when_they_are_needed_again() {
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(ENDPOINT, &["a", "b"], "")).unwrap();
    respond(&mut stream, ENDPOINT, &[("a", "1"), ("b", "1")]).unwrap();
    assert!(stream.resend(ENDPOINT, ["a"]));
    assert_eq!(sent(&respond(&mut stream, ENDPOINT, &[("a", "1"), ("b", "1")]).unwrap()), ["a"]);
}

#[test]
fn sotw_need_for_what_is_gone_is_forgotten() {
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(ENDPOINT, &["a"], "")).unwrap();
    respond(&mut stream, ENDPOINT, &[("a", "1")]).unwrap();
    stream.resend(ENDPOINT, ["a"]);
    assert_eq!(respond(&mut stream, ENDPOINT, &[]), None);
    update(&mut stream, ENDPOINT, &[("a", "1")]).unwrap();
    assert_eq!(update(&mut stream, ENDPOINT, &[("a", "1")]), None);
}

/// Only the newest response is answered: an older one has been replaced.
#[test]
fn sotw_answer_counts_for_the_newest_response() {
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(ROUTE, &["a"], "")).unwrap();
    respond(&mut stream, ROUTE, &[("a", "1")]).unwrap();
    update(&mut stream, ROUTE, &[("a", "2")]).unwrap();
    let stale = stream.on_request(sotw(ROUTE, &["a", "b"], "1")).unwrap();
    assert_eq!((stale.answer, stale.respond), (Answer::Expired, false));
    assert!(!stream.watch(ROUTE).unwrap().names.contains("b"), "an outdated subscription");
    assert_eq!(stream.on_request(sotw(ROUTE, &["a"], "2")).unwrap().answer, Answer::Ack);
    // The same nonce again is a changed subscription.
    let again = stream.on_request(sotw(ROUTE, &["a", "b"], "2")).unwrap();
    assert_eq!((again.answer, again.respond), (Answer::None, true));
}

/// A refusal repeats the names of before, whatever the client would like.
#[test]
fn sotw_refusal_changes_no_subscription() {
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(ROUTE, &["a"], "")).unwrap();
    respond(&mut stream, ROUTE, &[("a", "1")]).unwrap();
    let no = DiscoveryRequest { error_detail: refusal("no"), ..sotw(ROUTE, &["b"], "1") };
    let received = stream.on_request(no).unwrap();
    assert_eq!((received.answer, received.respond), (Answer::Nack("no".into()), false));
    assert!(stream.watch(ROUTE).unwrap().names.contains("a"));
    assert_eq!(update(&mut stream, ROUTE, &[("a", "1")]), None, "the same bytes are refused again");
}

#[test]
fn sotw_refusal_of_what_was_taken_before_is_a_refusal() {
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(CLUSTER, &[], "")).unwrap();
    respond(&mut stream, CLUSTER, &[("a", "1")]).unwrap();
    stream.on_request(sotw(CLUSTER, &[], "1")).unwrap();
    update(&mut stream, CLUSTER, &[("a", "2")]).unwrap();
    let no = DiscoveryRequest { error_detail: refusal("no"), ..sotw(CLUSTER, &[], "2") };
    assert_eq!(stream.on_request(no).unwrap().answer, Answer::Nack("no".into()));
    let status = stream.status(CLUSTER).unwrap();
    assert_eq!((status.sent.as_str(), status.acked.as_str()), ("2", "1"));
}

#[test]
fn sotw_client_that_wants_nothing_more_is_sent_nothing() {
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(ROUTE, &["a"], "")).unwrap();
    respond(&mut stream, ROUTE, &[("a", "1")]).unwrap();
    assert!(!stream.on_request(sotw(ROUTE, &[], "1")).unwrap().respond);
    assert_eq!(update(&mut stream, ROUTE, &[("a", "2")]), None);
}

#[test]
fn sotw_stream_watches_a_limited_number_of_names() {
    let names: Vec<String> = (0..=MAX_NAMES).map(|n| n.to_string()).collect();
    let mut stream = SotwStream::new("");
    let too_many = DiscoveryRequest { resource_names: names.clone(), ..sotw(ROUTE, &[], "") };
    assert_eq!(stream.on_request(too_many), Err(RequestError::TooManyNames(ROUTE.into())));
    let most = DiscoveryRequest { resource_names: names[1..].to_vec(), ..sotw(ROUTE, &[], "") };
    assert!(stream.on_request(most).is_ok());
}

#[test]
fn sotw_unwatched_type_has_nothing_to_send() {
    let mut stream = SotwStream::new("");
    assert_eq!(update(&mut stream, CLUSTER, &[("a", "1")]), None);
    assert_eq!(stream.resync(CLUSTER, &world(&[("a", "1")]), "v"), None);
}
