//! What the tests of this crate share: hosts with short names, and an environment that follows a script.

use std::sync::Arc;

use crate::{Environment, Health, Host, HostSet, HostState, Locality, Moment};

/// Random numbers from a list, over and over, and a clock that a test sets.
pub(crate) struct Script {
    numbers: Vec<u64>,
    next: usize,
    pub(crate) now: Moment,
}

impl Script {
    pub(crate) fn new(numbers: impl Into<Vec<u64>>) -> Self {
        Script { numbers: numbers.into(), next: 0, now: Moment::ZERO }
    }
}

impl Environment for Script {
    fn now(&mut self) -> Moment {
        self.now
    }

    fn random(&mut self) -> u64 {
        let number = self.numbers[self.next % self.numbers.len()];
        self.next += 1;
        number
    }
}

/// Random numbers from a seed, and a clock that a test sets.
pub(crate) struct Seeded {
    random: fastrand::Rng,
    pub(crate) now: Moment,
}

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Seeded { random: fastrand::Rng::with_seed(seed), now: Moment::ZERO }
    }
}

impl Environment for Seeded {
    fn now(&mut self) -> Moment {
        self.now
    }

    fn random(&mut self) -> u64 {
        self.random.u64(..)
    }
}

/// A healthy host of weight 1.
pub(crate) fn host(name: &str) -> Host<()> {
    Host {
        name: name.into(),
        hash_key: name.into(),
        weight: 1,
        health: Health::Healthy,
        labels: Vec::new(),
        state: Arc::new(HostState::new(Moment::ZERO)),
        endpoint: (),
    }
}

pub(crate) fn weighted(name: &str, weight: u32) -> Host<()> {
    Host { weight, ..host(name) }
}

pub(crate) fn ill(name: &str, health: Health) -> Host<()> {
    Host { health, ..host(name) }
}

pub(crate) fn labelled(name: &str, labels: &[(&str, &[&str])]) -> Host<()> {
    let labels = labels
        .iter()
        .map(|(key, values)| ((*key).to_owned(), values.iter().map(|value| (*value).to_owned()).collect()))
        .collect();
    Host { labels, ..host(name) }
}

/// A set of one priority and one locality.
pub(crate) fn set(hosts: Vec<Host<()>>) -> HostSet<()> {
    priorities(vec![hosts])
}

/// A set of one locality in each priority.
pub(crate) fn priorities(levels: Vec<Vec<Host<()>>>) -> HostSet<()> {
    HostSet {
        priorities: levels
            .into_iter()
            .map(|hosts| vec![Locality { weight: 1, hosts: hosts.into_iter().map(Arc::new).collect() }])
            .collect(),
        ..HostSet::default()
    }
}

/// A set of localities with weights in one priority.
pub(crate) fn localities(groups: Vec<(u32, Vec<Host<()>>)>) -> HostSet<()> {
    let level = groups
        .into_iter()
        .map(|(weight, hosts)| Locality { weight, hosts: hosts.into_iter().map(Arc::new).collect() })
        .collect();
    HostSet { priorities: vec![level], ..HostSet::default() }
}
