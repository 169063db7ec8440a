//! Both ends against each other: random interleavings have to converge, and nothing may be sent twice. The server is
//! told of changes by name, unless it has lagged so far behind that nobody knows the names any more.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    mem,
    sync::Arc,
};

use portolan_envoy_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use proptest::prelude::*;
use prost::Message;

use super::received;

use crate::{
    client::{DeltaClient, Rejection, Upsert},
    server::{Collected, DeltaStream},
    testing::{resource, version, world},
    type_url::{CLUSTER, ENDPOINT, VIRTUAL_HOST},
    wire::{DeltaDiscoveryResponse, DeltaResponse, WriteMessage},
};

/// One step of the random game.
#[derive(Clone, Debug)]
enum Step {
    Change(u8),
    Remove(u8),
    Push,
    /// The names of what has changed are lost.
    Lag,
    ClientReads,
    ServerReads,
    Subscribe(u8),
    Unsubscribe(u8),
    SubscribeAll,
    UnsubscribeAll,
    /// The server wants to send something again.
    Resend(u8),
    Reconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..6u8).prop_map(Step::Change),
        2 => (0..6u8).prop_map(Step::Remove),
        6 => Just(Step::Push),
        1 => Just(Step::Lag),
        8 => Just(Step::ClientReads),
        8 => Just(Step::ServerReads),
        2 => (0..6u8).prop_map(Step::Subscribe),
        2 => (0..6u8).prop_map(Step::Unsubscribe),
        1 => Just(Step::SubscribeAll),
        1 => Just(Step::UnsubscribeAll),
        1 => (0..6u8).prop_map(Step::Resend),
        1 => Just(Step::Reconnect),
    ];
    proptest::collection::vec(step, 0..120)
}

/// The resources that there are, and what is known of how they changed.
#[derive(Default)]
pub(super) struct World {
    generations: BTreeMap<String, u32>,
    counter: u32,
    /// What has changed since the last push.
    changed: BTreeSet<Arc<str>>,
    /// That is not known any more.
    lagged: bool,
}

impl World {
    pub(super) fn change(&mut self, name: &str) {
        self.counter += 1;
        self.generations.insert(name.to_owned(), self.counter);
        self.changed.insert(name.into());
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.generations.remove(name);
        self.changed.insert(name.into());
    }

    pub(super) fn lag(&mut self) {
        self.changed.clear();
        self.lagged = true;
    }

    /// What to push: names, or everything.
    pub(super) fn take_changes(&mut self) -> Option<Vec<Arc<str>>> {
        let changed = mem::take(&mut self.changed).into_iter().collect();
        if mem::take(&mut self.lagged) { None } else { Some(changed) }
    }

    pub(super) fn source(&self) -> Collected {
        self.generations.iter().map(|(name, generation)| resource(name, &generation.to_string())).collect()
    }

    /// Names and versions of what a client has to hold.
    pub(super) fn expected(&self, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        let wanted = self.generations.iter().filter(|(name, _)| wanted(name));
        wanted.map(|(name, generation)| (name.clone(), version(name, &generation.to_string()))).collect()
    }
}

/// A server, a client and the wire between them.
struct Game {
    type_url: &'static str,
    world: World,
    stream: DeltaStream,
    streams: u32,
    client: DeltaClient,
    wanted: BTreeSet<String>,
    everything: bool,
    to_server: VecDeque<DeltaDiscoveryRequest>,
    to_client: VecDeque<Vec<u8>>,
    /// What the client has when everything has arrived, and has not asked for again since.
    sent: BTreeMap<String, String>,
    /// What it knows to be missing, and has not asked for again since.
    missing: BTreeSet<String>,
    /// It waits for a response, even an empty one.
    waits: bool,
    /// The client's last answer was a refusal.
    refused: bool,
}

impl Game {
    fn new(type_url: &'static str) -> Self {
        let mut client = DeltaClient::default();
        let everything = type_url == CLUSTER;
        if everything {
            client.subscribe_all(type_url);
        }
        let to_server = client.connected().into();
        Self {
            type_url,
            world: World::default(),
            stream: DeltaStream::new("0-"),
            streams: 0,
            client,
            wanted: BTreeSet::new(),
            everything,
            to_server,
            to_client: VecDeque::new(),
            sent: BTreeMap::new(),
            missing: BTreeSet::new(),
            waits: false,
            refused: false,
        }
    }

    /// Every fifth generation is one that the client refuses.
    fn is_bad(generation: u32) -> bool {
        generation.is_multiple_of(5)
    }

    fn refuses(upsert: &Upsert) -> bool {
        let text = std::str::from_utf8(&upsert.body.value).unwrap();
        Self::is_bad(text.rsplit('@').next().unwrap().parse().unwrap())
    }

    fn push(&mut self) {
        let source = self.world.source();
        let response = match self.world.take_changes() {
            Some(changed) => self.stream.update(self.type_url, &changed, &source, "v"),
            None => self.stream.resync(self.type_url, &source, "v"),
        };
        self.send(response);
    }

    fn respond(&mut self) {
        let response = self.stream.respond(self.type_url, &self.world.source(), "v");
        self.send(response);
    }

    fn send(&mut self, response: Option<DeltaResponse>) {
        let Some(response) = response else { return };
        let waits = mem::take(&mut self.waits);
        assert!(waits || !response.resources.is_empty() || !response.removed.is_empty(), "nothing is said");
        for sent in &response.resources {
            let version = sent.version.to_string();
            let before = self.sent.insert(sent.name.to_string(), version.clone());
            assert_ne!(before, Some(version), "{} was sent twice", sent.name);
            self.missing.remove(&*sent.name);
        }
        for name in &response.removed {
            let had = self.sent.remove(&**name).is_some();
            let news = self.missing.insert(name.to_string());
            assert!(had || news, "{name} was said to be missing twice");
        }
        let mut bytes = Vec::new();
        response.write(&mut bytes);
        self.to_client.push_back(bytes);
    }

    fn server_reads(&mut self) {
        let Some(request) = self.to_server.pop_front() else { return };
        let received = self.stream.on_request(received(&request)).unwrap();
        if received.first {
            self.sent = request.initial_resource_versions.clone();
            self.waits = true;
        }
        for name in request.resource_names_subscribe.iter().chain(&request.resource_names_unsubscribe) {
            if name == "*" {
                self.waits = true;
                // What was on its way when the client changed its mind may be taken back once more.
                self.missing.clear();
            }
            if !received.first {
                self.sent.remove(name);
            }
            self.missing.remove(name);
        }
        let watch = self.stream.watch(self.type_url).unwrap();
        self.sent.retain(|name, _| watch.wildcard || watch.names.contains(name.as_str()));
        if received.respond {
            self.respond();
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
            .filter(|upsert| Self::refuses(upsert))
            .map(|u| Rejection { name: u.name.clone(), reason: "bad".into() })
            .collect();
        let answer = self.client.finish(&update, &rejected).unwrap();
        assert_eq!(answer.error_detail.is_some(), !rejected.is_empty());
        self.refused = !rejected.is_empty();
        self.to_server.push_back(answer);
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Change(n) => self.world.change(&format!("r{n}")),
            Step::Remove(n) => self.world.remove(&format!("r{n}")),
            Step::Push => self.push(),
            Step::Lag => self.world.lag(),
            Step::ClientReads => self.client_reads(),
            Step::ServerReads => self.server_reads(),
            Step::Subscribe(n) => {
                self.wanted.insert(format!("r{n}"));
                let request = self.client.subscribe(self.type_url, [format!("r{n}")]);
                self.to_server.extend(request);
            }
            Step::Unsubscribe(n) => {
                self.wanted.remove(&format!("r{n}"));
                let request = self.client.unsubscribe(self.type_url, [format!("r{n}").as_str()]);
                self.to_server.extend(request);
            }
            Step::SubscribeAll if self.type_url == CLUSTER => {
                self.everything = true;
                self.to_server.extend(self.client.subscribe_all(self.type_url));
            }
            Step::UnsubscribeAll if self.type_url == CLUSTER => {
                self.everything = false;
                self.to_server.extend(self.client.unsubscribe_all(self.type_url));
            }
            Step::SubscribeAll | Step::UnsubscribeAll => {}
            Step::Resend(n) => {
                let name = format!("r{n}");
                if self.stream.resend(self.type_url, [name.as_str()]) {
                    self.sent.remove(&name);
                    // Otherwise it goes out with the next push.
                    if n % 2 == 0 {
                        self.respond();
                    }
                }
            }
            Step::Reconnect => self.reconnect(),
        }
    }

    fn reconnect(&mut self) {
        self.streams += 1;
        self.client.disconnected();
        self.stream = DeltaStream::new(format!("{}-", self.streams));
        self.world.take_changes();
        self.to_client.clear();
        self.sent.clear();
        self.missing.clear();
        self.waits = false;
        self.to_server = self.client.connected().into();
    }

    fn settle(&mut self) {
        // What the client refused for good would stay away for good: end with generations that it takes.
        let names: Vec<String> = self.world.generations.keys().cloned().collect();
        for name in names {
            while Self::is_bad(self.world.generations[&name]) {
                self.world.change(&name);
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
    let expected = game.world.expected(|name| game.everything || game.wanted.contains(name));
    let held = game.client.held(type_url).cloned().unwrap_or_default();
    assert_eq!(held, expected);
    if let Some(status) = game.stream.status(type_url) {
        // A refused resource that was then given up is never made good.
        assert!(status.sent == status.acked || game.refused, "{status:?}");
        assert_eq!(status.resources, expected.len());
    }
    // Names or everything: there is nothing more to say.
    game.world.lag();
    game.push();
    assert!(game.to_client.is_empty());
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

#[test]
fn a_client_gives_a_wildcard_up_and_takes_it_again() {
    let mut stream = DeltaStream::new("");
    let mut client = DeltaClient::default();
    client.connected();
    assert_eq!(client.unsubscribe_all(VIRTUAL_HOST), None, "there is nothing to give up");
    let mut deliver = |client: &mut DeltaClient, request: DeltaDiscoveryRequest| {
        stream.on_request(received(&request)).unwrap();
        let Some(response) = stream.respond(VIRTUAL_HOST, &world(&[("80/a", "1")]), "v") else {
            return false;
        };
        let mut bytes = Vec::new();
        response.write(&mut bytes);
        let mut response = DeltaDiscoveryResponse::decode(bytes.as_slice()).unwrap();
        for resource in &mut response.resources {
            resource.resource.as_mut().unwrap().type_url = VIRTUAL_HOST.into();
        }
        let update = client.on_response(response).unwrap();
        let ack = client.finish(&update, &[]).unwrap();
        stream.on_request(received(&ack)).unwrap();
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
