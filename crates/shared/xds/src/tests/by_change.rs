//! What a change or a request costs: as much as it is about, not what the stream holds.

use std::{cell::Cell, sync::Arc};

use super::{DeltaRequest, ask, names, request, sotw, stated};
use crate::{
    Resource,
    server::{Collected, DeltaStream, MAX_NAMES, RequestError, SotwStream, Source},
    testing::{resource, version, world},
    type_url::{CLUSTER, ENDPOINT, ROUTE},
    wire::SotwResponse,
};

/// A source that counts how often it is asked.
struct Counted {
    resources: Collected,
    gets: Cell<usize>,
    alls: Cell<usize>,
}

impl Counted {
    fn new(resources: &[(&str, &str)]) -> Self {
        Self { resources: world(resources), gets: Cell::new(0), alls: Cell::new(0) }
    }

    /// Names looked up, and walks through everything, since the last call.
    fn asked(&self) -> (usize, usize) {
        (self.gets.take(), self.alls.take())
    }
}

impl Source for Counted {
    fn get(&self, name: &str) -> Option<Arc<Resource>> {
        self.gets.set(self.gets.get() + 1);
        self.resources.get(name)
    }

    fn all(&self, each: &mut dyn FnMut(&Arc<Resource>)) {
        self.alls.set(self.alls.get() + 1);
        self.resources.all(each);
    }
}

fn changed(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

fn sent(response: Option<SotwResponse>) -> Option<Vec<String>> {
    response.map(|response| response.resources.iter().map(|r| r.name.to_string()).collect())
}

fn unsubscribe(type_url: &str, names: &[&str]) -> DeltaRequest {
    let resource_names_unsubscribe = names.iter().map(|n| (*n).to_owned()).collect();
    DeltaRequest { resource_names_unsubscribe, ..request(type_url) }
}

#[test]
fn a_change_under_a_wildcard_costs_its_names() {
    let mut stream = DeltaStream::new("");
    let source = Counted::new(&[("a", "1"), ("b", "1"), ("c", "1")]);
    stream.on_request(request(CLUSTER)).unwrap();
    assert_eq!(names(&stream.respond(CLUSTER, &source, "v").unwrap()).0, ["a", "b", "c"]);
    assert_eq!(source.asked(), (0, 1));
    assert_eq!(stream.respond(CLUSTER, &source, "v"), None);
    assert_eq!(source.asked(), (0, 0));

    let source = Counted::new(&[("a", "2"), ("b", "2"), ("d", "1")]);
    let response = stream.update(CLUSTER, &changed(&["b", "c", "b", "c", "none"]), &source, "v").unwrap();
    assert_eq!(names(&response), (vec!["b"], vec!["c"]), "the change of `a` has not been told of");
    assert_eq!(source.asked(), (5, 0));
    assert_eq!(stream.update(CLUSTER, &changed(&["b", "c"]), &source, "v"), None);
    let response = stream.resync(CLUSTER, &source, "v").unwrap();
    assert_eq!(names(&response), (vec!["a", "d"], vec![]));
    assert_eq!(stream.resync(CLUSTER, &source, "v"), None);
}

#[test]
fn a_subscription_costs_the_names_that_are_new_in_it() {
    let mut stream = DeltaStream::new("");
    let source = Counted::new(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]);
    stream.on_request(ask(ENDPOINT, &["a", "b"])).unwrap();
    assert_eq!(names(&stream.respond(ENDPOINT, &source, "v").unwrap()).0, ["a", "b"]);
    assert_eq!(source.asked(), (2, 0));
    stream.on_request(ask(ENDPOINT, &["c", "x"])).unwrap();
    let response = stream.respond(ENDPOINT, &source, "v").unwrap();
    assert_eq!((names(&response), source.asked()), ((vec!["c"], vec!["x"]), (2, 0)));
    assert_eq!(stream.update(ENDPOINT, &changed(&["d"]), &source, "v"), None);
    assert_eq!(source.asked(), (0, 0), "nobody asked for it");

    stream.on_request(unsubscribe(ENDPOINT, &["c"])).unwrap();
    assert_eq!(stream.update(ENDPOINT, &changed(&["c"]), &source, "v"), None);
    assert_eq!(source.asked(), (0, 0));
}

#[test]
fn what_is_missing_is_said_once_by_whichever_way() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(ENDPOINT, &["a", "b"])).unwrap();
    let none = world(&[]);
    assert_eq!(names(&stream.respond(ENDPOINT, &none, "v").unwrap()).1, ["a", "b"]);
    assert_eq!(stream.update(ENDPOINT, &changed(&["a", "b"]), &none, "v"), None);
    assert_eq!(stream.resync(ENDPOINT, &none, "v"), None);
    let come = world(&[("a", "1"), ("b", "1")]);
    assert_eq!(names(&stream.update(ENDPOINT, &changed(&["a"]), &come, "v").unwrap()), (vec!["a"], vec![]));
    let response = stream.resync(ENDPOINT, &none, "v").unwrap();
    assert_eq!(names(&response).1, ["a"], "that `b` came was not told, nor is that it went");
    let come = stream.resync(ENDPOINT, &come, "v").unwrap();
    assert_eq!(names(&come).0, ["a", "b"]);
    assert_eq!(names(&stream.resync(ENDPOINT, &none, "v").unwrap()).1, ["a", "b"]);
}

/// It is on its way when the client gives it up, and arrives when the client wants everything.
#[test]
fn what_was_given_up_on_its_way_is_made_good() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(CLUSTER, &["a", "b", "c"])).unwrap();
    let source = world(&[("a", "1"), ("b", "1")]);
    let on_its_way = stream.respond(CLUSTER, &source, "v").unwrap();
    assert_eq!(names(&on_its_way), (vec!["a", "b"], vec!["c"]));
    stream.on_request(unsubscribe(CLUSTER, &["a", "b"])).unwrap();
    stream.on_request(ask(CLUSTER, &["*"])).unwrap();
    let response = stream.respond(CLUSTER, &world(&[("a", "1")]), "v").unwrap();
    assert_eq!(names(&response), (vec!["a"], vec!["b"]));

    // What has arrived was dropped by the client itself; what it still has is not repeated.
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(CLUSTER, &["a", "b", "c"])).unwrap();
    let arrived = stream.respond(CLUSTER, &source, "v").unwrap();
    stream.on_request(DeltaRequest { response_nonce: arrived.nonce, ..request(CLUSTER) }).unwrap();
    stream.on_request(unsubscribe(CLUSTER, &["b"])).unwrap();
    stream.on_request(ask(CLUSTER, &["*"])).unwrap();
    let response = stream.respond(CLUSTER, &world(&[("a", "1")]), "v").unwrap();
    assert_eq!(names(&response), (vec![], vec![]));
}

#[test]
fn what_goes_is_taken_back_once() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(ENDPOINT, &["a", "b"])).unwrap();
    stream.respond(ENDPOINT, &world(&[("a", "1"), ("b", "1")]), "v").unwrap();
    let response = stream.update(ENDPOINT, &changed(&["b", "a", "b"]), &world(&[]), "v").unwrap();
    assert_eq!(names(&response).1, ["a", "b"]);
    assert_eq!(stream.update(ENDPOINT, &changed(&["a", "b"]), &world(&[]), "v"), None);
}

/// Nobody has to answer a request before the next change.
#[test]
fn an_update_answers_what_was_asked() {
    let mut stream = DeltaStream::new("");
    stream.on_request(request(CLUSTER)).unwrap();
    let source = world(&[("a", "1"), ("b", "1")]);
    let response = stream.update(CLUSTER, &[], &source, "v").unwrap();
    assert_eq!(names(&response).0, ["a", "b"]);

    stream.on_request(ask(ENDPOINT, &["a", "b"])).unwrap();
    stream.respond(ENDPOINT, &source, "v").unwrap();
    stream.on_request(ask(ENDPOINT, &["c"])).unwrap();
    stream.resend(ENDPOINT, ["a"]);
    let source = world(&[("a", "1"), ("b", "2"), ("c", "1")]);
    let response = stream.update(ENDPOINT, &changed(&["a", "b", "c"]), &source, "v").unwrap();
    assert_eq!(names(&response).0, ["a", "c", "b"], "each once");
    assert_eq!(stream.respond(ENDPOINT, &source, "v"), None);
}

#[test]
fn a_resync_sends_again_what_was_asked_for_again() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(ENDPOINT, &["a", "b"])).unwrap();
    let source = world(&[("a", "1"), ("b", "1")]);
    stream.respond(ENDPOINT, &source, "v").unwrap();
    stream.resend(ENDPOINT, ["a"]);
    assert_eq!(names(&stream.resync(ENDPOINT, &source, "v").unwrap()).0, ["a"]);
    assert_eq!(stream.resync(ENDPOINT, &source, "v"), None);
}

#[test]
fn a_version_that_is_not_ours_is_never_up_to_date() {
    for (held, expected) in
        [(version("a", "1"), vec![]), ("1".to_owned(), vec!["a"]), ("".to_owned(), vec!["a"])]
    {
        let mut stream = DeltaStream::new("");
        let again = DeltaRequest {
            initial_resource_versions: stated([("a", &*held), ("b", &*held)]),
            ..ask(ROUTE, &["a", "b"])
        };
        stream.on_request(again).unwrap();
        let response = stream.respond(ROUTE, &world(&[("a", "1")]), "v").unwrap();
        assert_eq!(names(&response), (expected, vec!["b"]), "what it has and is gone is taken back");
    }
}

#[test]
fn names_are_shared_with_the_resources() {
    let mut stream = DeltaStream::new("");
    stream.on_request(ask(ENDPOINT, &["a", "b"])).unwrap();
    let source = world(&[("a", "1")]);
    stream.respond(ENDPOINT, &source, "v").unwrap();
    let watch = stream.watch(ENDPOINT).unwrap().clone();
    assert_eq!(watch.names.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b"]);
    assert!(Arc::ptr_eq(watch.names.first().unwrap(), &source.get("a").unwrap().name));
    stream.resync(ENDPOINT, &source, "v");
    assert!(Arc::ptr_eq(&watch.names, &stream.watch(ENDPOINT).unwrap().names), "as they were");

    // A copy is of its time.
    stream.on_request(ask(ENDPOINT, &["c"])).unwrap();
    stream.on_request(unsubscribe(ENDPOINT, &["a"])).unwrap();
    assert_eq!(watch.names.len(), 2);
    let now = &stream.watch(ENDPOINT).unwrap().names;
    assert_eq!(now.iter().map(|name| &**name).collect::<Vec<_>>(), ["b", "c"]);
    let before = now.clone();
    stream.on_request(ask(ENDPOINT, &["c"])).unwrap();
    stream.on_request(unsubscribe(ENDPOINT, &["x"])).unwrap();
    assert!(Arc::ptr_eq(&before, &stream.watch(ENDPOINT).unwrap().names), "nothing changed");
}

#[test]
fn names_that_wait_to_be_sent_are_limited() {
    let all: Vec<String> = (0..MAX_NAMES).map(|n| n.to_string()).collect();
    let mut stream = DeltaStream::new("");
    stream.on_request(request(CLUSTER)).unwrap();
    let most = DeltaRequest { resource_names_subscribe: all.clone(), ..request(CLUSTER) };
    assert!(stream.on_request(most).is_ok());
    let none = DeltaRequest { resource_names_unsubscribe: all, ..request(CLUSTER) };
    assert!(stream.on_request(none).is_ok());
    let refused = Err(RequestError::TooManyNames(CLUSTER.into()));
    assert_eq!(stream.on_request(ask(CLUSTER, &["one more"])), refused);
}

#[test]
fn of_two_resources_with_one_name_the_first_counts() {
    let source: Collected = [resource("a", "1"), resource("a", "2")].into_iter().collect();
    assert_eq!(source.get("a"), Some(resource("a", "1")));
}

/// More names than a hash tells apart by itself.
#[test]
fn each_of_many_names_is_its_own() {
    let many: Vec<String> = (0..2_000).map(|n| format!("name-{n}")).collect();
    let source: Collected = many.iter().map(|name| resource(name, "1")).collect();
    let mut stream = DeltaStream::new("");
    stream.on_request(request(CLUSTER)).unwrap();
    let response = stream.respond(CLUSTER, &source, "v").unwrap();
    assert_eq!(response.resources.len(), many.len());
    assert_eq!(stream.status(CLUSTER).unwrap().resources, many.len());
}

/// A source that gives the same twice.
struct Twice(Arc<Resource>);

impl Source for Twice {
    fn get(&self, _: &str) -> Option<Arc<Resource>> {
        Some(self.0.clone())
    }

    fn all(&self, each: &mut dyn FnMut(&Arc<Resource>)) {
        each(&self.0);
        each(&self.0);
    }
}

#[test]
fn what_a_source_gives_twice_is_sent_once() {
    let source = Twice(resource("a", "1"));
    let mut stream = DeltaStream::new("");
    stream.on_request(request(CLUSTER)).unwrap();
    assert_eq!(names(&stream.respond(CLUSTER, &source, "v").unwrap()), (vec!["a"], vec![]));
    let mut stream = SotwStream::new("");
    stream.on_request(sotw(CLUSTER, &[], "")).unwrap();
    assert_eq!(stream.respond(CLUSTER, &source, "v").unwrap().resources.len(), 1);
}

#[test]
fn whether_to_repeat_the_state_costs_the_names_of_the_change() {
    let mut stream = SotwStream::new("");
    let source = Counted::new(&[("a", "1"), ("b", "1")]);
    stream.on_request(sotw(CLUSTER, &[], "")).unwrap();
    assert!(stream.respond(CLUSTER, &source, "v").is_some());
    source.asked();
    assert_eq!(stream.update(CLUSTER, &changed(&["a", "none"]), &source, "v"), None);
    assert_eq!(source.asked(), (2, 0));

    let source = Counted::new(&[("a", "2"), ("b", "2")]);
    let response = stream.update(CLUSTER, &changed(&["a"]), &source, "v");
    assert_eq!(sent(response), Some(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(source.asked(), (1, 1));
    assert_eq!(stream.update(CLUSTER, &changed(&["b"]), &source, "v"), None, "it went with the other");

    let source = world(&[("b", "2")]);
    let response = stream.update(CLUSTER, &changed(&["a"]), &source, "v");
    assert_eq!(sent(response), Some(vec!["b".to_owned()]), "what is missing is gone");
    assert_eq!(stream.status(CLUSTER).unwrap().resources, 1);
    let source = world(&[("c", "1")]);
    assert_eq!(sent(stream.resync(CLUSTER, &source, "v")), Some(vec!["c".to_owned()]));
    assert_eq!(stream.resync(CLUSTER, &source, "v"), None);
    assert_eq!(sent(stream.resync(CLUSTER, &world(&[]), "v")), Some(vec![]));
}

#[test]
fn new_names_of_a_whole_subscription_cost_themselves() {
    let mut stream = SotwStream::new("");
    let source = Counted::new(&[("a", "1"), ("b", "1"), ("c", "1")]);
    stream.on_request(sotw(ROUTE, &["a"], "")).unwrap();
    assert_eq!(sent(stream.respond(ROUTE, &source, "v")), Some(vec!["a".to_owned()]));
    source.asked();
    assert!(stream.on_request(sotw(ROUTE, &["a", "b", "c"], "1")).unwrap().respond);
    // `c` is given up before it was sent.
    assert!(!stream.on_request(sotw(ROUTE, &["a", "b"], "1")).unwrap().respond);
    assert_eq!(sent(stream.respond(ROUTE, &source, "v")), Some(vec!["b".to_owned()]));
    assert_eq!(source.asked(), (1, 0));
    let source = Counted::new(&[("a", "2"), ("b", "2"), ("c", "1")]);
    assert_eq!(sent(stream.update(ROUTE, &changed(&["b", "c"]), &source, "v")), Some(vec!["b".to_owned()]));
    assert_eq!(source.asked(), (1, 0));
    assert_eq!(sent(stream.resync(ROUTE, &source, "v")), Some(vec!["a".to_owned()]));
    assert_eq!(stream.resync(ROUTE, &world(&[]), "v"), None, "absence means nothing");
    assert_eq!(stream.status(ROUTE).unwrap().resources, 0);
}

/// Names beside a wildcard are part of it.
#[test]
fn a_name_beside_everything_is_not_repeated() {
    let mut stream = SotwStream::new("");
    let source = world(&[("a", "1")]);
    stream.on_request(sotw(CLUSTER, &["*"], "")).unwrap();
    stream.respond(CLUSTER, &source, "v").unwrap();
    stream.on_request(sotw(CLUSTER, &["*", "a", "b"], "1")).unwrap();
    assert_eq!(stream.respond(CLUSTER, &source, "v"), None);
    assert_eq!(stream.update(CLUSTER, &changed(&["a", "b"]), &source, "v"), None);
    assert_eq!(stream.resync(CLUSTER, &source, "v"), None);
}
