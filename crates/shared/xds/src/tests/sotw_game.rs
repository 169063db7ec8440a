//! A state-of-the-world stream in a random game: what the client has been told is what there is.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{game::World, sotw};
use crate::{
    server::SotwStream,
    type_url::{CLUSTER, ENDPOINT},
    wire::SotwResponse,
};

#[derive(Clone, Debug)]
enum Step {
    Change(u8),
    Remove(u8),
    Push,
    Lag,
    /// The names are those of the bits.
    Names(u8),
    Resend(u8),
    Reconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6u8).prop_map(Step::Change),
        2 => (0..6u8).prop_map(Step::Remove),
        6 => Just(Step::Push),
        1 => Just(Step::Lag),
        3 => (1..64u8).prop_map(Step::Names),
        1 => (0..6u8).prop_map(Step::Resend),
        1 => Just(Step::Reconnect),
    ];
    proptest::collection::vec(step, 0..80)
}

struct Game {
    type_url: &'static str,
    world: World,
    stream: SotwStream,
    nonce: String,
    names: BTreeSet<String>,
    /// What the client has been told on this stream.
    held: BTreeMap<String, String>,
    /// It waits for a response.
    waits: bool,
}

impl Game {
    fn new(type_url: &'static str) -> Self {
        let (stream, names) = (SotwStream::new(""), BTreeSet::from(["r0".to_owned()]));
        let (world, held) = (World::default(), BTreeMap::new());
        let mut game = Self { type_url, world, stream, nonce: String::new(), names, held, waits: true };
        game.ask();
        game
    }

    fn wildcard(&self) -> bool {
        self.type_url == CLUSTER
    }

    fn ask(&mut self) {
        let mut names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        names.extend(self.wildcard().then_some("*"));
        if self.stream.on_request(sotw(self.type_url, &names, &self.nonce)).unwrap().respond {
            let response = self.stream.respond(self.type_url, &self.world.source(), "v");
            self.take(response);
        }
    }

    fn push(&mut self) {
        let source = self.world.source();
        let response = match self.world.take_changes() {
            Some(changed) => self.stream.update(self.type_url, &changed, &source, "v"),
            None => self.stream.resync(self.type_url, &source, "v"),
        };
        self.take(response);
    }

    fn take(&mut self, response: Option<SotwResponse>) {
        let Some(response) = response else { return };
        let told: BTreeMap<String, String> =
            response.resources.iter().map(|r| (r.name.to_string(), r.version.to_string())).collect();
        let waits = std::mem::take(&mut self.waits);
        if self.wildcard() {
            assert!(waits || told != self.held, "nothing is said");
            self.held = told;
        } else {
            assert!(waits || !told.is_empty(), "nothing is said");
            for (name, version) in told {
                assert!(self.names.contains(&name), "{name} was not asked for");
                let before = self.held.insert(name.clone(), version.clone());
                assert_ne!(before, Some(version), "{name} was sent twice");
            }
        }
        self.nonce = response.nonce;
        self.ask();
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Change(n) => self.world.change(&format!("r{n}")),
            Step::Remove(n) => self.world.remove(&format!("r{n}")),
            Step::Push => self.push(),
            Step::Lag => self.world.lag(),
            Step::Names(bits) => {
                self.names = (0..6).filter(|n| bits & (1 << n) != 0).map(|n| format!("r{n}")).collect();
                if !self.wildcard() {
                    self.held.retain(|name, _| self.names.contains(name));
                }
                self.ask();
            }
            Step::Resend(n) => {
                let name = format!("r{n}");
                if self.stream.resend(self.type_url, [name.as_str()]) {
                    if self.wildcard() {
                        self.waits = true;
                    } else {
                        self.held.remove(&name);
                    }
                }
            }
            Step::Reconnect => {
                self.stream = SotwStream::new("");
                self.world.take_changes();
                self.held.clear();
                self.nonce.clear();
                self.waits = true;
                self.ask();
            }
        }
    }
}

fn check(type_url: &'static str, steps: &[Step]) {
    let mut game = Game::new(type_url);
    for step in steps {
        game.play(step);
    }
    game.push();
    let expected = game.world.expected(|name| game.wildcard() || game.names.contains(name));
    // Only where everything is repeated a client hears of what is gone.
    let wildcard = game.wildcard();
    game.held.retain(|name, _| wildcard || expected.contains_key(name));
    assert_eq!(game.held, expected);
    assert_eq!(game.stream.status(type_url).unwrap().resources, expected.len());
    assert_eq!(game.stream.resync(type_url, &game.world.source(), "v"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn sotw_wildcard_converges(steps in steps()) {
        check(CLUSTER, &steps);
    }

    #[test]
    fn sotw_names_converge(steps in steps()) {
        check(ENDPOINT, &steps);
    }
}
