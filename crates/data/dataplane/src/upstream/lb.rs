//! Load balancing: priorities, panic mode, localities, and the policies (spec/dataplane.md 40 to 49).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::cluster::Cluster;
use super::config::{Discovery, LbPolicy};
use super::host::{Health, Host, LocalityHosts};
use super::ring::Ring;
use crate::stats::metrics::ClusterStats;
use crate::value::NetAddress;

/// What a pick may depend on.
#[derive(Debug, Default)]
pub(crate) struct LbContext<'a> {
    pub(crate) hash: Option<u64>,
    /// Hosts to avoid if possible (earlier attempts).
    pub(crate) avoid: &'a [NetAddress],
    /// How often a pick of an avoided host is repeated.
    pub(crate) attempts: u32,
    /// Where the downstream connection wanted to go.
    pub(crate) original_dst: Option<std::net::SocketAddr>,
    /// Metadata that a host must have (subset load balancing), `envoy.lb` strings.
    pub(crate) subset: Option<&'a [(String, String)]>,
}

/// Balancer state of one worker.
#[derive(Debug)]
pub(crate) struct Lb {
    epoch: Option<u64>,
    /// Share of each of `priorities` in per cent, summing up to 100 (or all zero).
    load: Vec<u32>,
    /// Healthy hosts by priority, then degraded ones by priority.
    priorities: Vec<Level>,
}

/// Hosts by what is known of their health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Healthy,
    Degraded,
    /// In a panic nobody's health is believed.
    Any,
}

impl Class {
    fn has(self, host: &Host) -> bool {
        match self {
            Class::Healthy => host.available() && host.health != Health::Degraded,
            Class::Degraded => host.available() && host.health == Health::Degraded,
            Class::Any => true,
        }
    }
}

#[derive(Debug, Default)]
struct Level {
    groups: Vec<Group>,
    total_weight: u64,
    panic: bool,
}

#[derive(Debug)]
struct Group {
    weight: u64,
    hosts: Vec<Arc<Host>>,
    equal: bool,
    next: usize,
    /// Smooth weighted round robin: the running score of each host.
    scores: Vec<i64>,
    ring: Option<Ring>,
}

impl Lb {
    pub(crate) fn new(_: &Cluster) -> Self {
        Lb { epoch: None, load: Vec::new(), priorities: Vec::new() }
    }

    /// Recomputes what depends on health.
    pub(crate) fn refresh(&mut self, cluster: &Cluster, epoch: u64) {
        if self.epoch == Some(epoch) {
            return;
        }
        self.epoch = Some(epoch);
        let set = &cluster.hosts;
        let count = |level: &Vec<LocalityHosts>, class: Class| {
            level.iter().flat_map(|locality| &locality.hosts).filter(|host| class.has(host)).count() as u64
        };
        let all: Vec<u64> = set.priorities.iter().map(|level| count(level, Class::Any)).collect();
        let over = u64::from(set.overprovisioning.max(100));
        // Every priority with its healthy hosts, then every one with its degraded hosts: the last resort.
        let availability: Vec<u64> = [Class::Healthy, Class::Degraded]
            .into_iter()
            .flat_map(|class| {
                set.priorities.iter().zip(&all).map(move |(level, all)| {
                    (over * count(level, class)).checked_div(*all).unwrap_or(0).min(100)
                })
            })
            .collect();
        let total: u64 = availability.iter().sum::<u64>().min(100);
        let mut left = 100u64;
        self.load = availability
            .iter()
            .map(|have| {
                let share = (have * 100).checked_div(total).unwrap_or(0).min(left);
                left -= share;
                share as u32
            })
            .collect();
        if total == 0 {
            if let Some(first) = all.iter().position(|all| *all > 0) {
                self.load[first] = 100;
            }
        } else if left > 0
            && let Some(first) = self.load.iter_mut().find(|share| **share > 0)
        {
            // Rounding: the rest goes to the first priority that has any.
            *first += left as u32;
        }
        let over = set.overprovisioning.max(100);
        let mut last_resort = Vec::new();
        self.priorities.clear();
        for (level, all) in set.priorities.iter().zip(&all) {
            let up = count(level, Class::Healthy) + count(level, Class::Degraded);
            let percent = if *all == 0 { 0.0 } else { up as f64 * 100.0 / *all as f64 };
            let panic = total < 100 && percent < cluster.config.panic_threshold;
            let of = |class| Level {
                panic: panic && *all > 0,
                ..Level::new(cluster, level, over, if panic { Class::Any } else { class })
            };
            self.priorities.push(of(Class::Healthy));
            last_resort.push(of(Class::Degraded));
        }
        self.priorities.append(&mut last_resort);
    }

    pub(crate) fn pick(
        &mut self,
        cluster: &Cluster,
        context: &LbContext<'_>,
        stats: &ClusterStats,
    ) -> Option<Arc<Host>> {
        if cluster.config.discovery == Discovery::OriginalDst {
            let address = context.original_dst?;
            return Some(cluster.config.original_dst_host(address));
        }
        let mut picked = self.pick_once(cluster, context, stats)?;
        for _ in 0..context.attempts {
            if !context.avoid.contains(&picked.address) {
                break;
            }
            match self.pick_once(cluster, context, stats) {
                Some(host) => picked = host,
                None => break,
            }
        }
        Some(picked)
    }

    fn pick_once(
        &mut self,
        cluster: &Cluster,
        context: &LbContext<'_>,
        stats: &ClusterStats,
    ) -> Option<Arc<Host>> {
        let mut draw = match context.hash {
            Some(hash) => (hash % 100) as u32,
            None => fastrand::u32(0..100),
        };
        let at = self.load.iter().position(|share| {
            let hit = draw < *share;
            draw = draw.saturating_sub(*share);
            hit
        })?;
        let level = self.priorities.get_mut(at)?;
        stats.lb_healthy_panic.add(u64::from(level.panic));
        let group = level.choose_group()?;
        if let Some(subset) = context.subset {
            return group.pick_subset(subset);
        }
        group.pick(cluster.config.lb, context.hash)
    }
}

impl Level {
    fn new(cluster: &Cluster, localities: &[LocalityHosts], over: u32, class: Class) -> Level {
        let usable = |hosts: &[Arc<Host>]| -> Vec<Arc<Host>> {
            hosts.iter().filter(|host| class.has(host)).cloned().collect()
        };
        let groups: Vec<Group> = if cluster.config.locality_weighted {
            localities
                .iter()
                .map(|locality| {
                    let hosts = usable(&locality.hosts);
                    let up = hosts.len() as u64;
                    let all = locality.hosts.len().max(1) as u64;
                    // weight * min(1, over * available): scaled by 100 to stay integral.
                    let share = (u64::from(over) * up / all).min(100);
                    Group::new(u64::from(locality.weight) * share, hosts, cluster)
                })
                .filter(|group| group.weight > 0 && !group.hosts.is_empty())
                .collect()
        } else {
            let hosts: Vec<_> = localities.iter().flat_map(|locality| usable(&locality.hosts)).collect();
            if hosts.is_empty() { Vec::new() } else { vec![Group::new(1, hosts, cluster)] }
        };
        let total_weight = groups.iter().map(|group| group.weight).sum();
        Level { groups, total_weight, panic: false }
    }

    fn choose_group(&mut self) -> Option<&mut Group> {
        if self.groups.len() <= 1 {
            return self.groups.first_mut();
        }
        let mut draw = fastrand::u64(0..self.total_weight.max(1));
        let at = self.groups.iter().position(|group| {
            let hit = draw < group.weight;
            draw = draw.saturating_sub(group.weight);
            hit
        })?;
        self.groups.get_mut(at)
    }
}

impl Group {
    fn new(weight: u64, hosts: Vec<Arc<Host>>, cluster: &Cluster) -> Group {
        let equal = hosts.windows(2).all(|pair| pair[0].weight == pair[1].weight);
        let next = if hosts.is_empty() { 0 } else { fastrand::usize(0..hosts.len()) };
        let ring = match cluster.config.lb {
            LbPolicy::RingHash { minimum, maximum } => Some(Ring::new(&hosts, minimum, maximum)),
            _ => None,
        };
        let scores = if equal { Vec::new() } else { vec![0; hosts.len()] };
        Group { weight, hosts, equal, next, scores, ring }
    }

    fn pick(&mut self, policy: LbPolicy, hash: Option<u64>) -> Option<Arc<Host>> {
        if self.hosts.is_empty() {
            return None;
        }
        let at = match (policy, &self.ring, hash) {
            (LbPolicy::RingHash { .. }, Some(ring), Some(hash)) => ring.find(hash)?,
            (LbPolicy::RoundRobin, ..) if self.equal => {
                self.next = (self.next + 1) % self.hosts.len();
                self.next
            }
            (LbPolicy::RoundRobin, ..) => self.weighted(),
            (LbPolicy::LeastRequest { choices }, ..) => self.least_request(choices),
            _ if self.equal => fastrand::usize(0..self.hosts.len()),
            _ => self.weighted(),
        };
        self.hosts.get(at).cloned()
    }

    fn weighted(&mut self) -> usize {
        let mut total = 0i64;
        let mut best = 0usize;
        for (at, host) in self.hosts.iter().enumerate() {
            let weight = i64::from(host.weight.max(1));
            total += weight;
            self.scores[at] += weight;
            if self.scores[at] > self.scores[best] {
                best = at;
            }
        }
        self.scores[best] -= total;
        best
    }

    fn least_request(&self, choices: u32) -> usize {
        let cost =
            |host: &Host| (host.state.rq_active.load(Relaxed) + 1) as f64 / f64::from(host.weight.max(1));
        let mut best = fastrand::usize(0..self.hosts.len());
        for _ in 1..choices.max(2) {
            let other = fastrand::usize(0..self.hosts.len());
            if cost(&self.hosts[other]) < cost(&self.hosts[best]) {
                best = other;
            }
        }
        best
    }

    fn pick_subset(&mut self, wanted: &[(String, String)]) -> Option<Arc<Host>> {
        let fits = |host: &&Arc<Host>| {
            let labels = host.metadata.as_ref().and_then(|metadata| metadata.filter_metadata.get("envoy.lb"));
            wanted.iter().all(|(name, value)| {
                labels.and_then(|labels| crate::value::struct_string(labels, name)) == Some(value.as_str())
            })
        };
        let fitting: Vec<_> = self.hosts.iter().filter(fits).collect();
        if fitting.is_empty() {
            return None;
        }
        self.next = self.next.wrapping_add(1);
        fitting.get(self.next % fitting.len()).map(|host| (*host).clone())
    }
}
