//! A server's delta stream.

use super::{DeltaRequest, Stated, anything, ask, names, refusal, request, stated};
use crate::{
    server::{Answer, DeltaStream, MAX_ERROR_TEXT, MAX_NAMES, MAX_OUTSTANDING, MAX_TYPES, RequestError},
    testing::{version, world},
    type_url::{CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE, SECRET, VIRTUAL_HOST},
    wire::DeltaResponse,
};

/// Answers a request when these are the resources.
fn respond(stream: &mut DeltaStream, type_url: &str, resources: &[(&str, &str)]) -> Option<DeltaResponse> {
    stream.respond(type_url, &world(resources), "v7")
}

/// Anything may have changed, and these are the resources now.
fn update(stream: &mut DeltaStream, type_url: &str, resources: &[(&str, &str)]) -> Option<DeltaResponse> {
    stream.update(type_url, &anything(), &world(resources), "v7")
}

/// What a client says that it has of an earlier stream.
fn held(names: &[&str]) -> Vec<Stated> {
    let versions: Vec<String> = names.iter().map(|name| version(name, "1")).collect();
    stated(names.iter().copied().zip(versions.iter().map(String::as_str)))
}

#[test]
fn wildcard_gets_everything_then_differences() {
    let mut stream = DeltaStream::new("s-");
    let received = stream.on_request(request(CLUSTER)).unwrap();
    assert!(received.first && received.respond);
    let first = respond(&mut stream, CLUSTER, &[("a", "1"), ("b", "1")]).unwrap();
    assert_eq!(names(&first), (vec!["a", "b"], vec![]));
    assert_eq!(first.nonce, "s-1");
    assert!(stream.blocked(CLUSTER));
    assert_eq!(update(&mut stream, CLUSTER, &[("a", "1"), ("b", "1")]), None);

    let second = update(&mut stream, CLUSTER, &[("a", "2")]).unwrap();
    assert_eq!(names(&second), (vec!["a"], vec!["b"]));

    let ack = DeltaRequest { response_nonce: "s-2".into(), ..request(CLUSTER) };
    assert_eq!(stream.on_request(ack).unwrap().answer, Answer::Ack);
    assert!(!stream.blocked(CLUSTER), "a later answer covers earlier responses");
    let status = stream.status(CLUSTER).unwrap();
    assert_eq!((status.sent.as_str(), status.acked.as_str()), ("s-2", "s-2"));
    let stale = DeltaRequest { response_nonce: "s-1".into(), ..request(CLUSTER) };
    assert_eq!(stream.on_request(stale).unwrap().answer, Answer::Expired);
}

#[test]
fn an_empty_start_is_answered_once() {
    let mut stream = DeltaStream::new("");
    stream.on_request(request(LISTENER)).unwrap();
    assert_eq!(names(&respond(&mut stream, LISTENER, &[]).unwrap()), (vec![], vec![]));
    assert_eq!(update(&mut stream, LISTENER, &[]), None);
}

#[test]
fn missing_names_are_reported_once_and_come_later() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(ENDPOINT, &["x", "y"])).unwrap();
    let response = respond(&mut stream, ENDPOINT, &[("x", "1")]).unwrap();
    assert_eq!(names(&response), (vec!["x"], vec!["y"]));
    assert_eq!(update(&mut stream, ENDPOINT, &[("x", "1")]), None);
    let response = update(&mut stream, ENDPOINT, &[("x", "1"), ("y", "1")]).unwrap();
    assert_eq!(names(&response), (vec!["y"], vec![]));
    // What is not watched is never sent.
    assert_eq!(update(&mut stream, ENDPOINT, &[("x", "1"), ("y", "1"), ("z", "1")]), None);
}

#[test]
fn types_by_name_have_no_wildcard() {
    let mut stream = DeltaStream::new("");
    assert!(!stream.on_request(ask(SECRET, &["*"])).unwrap().respond);
    assert_eq!(respond(&mut stream, SECRET, &[("key", "1")]), None);
}

#[test]
fn asking_again_sends_again() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(ROUTE, &["80"])).unwrap();
    respond(&mut stream, ROUTE, &[("80", "1")]).unwrap();
    assert!(stream.on_request(ask(ROUTE, &["80"])).unwrap().respond);
    assert_eq!(names(&respond(&mut stream, ROUTE, &[("80", "1")]).unwrap()).0, ["80"]);
    // After giving it up the client has nothing, so it is sent when asked for anew.
    let give_up = DeltaRequest { resource_names_unsubscribe: vec!["80".into()], ..request(ROUTE) };
    assert!(!stream.on_request(give_up).unwrap().respond);
    assert_eq!(update(&mut stream, ROUTE, &[]), None);
    stream.on_request(ask(ROUTE, &["80"])).unwrap();
    assert_eq!(names(&respond(&mut stream, ROUTE, &[("80", "1")]).unwrap()).0, ["80"]);
}

#[test]
fn a_changed_cluster_brings_its_endpoints_again() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(ENDPOINT, &["x"])).unwrap();
    assert!(!stream.resend(ENDPOINT, ["x"]), "not sent yet, so nothing to repeat");
    respond(&mut stream, ENDPOINT, &[("x", "1")]).unwrap();
    assert!(stream.resend(ENDPOINT, ["x", "y"]));
    assert_eq!(names(&respond(&mut stream, ENDPOINT, &[("x", "1")]).unwrap()).0, ["x"]);
    assert_eq!(update(&mut stream, ENDPOINT, &[("x", "1")]), None);
}

#[test]
fn reconnecting_gets_only_what_changed() {
    let mut stream = DeltaStream::new("");
    let again = DeltaRequest {
        initial_resource_versions: held(&["a", "b", "c"]),
        response_nonce: "left over".into(),
        ..request(CLUSTER)
    };
    assert_eq!(stream.on_request(again).unwrap().answer, Answer::None);
    let response = respond(&mut stream, CLUSTER, &[("a", "1"), ("b", "2")]).unwrap();
    assert_eq!(names(&response), (vec!["b"], vec!["c"]));
}

#[test]
fn who_comes_back_up_to_date_is_told_so() {
    let mut stream = DeltaStream::new("");
    let again = DeltaRequest { initial_resource_versions: held(&["80"]), ..ask(ROUTE, &["80"]) };
    assert!(stream.on_request(again).unwrap().respond);
    assert_eq!(names(&respond(&mut stream, ROUTE, &[("80", "1")]).unwrap()), (vec![], vec![]));
    assert_eq!(update(&mut stream, ROUTE, &[("80", "1")]), None);
}

#[test]
fn a_refused_version_is_not_repeated() {
    let mut stream = DeltaStream::new("");
    stream.on_request(request(CLUSTER)).unwrap();
    let bad = respond(&mut stream, CLUSTER, &[("a", "bad")]).unwrap();
    let nack = DeltaRequest { response_nonce: bad.nonce, error_detail: refusal("a: no"), ..request(CLUSTER) };
    assert_eq!(stream.on_request(nack).unwrap().answer, Answer::Nack("a: no".into()));
    assert_eq!(update(&mut stream, CLUSTER, &[("a", "bad")]), None);
    assert_eq!(stream.status(CLUSTER).unwrap().last_error.as_deref(), Some("a: no"));

    // Another resource's success does not make good for it, its own does.
    let other = update(&mut stream, CLUSTER, &[("a", "bad"), ("b", "1")]).unwrap();
    stream.on_request(DeltaRequest { response_nonce: other.nonce, ..request(CLUSTER) }).unwrap();
    assert!(stream.status(CLUSTER).unwrap().last_error.is_some());
    let good = update(&mut stream, CLUSTER, &[("a", "good"), ("b", "1")]).unwrap();
    stream.on_request(DeltaRequest { response_nonce: good.nonce, ..request(CLUSTER) }).unwrap();
    assert!(stream.status(CLUSTER).unwrap().last_error.is_none());
}

#[test]
fn order_and_limits() {
    let mut stream = DeltaStream::new("");
    for type_url in ["z", ROUTE, SECRET, VIRTUAL_HOST, LISTENER, "a", ENDPOINT, CLUSTER] {
        stream.on_request(request(type_url)).unwrap();
    }
    let types: Vec<_> = stream.types().iter().map(|t| t.to_string()).collect();
    assert_eq!(types, [CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST, SECRET, "a", "z"]);
    assert_eq!(stream.on_request(request("")), Err(RequestError::NoType));
    for n in 8..MAX_TYPES {
        stream.on_request(request(&format!("t{n}"))).unwrap();
    }
    assert_eq!(stream.on_request(request("one more")), Err(RequestError::TooManyTypes));
}

#[test]
fn who_asks_for_everything_and_for_names_gets_everything() {
    for names in [&["*"][..], &["*", "a"], &["a", "*"]] {
        let mut stream = DeltaStream::new("");
        assert!(stream.on_request(ask(CLUSTER, names)).unwrap().respond);
        let watch = stream.watch(CLUSTER).unwrap();
        assert!(watch.wildcard && !watch.names.contains("*"), "{names:?}");
    }
}

#[test]
fn who_asks_for_names_first_gets_no_more() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(CLUSTER, &["a"])).unwrap();
    assert!(!stream.watch(CLUSTER).unwrap().wildcard);
    let sent = respond(&mut stream, CLUSTER, &[("a", "1"), ("b", "1")]).unwrap();
    assert_eq!(names(&sent).0, ["a"]);
}

#[test]
fn everything_may_be_asked_for_later() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(CLUSTER, &["a"])).unwrap();
    respond(&mut stream, CLUSTER, &[("a", "1")]).unwrap();
    assert!(stream.on_request(ask(CLUSTER, &["*"])).unwrap().respond);
    let sent = respond(&mut stream, CLUSTER, &[("a", "1"), ("b", "1")]).unwrap();
    assert_eq!(names(&sent).0, ["b"]);
    assert!(!stream.on_request(ask(CLUSTER, &["*"])).unwrap().respond, "asked for already");
}

#[test]
fn asking_for_everything_later_is_answered_even_when_there_is_nothing() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(CLUSTER, &["a"])).unwrap();
    respond(&mut stream, CLUSTER, &[]).unwrap();
    stream.on_request(ask(CLUSTER, &["*"])).unwrap();
    assert_eq!(names(&respond(&mut stream, CLUSTER, &[]).unwrap()), (vec![], vec![]));
}

#[test]
fn types_by_name_never_become_wildcards() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(SECRET, &["a"])).unwrap();
    assert!(!stream.on_request(ask(SECRET, &["*"])).unwrap().respond);
    assert!(!stream.watch(SECRET).unwrap().wildcard);
}

#[test]
fn giving_up_everything_leaves_the_names() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(CLUSTER, &["*", "a"])).unwrap();
    respond(&mut stream, CLUSTER, &[("a", "1"), ("b", "1")]).unwrap();
    let give_up = DeltaRequest { resource_names_unsubscribe: vec!["*".into()], ..request(CLUSTER) };
    assert!(!stream.on_request(give_up).unwrap().respond);
    assert_eq!(stream.status(CLUSTER).unwrap().resources, 1);
    // The client has dropped the other one by itself: it is not told that it is gone.
    assert_eq!(update(&mut stream, CLUSTER, &[("a", "1")]), None);
}

/// The client drops the resource when it gives up the name, but watches everything: it needs it again.
#[test]
fn a_name_given_up_under_a_wildcard_is_sent_again() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(CLUSTER, &["*", "a"])).unwrap();
    respond(&mut stream, CLUSTER, &[("a", "1"), ("b", "1")]).unwrap();
    let give_up = DeltaRequest { resource_names_unsubscribe: vec!["a".into()], ..request(CLUSTER) };
    assert!(stream.on_request(give_up).unwrap().respond);
    let sent = respond(&mut stream, CLUSTER, &[("a", "1"), ("b", "1")]).unwrap();
    assert_eq!(names(&sent), (vec!["a"], vec![]));
}

#[test]
fn a_name_given_up_that_was_not_asked_for_changes_nothing() {
    let mut stream = DeltaStream::new("");
    stream.on_request(request(CLUSTER)).unwrap();
    respond(&mut stream, CLUSTER, &[("a", "1")]).unwrap();
    let give_up = DeltaRequest { resource_names_unsubscribe: vec!["a".into()], ..request(CLUSTER) };
    assert!(!stream.on_request(give_up).unwrap().respond);
    assert_eq!(update(&mut stream, CLUSTER, &[("a", "1")]), None);
}

#[test]
fn a_name_that_is_asked_for_again_is_reported_missing_again() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(ROUTE, &["80"])).unwrap();
    respond(&mut stream, ROUTE, &[]).unwrap();
    stream.on_request(ask(ROUTE, &["80"])).unwrap();
    assert_eq!(names(&respond(&mut stream, ROUTE, &[]).unwrap()).1, ["80"]);
}

#[test]
fn what_disappears_is_reported_once() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(ROUTE, &["80"])).unwrap();
    respond(&mut stream, ROUTE, &[("80", "1")]).unwrap();
    assert_eq!(names(&update(&mut stream, ROUTE, &[]).unwrap()).1, ["80"]);
    assert_eq!(update(&mut stream, ROUTE, &[]), None);
}

#[test]
fn removed_names_are_sorted() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(ROUTE, &["b", "a", "c"])).unwrap();
    respond(&mut stream, ROUTE, &[("b", "1")]).unwrap();
    stream.on_request(ask(ROUTE, &["c", "a"])).unwrap();
    assert_eq!(names(&update(&mut stream, ROUTE, &[]).unwrap()).1, ["a", "b", "c"]);
}

#[test]
fn a_resource_that_is_given_twice_is_sent_once() {
    let mut stream = DeltaStream::new("");
    stream.on_request(request(CLUSTER)).unwrap();
    let sent = respond(&mut stream, CLUSTER, &[("a", "1"), ("a", "2")]).unwrap();
    assert_eq!(names(&sent).0, ["a"]);
}

/// A client that comes back is not told of what it no longer asks for.
#[test]
fn what_a_client_held_and_no_longer_wants_is_not_taken_back() {
    let mut stream = DeltaStream::new("");
    let again = DeltaRequest { initial_resource_versions: held(&["80"]), ..ask(ROUTE, &["81"]) };
    stream.on_request(again).unwrap();
    assert_eq!(names(&respond(&mut stream, ROUTE, &[("81", "1")]).unwrap()), (vec!["81"], vec![]));
}

#[test]
fn names_that_would_spoil_a_log_are_not_watched() {
    let long = "x".repeat(1025);
    let longest = "x".repeat(1024);
    let mut stream = DeltaStream::new("");
    let asked = DeltaRequest {
        initial_resource_versions: stated(["", &long, "a"].map(|name| (name, "1"))),
        ..ask(CLUSTER, &["*", "", &long, &longest])
    };
    stream.on_request(asked).unwrap();
    let watched = &stream.watch(CLUSTER).unwrap().names;
    assert_eq!(watched.iter().map(|n| &**n).collect::<Vec<_>>(), [longest]);
    assert_eq!(stream.status(CLUSTER).unwrap().resources, 1);
}

#[test]
fn a_stream_watches_a_limited_number_of_names() {
    let names: Vec<String> = (0..MAX_NAMES).map(|n| n.to_string()).collect();
    let mut stream = DeltaStream::new("");
    let most = DeltaRequest { resource_names_subscribe: names, ..request(ROUTE) };
    assert!(stream.on_request(most).is_ok());
    assert_eq!(stream.on_request(ask(ROUTE, &["one more"])), Err(RequestError::TooManyNames(ROUTE.into())));
}

#[test]
fn a_request_error_says_what_is_wrong() {
    assert!(RequestError::NoType.to_string().contains("type_url"));
    assert!(RequestError::TooManyTypes.to_string().contains(&MAX_TYPES.to_string()));
    assert!(RequestError::TooManyNames(ROUTE.into()).to_string().contains(ROUTE));
}

#[test]
fn so_many_responses_may_be_unanswered() {
    let mut stream = DeltaStream::new("");
    stream.on_request(request(CLUSTER)).unwrap();
    assert!(!stream.full(CLUSTER) && !stream.blocked(CLUSTER));
    for n in 1..=MAX_OUTSTANDING {
        assert!(!stream.full(CLUSTER), "{n}");
        update(&mut stream, CLUSTER, &[("a", &n.to_string())]).unwrap();
    }
    assert!(stream.full(CLUSTER) && stream.blocked(CLUSTER));
    assert!(!stream.full(LISTENER) && !stream.blocked(LISTENER), "nothing of another type");
}

#[test]
fn an_unwatched_type_has_nothing_to_send() {
    let mut stream = DeltaStream::new("");
    assert_eq!(update(&mut stream, CLUSTER, &[("a", "1")]), None);
    assert!(stream.watch(CLUSTER).is_none() && stream.status(CLUSTER).is_none());
    assert!(!stream.resend(CLUSTER, ["a"]));
}

#[test]
fn a_response_says_what_it_is() {
    let mut stream = DeltaStream::new("n");
    stream.on_request(request(CLUSTER)).unwrap();
    let sent = respond(&mut stream, CLUSTER, &[("a", "1")]).unwrap();
    assert_eq!((&*sent.type_url, sent.system_version.as_str(), sent.nonce.as_str()), (CLUSTER, "v7", "n1"));
    let status = stream.status(CLUSTER).unwrap();
    assert_eq!((status.sent.as_str(), status.acked.as_str(), status.resources), ("n1", "", 1));
    assert_eq!(status.last_error, None);
}

#[test]
fn a_refusal_counts_for_the_response_that_it_names() {
    let mut stream = DeltaStream::new("");
    stream.on_request(request(CLUSTER)).unwrap();
    let first = respond(&mut stream, CLUSTER, &[("a", "1")]).unwrap();
    let answer =
        DeltaRequest { response_nonce: first.nonce, error_detail: refusal("no"), ..request(CLUSTER) };
    let received = stream.on_request(answer.clone()).unwrap();
    assert_eq!(
        (received.answer, received.first, received.respond),
        (Answer::Nack("no".into()), false, false)
    );
    assert_eq!(stream.status(CLUSTER).unwrap().acked, "");
    assert_eq!(stream.on_request(answer).unwrap().answer, Answer::Expired);
}

/// A refusal that is about no resource is made good by the next response that is taken.
#[test]
fn a_refusal_of_an_empty_response_is_made_good_by_any() {
    let mut stream = DeltaStream::new("");
    stream.on_request(request(CLUSTER)).unwrap();
    let empty = respond(&mut stream, CLUSTER, &[]).unwrap();
    let no = DeltaRequest { response_nonce: empty.nonce, error_detail: refusal("no"), ..request(CLUSTER) };
    stream.on_request(no).unwrap();
    let next = update(&mut stream, CLUSTER, &[("a", "1")]).unwrap();
    stream.on_request(DeltaRequest { response_nonce: next.nonce, ..request(CLUSTER) }).unwrap();
    assert_eq!(stream.status(CLUSTER).unwrap().last_error, None);
}

#[test]
fn the_text_of_a_refusal_is_kept_up_to_a_limit() {
    for (text, expected) in [
        ("ä".repeat(MAX_ERROR_TEXT), "ä".repeat(MAX_ERROR_TEXT)),
        ("ä".repeat(MAX_ERROR_TEXT + 1), format!("{}...", "ä".repeat(MAX_ERROR_TEXT))),
    ] {
        let mut stream = DeltaStream::new("");
        stream.on_request(request(CLUSTER)).unwrap();
        let sent = respond(&mut stream, CLUSTER, &[]).unwrap();
        let no =
            DeltaRequest { response_nonce: sent.nonce, error_detail: refusal(&text), ..request(CLUSTER) };
        assert_eq!(stream.on_request(no).unwrap().answer, Answer::Nack(expected));
    }
}

#[test]
fn configuration_of_extensions_is_asked_for_by_name() {
    let mut stream = DeltaStream::new("");
    for (type_url, wildcard) in
        [(CLUSTER, true), (LISTENER, true), ("other", true), (ENDPOINT, false), (EXTENSION_CONFIG, false)]
    {
        assert_eq!(stream.on_request(request(type_url)).unwrap().respond, wildcard, "{type_url}");
    }
}

#[test]
fn what_was_to_be_sent_again_and_is_gone_is_reported() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(ENDPOINT, &["x", "y"])).unwrap();
    respond(&mut stream, ENDPOINT, &[("x", "1"), ("y", "1")]).unwrap();
    stream.resend(ENDPOINT, ["x"]);
    // It has disappeared meanwhile.
    assert_eq!(names(&respond(&mut stream, ENDPOINT, &[("y", "1")]).unwrap()), (vec![], vec!["x"]));
    assert_eq!(update(&mut stream, ENDPOINT, &[("y", "1")]), None);
}
