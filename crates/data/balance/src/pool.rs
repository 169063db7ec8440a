//! The hosts that requests are balanced over: all of a cluster, or those of a subset.
//!
//! What depends on health is decided when the pool is made. A pool is made anew whenever health or hosts change.

use std::sync::Arc;

use crate::load::{Counts, Shares};
use crate::ring::Member;
use crate::table::Table;
use crate::{Health, Host, HostSet, Locality, Policy, Settings};

/// Hosts by what is known of their health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Healthy,
    Degraded,
    /// In a panic nobody's health is believed.
    Any,
}

impl Class {
    fn has<T>(self, host: &Host<T>) -> bool {
        match self {
            Class::Healthy => host.available() && host.health == Health::Healthy,
            Class::Degraded => host.available() && host.health == Health::Degraded,
            Class::Any => true,
        }
    }
}

/// Hosts to balance over, by priority and health.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    /// Per cent of the load of each level.
    shares: Vec<u32>,
    /// Healthy hosts by priority, then degraded ones by priority.
    pub(crate) levels: Vec<Level<T>>,
}

/// The hosts of one priority in one state.
#[derive(Debug)]
pub(crate) struct Level<T> {
    pub(crate) panic: bool,
    /// By locality where these have weights; else one. None is empty.
    pub(crate) groups: Vec<Group<T>>,
    /// Where the turn of its localities is kept.
    pub(crate) cursor: usize,
    /// Share of each host, for policies that hash: then there is one group.
    pub(crate) weights: Vec<f64>,
    pub(crate) table: Option<Table>,
}

/// Hosts that are equal but for their own weights.
#[derive(Debug)]
pub(crate) struct Group<T> {
    pub(crate) weight: f64,
    pub(crate) hosts: Vec<Arc<Host<T>>>,
    /// Whether all hosts have the same weight.
    pub(crate) equal: bool,
    /// Where the turn of its hosts is kept.
    pub(crate) cursor: usize,
}

/// Numbers the places where a worker keeps whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Cursors(pub(crate) usize);

impl Cursors {
    fn take(&mut self) -> usize {
        self.0 += 1;
        self.0 - 1
    }
}

impl<T> Pool<T> {
    pub(crate) fn new(
        set: &HostSet<T>,
        settings: &Settings,
        locality_weighted: bool,
        cursors: &mut Cursors,
    ) -> Pool<T> {
        let count = |level: &Vec<Locality<T>>, size: fn(&Host<T>) -> u64| {
            let mut counts = Counts::default();
            for host in level.iter().flat_map(|locality| &locality.hosts) {
                counts.all += size(host);
                counts.healthy += if Class::Healthy.has(host) { size(host) } else { 0 };
                counts.degraded += if Class::Degraded.has(host) { size(host) } else { 0 };
            }
            counts
        };
        let by_host: Vec<Counts> = set.priorities.iter().map(|level| count(level, |_| 1)).collect();
        let weighted: Vec<Counts> = match set.weighted_health {
            true => set.priorities.iter().map(|level| count(level, |host| u64::from(host.weight))).collect(),
            false => by_host.clone(),
        };
        let shares = Shares::new(&by_host, &weighted, set.overprovisioning, settings.panic_threshold);
        let levels = [Class::Healthy, Class::Degraded]
            .into_iter()
            .flat_map(|class| set.priorities.iter().zip(&shares.panic).map(move |level| (class, level)))
            .map(|(class, (level, panic))| {
                let class = if *panic { Class::Any } else { class };
                Level {
                    panic: *panic,
                    ..Level::new(level, class, set.overprovisioning, settings, locality_weighted, cursors)
                }
            })
            .collect();
        Pool { shares: shares.healthy.into_iter().chain(shares.degraded).collect(), levels }
    }

    /// The level for a number below 100.
    pub(crate) fn level(&self, mut draw: u32) -> Option<&Level<T>> {
        let at = self.shares.iter().position(|share| {
            let hit = draw < *share;
            draw = draw.saturating_sub(*share);
            hit
        })?;
        self.levels.get(at)
    }

    /// How many tables the pool needs.
    pub(crate) fn tables(&self) -> u64 {
        self.levels.iter().filter(|level| !level.weights.is_empty()).count() as u64
    }

    /// Makes its tables, each of at most `limit` entries.
    pub(crate) fn make_tables(&mut self, policy: &Policy, limit: u64) {
        for level in self.levels.iter_mut().filter(|level| !level.weights.is_empty()) {
            let hosts = level.groups.iter().flat_map(|group| &group.hosts);
            let members: Vec<_> = hosts
                .zip(&level.weights)
                .map(|(host, weight)| Member { key: &host.hash_key, weight: *weight })
                .collect();
            level.table = Table::new(policy, &members, limit);
        }
    }
}

impl<T> Level<T> {
    fn new(
        localities: &[Locality<T>],
        class: Class,
        overprovisioning: u32,
        settings: &Settings,
        locality_weighted: bool,
        cursors: &mut Cursors,
    ) -> Level<T> {
        let usable = |locality: &Locality<T>| -> Vec<Arc<Host<T>>> {
            locality.hosts.iter().filter(|host| class.has(host)).cloned().collect()
        };
        let mut level = Level {
            panic: false,
            groups: Vec::new(),
            cursor: cursors.take(),
            weights: Vec::new(),
            table: None,
        };
        if matches!(settings.policy, Policy::RingHash { .. } | Policy::Maglev { .. }) {
            level.spread(localities, locality_weighted, usable, cursors);
            return level;
        }
        if locality_weighted && class != Class::Any {
            let factor = f64::from(overprovisioning.max(100)) / 100.0;
            for locality in localities {
                let hosts = usable(locality);
                let up = hosts.len() as f64 / locality.hosts.len().max(1) as f64;
                let weight = f64::from(locality.weight) * (factor * up).min(1.0);
                if weight > 0.0 {
                    level.groups.push(Group::new(weight, hosts, cursors));
                }
            }
        }
        if level.groups.is_empty() {
            let hosts: Vec<_> = localities.iter().flat_map(usable).collect();
            if !hosts.is_empty() {
                level.groups.push(Group::new(1.0, hosts, cursors));
            }
        }
        level
    }

    /// For a table, weights of localities become part of the weights of their hosts, as availability does not: hosts
    /// that come and go move as few hashes as possible.
    fn spread(
        &mut self,
        localities: &[Locality<T>],
        locality_weighted: bool,
        usable: impl Fn(&Locality<T>) -> Vec<Arc<Host<T>>>,
        cursors: &mut Cursors,
    ) {
        let mut all = Vec::new();
        if locality_weighted {
            let total: u64 = localities.iter().map(|locality| u64::from(locality.weight)).sum();
            for locality in localities.iter().filter(|locality| locality.weight > 0) {
                self.weigh(usable(locality), f64::from(locality.weight) / total as f64, &mut all);
            }
        } else {
            self.weigh(localities.iter().flat_map(usable).collect(), 1.0, &mut all);
        }
        if !all.is_empty() {
            self.groups.push(Group::new(1.0, all, cursors));
        }
    }

    fn weigh(&mut self, mut hosts: Vec<Arc<Host<T>>>, share: f64, all: &mut Vec<Arc<Host<T>>>) {
        let sum: u64 = hosts.iter().map(|host| u64::from(host.weight.max(1))).sum();
        self.weights.extend(hosts.iter().map(|host| f64::from(host.weight.max(1)) * share / sum as f64));
        all.append(&mut hosts);
    }
}

impl<T> Group<T> {
    fn new(weight: f64, hosts: Vec<Arc<Host<T>>>, cursors: &mut Cursors) -> Group<T> {
        let equal = hosts.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        Group { weight, hosts, equal, cursor: cursors.take() }
    }
}
