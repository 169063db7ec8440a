//! Both ends against each other: random interleavings have to converge, and nothing may be sent twice.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use portolan_envoy_api::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use proptest::prelude::*;
use prost::Message;

use crate::{
    Resource,
    client::{DeltaClient, Rejection},
    server::DeltaStream,
    testing::resource,
    type_url::{CLUSTER, ENDPOINT, VIRTUAL_HOST},
    wire::{DeltaDiscoveryResponse, WriteMessage},
};

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
