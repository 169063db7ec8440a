//! Both ends against each other: random interleavings have to converge, and nothing may be sent twice.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use portolan_envoy_api::pb::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    google::rpc,
};
use proptest::prelude::*;
use prost::Message;

use crate::{
    Resource,
    client::{DeltaClient, Rejection},
    server::{Answer, DeltaStream, MAX_TYPES, RequestError, SotwStream},
    testing::resource,
    type_url::{CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, VIRTUAL_HOST},
    wire::{DeltaDiscoveryResponse, DeltaResponse, WriteMessage},
};

fn request(type_url: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { type_url: type_url.into(), ..Default::default() }
}

fn ask(type_url: &str, names: &[&str]) -> DeltaDiscoveryRequest {
    let resource_names_subscribe = names.iter().map(|n| (*n).to_owned()).collect();
    DeltaDiscoveryRequest { resource_names_subscribe, ..request(type_url) }
}

fn names(response: &DeltaResponse) -> (Vec<&str>, Vec<&str>) {
    (response.resources.iter().map(|r| &*r.name).collect(), response.removed.iter().map(|n| &**n).collect())
}

#[test]
fn wildcard_gets_everything_then_differences() {
    let mut stream = DeltaStream::new("s-");
    let received = stream.on_request(&request(CLUSTER)).unwrap();
    assert!(received.first && received.respond);
    let first = stream.diff(CLUSTER, &[resource("a", "1"), resource("b", "1")], "v").unwrap();
    assert_eq!(names(&first), (vec!["a", "b"], vec![]));
    assert_eq!(first.nonce, "s-1");
    assert!(stream.blocked(CLUSTER));
    assert_eq!(stream.diff(CLUSTER, &[resource("a", "1"), resource("b", "1")], "v"), None);

    let second = stream.diff(CLUSTER, &[resource("a", "2")], "v").unwrap();
    assert_eq!(names(&second), (vec!["a"], vec!["b"]));

    let ack = DeltaDiscoveryRequest { response_nonce: "s-2".into(), ..request(CLUSTER) };
    assert_eq!(stream.on_request(&ack).unwrap().answer, Answer::Ack);
    assert!(!stream.blocked(CLUSTER), "a later answer covers earlier responses");
    let status = stream.status(CLUSTER).unwrap();
    assert_eq!((status.sent.as_str(), status.acked.as_str()), ("s-2", "s-2"));
    let stale = DeltaDiscoveryRequest { response_nonce: "s-1".into(), ..request(CLUSTER) };
    assert_eq!(stream.on_request(&stale).unwrap().answer, Answer::Expired);
}

#[test]
fn an_empty_start_is_answered_once() {
    let mut stream = DeltaStream::new("");
    stream.on_request(&request(LISTENER)).unwrap();
    assert_eq!(names(&stream.diff(LISTENER, &[], "v").unwrap()), (vec![], vec![]));
    assert_eq!(stream.diff(LISTENER, &[], "v"), None);
}

#[test]
fn missing_names_are_reported_once_and_come_later() {
    let mut stream = DeltaStream::new("");
    stream.on_request(&ask(ENDPOINT, &["x", "y"])).unwrap();
    let response = stream.diff(ENDPOINT, &[resource("x", "1")], "v").unwrap();
    assert_eq!(names(&response), (vec!["x"], vec!["y"]));
    assert_eq!(stream.diff(ENDPOINT, &[resource("x", "1")], "v"), None);
    let response = stream.diff(ENDPOINT, &[resource("x", "1"), resource("y", "1")], "v").unwrap();
    assert_eq!(names(&response), (vec!["y"], vec![]));
    // What is not watched is never sent.
    assert_eq!(
        stream.diff(ENDPOINT, &[resource("x", "1"), resource("y", "1"), resource("z", "1")], "v"),
        None
    );
}

#[test]
fn types_by_name_have_no_wildcard() {
    let mut stream = DeltaStream::new("");
    assert!(!stream.on_request(&ask(SECRET, &["*"])).unwrap().respond);
    assert_eq!(stream.diff(SECRET, &[resource("key", "1")], "v"), None);
}

#[test]
fn asking_again_sends_again() {
    let mut stream = DeltaStream::new("");
    stream.on_request(&ask(ROUTE, &["80"])).unwrap();
    stream.diff(ROUTE, &[resource("80", "1")], "v").unwrap();
    assert!(stream.on_request(&ask(ROUTE, &["80"])).unwrap().respond);
    assert_eq!(names(&stream.diff(ROUTE, &[resource("80", "1")], "v").unwrap()).0, ["80"]);
    // After giving it up the client has nothing, so it is sent when asked for anew.
    let give_up = DeltaDiscoveryRequest { resource_names_unsubscribe: vec!["80".into()], ..request(ROUTE) };
    assert!(!stream.on_request(&give_up).unwrap().respond);
    assert_eq!(stream.diff(ROUTE, &[], "v"), None);
    stream.on_request(&ask(ROUTE, &["80"])).unwrap();
    assert_eq!(names(&stream.diff(ROUTE, &[resource("80", "1")], "v").unwrap()).0, ["80"]);
}

#[test]
fn a_changed_cluster_brings_its_endpoints_again() {
    let mut stream = DeltaStream::new("");
    stream.on_request(&ask(ENDPOINT, &["x"])).unwrap();
    assert!(!stream.resend(ENDPOINT, ["x"]), "not sent yet, so nothing to repeat");
    stream.diff(ENDPOINT, &[resource("x", "1")], "v").unwrap();
    assert!(stream.resend(ENDPOINT, ["x", "y"]));
    assert_eq!(names(&stream.diff(ENDPOINT, &[resource("x", "1")], "v").unwrap()).0, ["x"]);
    assert_eq!(stream.diff(ENDPOINT, &[resource("x", "1")], "v"), None);
}

#[test]
fn reconnecting_gets_only_what_changed() {
    let mut stream = DeltaStream::new("");
    let again = DeltaDiscoveryRequest {
        initial_resource_versions: [("a", "1"), ("b", "1"), ("c", "1")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .into(),
        response_nonce: "left over".into(),
        ..request(CLUSTER)
    };
    assert_eq!(stream.on_request(&again).unwrap().answer, Answer::None);
    let response = stream.diff(CLUSTER, &[resource("a", "1"), resource("b", "2")], "v").unwrap();
    assert_eq!(names(&response), (vec!["b"], vec!["c"]));
}

#[test]
fn who_comes_back_up_to_date_is_told_so() {
    let mut stream = DeltaStream::new("");
    let again = DeltaDiscoveryRequest {
        initial_resource_versions: [("80".to_owned(), "1".to_owned())].into(),
        ..ask(ROUTE, &["80"])
    };
    assert!(stream.on_request(&again).unwrap().respond);
    assert_eq!(names(&stream.diff(ROUTE, &[resource("80", "1")], "v").unwrap()), (vec![], vec![]));
    assert_eq!(stream.diff(ROUTE, &[resource("80", "1")], "v"), None);
}

#[test]
fn a_refused_version_is_not_repeated() {
    let mut stream = DeltaStream::new("");
    stream.on_request(&request(CLUSTER)).unwrap();
    let bad = stream.diff(CLUSTER, &[resource("a", "bad")], "v").unwrap();
    let nack = DeltaDiscoveryRequest {
        response_nonce: bad.nonce,
        error_detail: Some(rpc::Status { code: 3, message: "a: no".into(), details: vec![] }),
        ..request(CLUSTER)
    };
    assert_eq!(stream.on_request(&nack).unwrap().answer, Answer::Nack("a: no".into()));
    assert_eq!(stream.diff(CLUSTER, &[resource("a", "bad")], "v"), None);
    assert_eq!(stream.status(CLUSTER).unwrap().last_error.as_deref(), Some("a: no"));

    // Another resource's success does not make good for it, its own does.
    let other = stream.diff(CLUSTER, &[resource("a", "bad"), resource("b", "1")], "v").unwrap();
    stream.on_request(&DeltaDiscoveryRequest { response_nonce: other.nonce, ..request(CLUSTER) }).unwrap();
    assert!(stream.status(CLUSTER).unwrap().last_error.is_some());
    let good = stream.diff(CLUSTER, &[resource("a", "good"), resource("b", "1")], "v").unwrap();
    stream.on_request(&DeltaDiscoveryRequest { response_nonce: good.nonce, ..request(CLUSTER) }).unwrap();
    assert!(stream.status(CLUSTER).unwrap().last_error.is_none());
}

#[test]
fn order_and_limits() {
    let mut stream = DeltaStream::new("");
    for type_url in ["z", ROUTE, SECRET, VIRTUAL_HOST, LISTENER, "a", ENDPOINT, CLUSTER] {
        stream.on_request(&request(type_url)).unwrap();
    }
    let types: Vec<_> = stream.types().iter().map(|t| t.to_string()).collect();
    assert_eq!(types, [CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST, SECRET, "a", "z"]);
    assert_eq!(stream.on_request(&request("")), Err(RequestError::NoType));
    for n in 8..MAX_TYPES {
        stream.on_request(&request(&format!("t{n}"))).unwrap();
    }
    assert_eq!(stream.on_request(&request("one more")), Err(RequestError::TooManyTypes));
}

#[test]
fn a_client_gives_a_wildcard_up_and_takes_it_again() {
    let mut stream = DeltaStream::new("");
    let mut client = DeltaClient::default();
    client.connected();
    assert_eq!(client.unsubscribe_all(VIRTUAL_HOST), None, "there is nothing to give up");
    let mut deliver = |client: &mut DeltaClient, request: DeltaDiscoveryRequest| {
        stream.on_request(&request).unwrap();
        let Some(response) = stream.diff(VIRTUAL_HOST, &[resource("80/a", "1")], "v") else { return false };
        let mut bytes = Vec::new();
        response.write(&mut bytes);
        let mut response = DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
        for resource in &mut response.resources {
            resource.resource.as_mut().unwrap().type_url = VIRTUAL_HOST.into();
        }
        let update = client.on_response(response).unwrap();
        let ack = client.finish(&update, &[]).unwrap();
        stream.on_request(&ack).unwrap();
        true
    };
    let subscribe = client.subscribe_all(VIRTUAL_HOST).unwrap();
    assert!(subscribe.resource_names_subscribe.is_empty(), "a server of any age takes it for a wildcard");
    assert!(deliver(&mut client, subscribe));
    assert_eq!(client.held(VIRTUAL_HOST).unwrap().len(), 1);

    let give_up = client.unsubscribe_all(VIRTUAL_HOST).unwrap();
    assert_eq!(give_up.resource_names_unsubscribe, ["*"]);
    assert!(client.held(VIRTUAL_HOST).unwrap().is_empty());
    assert!(!deliver(&mut client, give_up));

    let again = client.subscribe_all(VIRTUAL_HOST).unwrap();
    assert_eq!(again.resource_names_subscribe, ["*"]);
    assert!(deliver(&mut client, again), "what was given up is sent again");
    assert_eq!(client.held(VIRTUAL_HOST).unwrap().len(), 1);
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

fn sotw(type_url: &str, names: &[&str], nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: type_url.into(),
        resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
        response_nonce: nonce.into(),
        ..Default::default()
    }
}

#[test]
fn sotw_wildcard_repeats_the_state() {
    let mut stream = SotwStream::new("");
    assert!(stream.on_request(&sotw(CLUSTER, &[], "")).unwrap().respond);
    let response = stream.diff(CLUSTER, &[resource("a", "1"), resource("b", "1")], "v1").unwrap();
    assert_eq!(response.resources.len(), 2);
    let received = stream.on_request(&sotw(CLUSTER, &[], "1")).unwrap();
    assert_eq!((received.answer, received.respond), (Answer::Ack, false));
    assert_eq!(stream.diff(CLUSTER, &[resource("a", "1"), resource("b", "1")], "v1"), None);
    // A removal shows by the rest being sent.
    let response = stream.diff(CLUSTER, &[resource("a", "1")], "v2").unwrap();
    assert_eq!((response.resources.len(), response.nonce.as_str()), (1, "2"));
    assert_eq!(stream.on_request(&sotw(CLUSTER, &[], "1")).unwrap().answer, Answer::Expired);
}

#[test]
fn sotw_by_name_answers_new_names_only() {
    let mut stream = SotwStream::new("");
    stream.on_request(&sotw(ROUTE, &["80"], "")).unwrap();
    assert_eq!(stream.diff(ROUTE, &[resource("80", "1")], "v").unwrap().resources.len(), 1);
    let received = stream.on_request(&sotw(ROUTE, &["80", "81"], "1")).unwrap();
    assert!(received.respond);
    let response = stream.diff(ROUTE, &[resource("80", "1"), resource("81", "1")], "v").unwrap();
    assert_eq!(response.resources.iter().map(|r| &*r.name).collect::<Vec<_>>(), ["81"]);
    // Fewer names need no answer; a name that comes back does.
    assert!(!stream.on_request(&sotw(ROUTE, &["81"], "2")).unwrap().respond);
    assert!(stream.on_request(&sotw(ROUTE, &["80", "81"], "2")).unwrap().respond);
    assert_eq!(
        stream.diff(ROUTE, &[resource("80", "1"), resource("81", "1")], "v").unwrap().resources.len(),
        1
    );
    assert!(!stream.on_request(&sotw(SECRET, &[], "")).unwrap().respond);
}

/// One step of the random game.
#[derive(Clone, Debug)]
enum Step {
    Change(u8),
    Remove(u8),
    Push,
    ClientReads,
    ServerReads,
    Subscribe(u8),
    Unsubscribe(u8),
    Reconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..6u8).prop_map(Step::Change),
        1 => (0..6u8).prop_map(Step::Remove),
        3 => Just(Step::Push),
        4 => Just(Step::ClientReads),
        4 => Just(Step::ServerReads),
        1 => (0..6u8).prop_map(Step::Subscribe),
        1 => (0..6u8).prop_map(Step::Unsubscribe),
        1 => Just(Step::Reconnect),
    ];
    proptest::collection::vec(step, 0..120)
}

/// A server, a client and the wire between them.
struct Game {
    type_url: &'static str,
    world: BTreeMap<String, u32>,
    counter: u32,
    stream: DeltaStream,
    streams: u32,
    client: DeltaClient,
    wanted: BTreeSet<String>,
    to_server: VecDeque<DeltaDiscoveryRequest>,
    to_client: VecDeque<Vec<u8>>,
    /// Sent on this stream and not asked for again since.
    sent: HashMap<String, String>,
    /// The client's last answer was a refusal.
    refused: bool,
}

impl Game {
    fn new(type_url: &'static str) -> Self {
        let mut client = DeltaClient::default();
        if type_url == CLUSTER {
            client.subscribe_all(type_url);
        }
        let to_server = client.connected().into();
        Self {
            type_url,
            world: BTreeMap::new(),
            counter: 0,
            stream: DeltaStream::new("0-"),
            streams: 0,
            client,
            wanted: BTreeSet::new(),
            to_server,
            to_client: VecDeque::new(),
            sent: HashMap::new(),
            refused: false,
        }
    }

    /// Every fifth version is one that the client refuses.
    fn is_bad(version: &str) -> bool {
        version.ends_with('0') || version.ends_with('5')
    }

    fn push(&mut self) {
        let Some(watch) = self.stream.watch(self.type_url) else { return };
        let current: Vec<Arc<Resource>> = self
            .world
            .iter()
            .filter(|(name, _)| watch.wildcard || watch.names.contains(name.as_str()))
            .map(|(name, version)| resource(name, &version.to_string()))
            .collect();
        if let Some(response) = self.stream.diff(self.type_url, &current, "v") {
            for sent in &response.resources {
                let version = sent.version.to_string();
                let before = self.sent.insert(sent.name.to_string(), version.clone());
                assert_ne!(before, Some(version), "{} was sent twice", sent.name);
            }
            let mut bytes = Vec::new();
            response.write(&mut bytes);
            self.to_client.push_back(bytes);
        }
    }

    fn server_reads(&mut self) {
        let Some(request) = self.to_server.pop_front() else { return };
        for name in request.resource_names_subscribe.iter().chain(&request.resource_names_unsubscribe) {
            self.sent.remove(name);
        }
        if self.stream.on_request(&request).unwrap().respond {
            self.push();
        }
    }

    fn client_reads(&mut self) {
        let Some(bytes) = self.to_client.pop_front() else { return };
        let response = DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
        let mut response = response;
        for resource in &mut response.resources {
            resource.resource.as_mut().unwrap().type_url = self.type_url.into();
        }
        let update = self.client.on_response(response).unwrap();
        let rejected: Vec<Rejection> = update
            .upserts
            .iter()
            .filter(|u| Self::is_bad(&u.version))
            .map(|u| Rejection { name: u.name.clone(), reason: "bad".into() })
            .collect();
        let answer = self.client.finish(&update, &rejected).unwrap();
        assert_eq!(answer.error_detail.is_some(), !rejected.is_empty());
        self.refused = !rejected.is_empty();
        self.to_server.push_back(answer);
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Change(n) => {
                self.counter += 1;
                self.world.insert(format!("r{n}"), self.counter);
            }
            Step::Remove(n) => {
                self.world.remove(&format!("r{n}"));
            }
            Step::Push => self.push(),
            Step::ClientReads => self.client_reads(),
            Step::ServerReads => self.server_reads(),
            Step::Subscribe(n) if self.type_url != CLUSTER => {
                self.wanted.insert(format!("r{n}"));
                let request = self.client.subscribe(self.type_url, [format!("r{n}")]);
                self.to_server.extend(request);
            }
            Step::Unsubscribe(n) if self.type_url != CLUSTER => {
                self.wanted.remove(&format!("r{n}"));
                let request = self.client.unsubscribe(self.type_url, [format!("r{n}").as_str()]);
                self.to_server.extend(request);
            }
            Step::Subscribe(_) | Step::Unsubscribe(_) => {}
            Step::Reconnect => {
                self.streams += 1;
                self.client.disconnected();
                self.stream = DeltaStream::new(format!("{}-", self.streams));
                self.to_client.clear();
                self.sent.clear();
                self.to_server = self.client.connected().into();
            }
        }
    }

    fn settle(&mut self) {
        // What the client refused for good would stay away for good: end with versions that it takes.
        for version in self.world.values_mut() {
            while Self::is_bad(&version.to_string()) {
                self.counter += 1;
                *version = self.counter;
            }
        }
        for _ in 0..20 {
            self.push();
            while !self.to_client.is_empty() || !self.to_server.is_empty() {
                self.server_reads();
                self.client_reads();
            }
        }
    }
}

fn check(type_url: &'static str, steps: &[Step]) {
    let mut game = Game::new(type_url);
    for step in steps {
        game.play(step);
    }
    game.settle();
    let expected: BTreeMap<String, String> = game
        .world
        .iter()
        .filter(|(name, _)| type_url == CLUSTER || game.wanted.contains(*name))
        .map(|(name, version)| (name.clone(), version.to_string()))
        .collect();
    let held = game.client.held(type_url).cloned().unwrap_or_default();
    assert_eq!(held, expected);
    if let Some(status) = game.stream.status(type_url) {
        // A refused resource that was then given up is never made good.
        assert!(status.sent == status.acked || game.refused, "{status:?}");
        assert_eq!(status.resources, expected.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn wildcard_converges(steps in steps()) {
        check(CLUSTER, &steps);
    }

    #[test]
    fn names_converge(steps in steps()) {
        check(ENDPOINT, &steps);
    }
}
