//! Picks hosts: what a worker does for every request.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::balancer::Found;
use crate::edf::Edf;
use crate::limits::MAX_CHOICES;
use crate::pool::{Group, Level, Pool};
use crate::subset::Choice;
use crate::{Balancer, Criteria, Environment, Host, Moment, Policy, Settings};

/// What a pick may depend on.
pub struct Request<'a, T> {
    /// Hash of what the route's hash policy names.
    pub hash: Option<u64>,
    /// What the route's `metadata_match` asks for.
    pub criteria: &'a Criteria,
    /// Hosts that are to be avoided (those of earlier attempts).
    pub avoid: &'a dyn Fn(&Host<T>) -> bool,
    /// How often a pick of an avoided host is repeated; the last one counts in any case.
    pub attempts: u32,
    /// Active requests of the cluster, for bounded loads.
    pub active: u64,
}

impl<T> Default for Request<'_, T> {
    fn default() -> Self {
        Request { hash: None, criteria: &[], avoid: &|_| false, attempts: 0, active: 0 }
    }
}

impl<T> std::fmt::Debug for Request<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request")
            .field("hash", &self.hash)
            .field("criteria", &self.criteria)
            .finish_non_exhaustive()
    }
}

/// A host for a request.
#[derive(Debug)]
pub struct Picked<T> {
    /// The host; `None` when there is none that may be used.
    pub host: Option<Arc<Host<T>>>,
    /// Whether it was chosen in a panic, regardless of health.
    pub panic: bool,
}

/// Whose turn it is, for one worker.
#[derive(Debug)]
pub struct Picker<T> {
    balancer: Arc<Balancer<T>>,
    turns: Turns,
}

/// What of it is this worker's own, by the places that the balancer has numbered.
#[derive(Debug, Default)]
struct Turns(Vec<Cursor>);

#[derive(Debug, Default)]
enum Cursor {
    /// Nothing is kept: chance or a hash decides.
    #[default]
    None,
    Next(usize),
    Edf(Box<Edf>),
}

impl<T> Picker<T> {
    /// Begins with a balancer, at random places, so that workers do not all choose the same hosts. The work is linear in
    /// the number of hosts whose weights differ: to be done when a new balancer is taken over, not for a request.
    pub fn new(balancer: Arc<Balancer<T>>, environment: &mut impl Environment) -> Self {
        let mut cursors: Vec<Cursor> = Vec::new();
        cursors.resize_with(balancer.cursors, Cursor::default);
        let now = environment.now();
        let mut set = |at: usize, cursor: Cursor| {
            if let Some(place) = cursors.get_mut(at) {
                *place = cursor;
            }
        };
        for level in balancer.pools().flat_map(|pool| &pool.levels) {
            if level.groups.len() > 1 {
                let weights = level.groups.iter().map(|group| group.weight);
                set(level.cursor, Cursor::Edf(Box::new(Edf::new(weights, environment.unit()))));
            }
            for group in &level.groups {
                let in_turn = matches!(balancer.settings.policy, Policy::RoundRobin { .. });
                if by_weight(&balancer, group, now) {
                    let weights = group.hosts.iter().map(|host| weight(&balancer.settings, host, now));
                    set(group.cursor, Cursor::Edf(Box::new(Edf::new(weights, environment.unit()))));
                } else if in_turn {
                    set(group.cursor, Cursor::Next(environment.below(group.hosts.len() as u64) as usize));
                }
            }
        }
        Picker { balancer, turns: Turns(cursors) }
    }

    /// Chooses a host.
    pub fn pick(&mut self, request: &Request<'_, T>, environment: &mut impl Environment) -> Picked<T> {
        let Picker { balancer, turns } = self;
        let balancer: &Balancer<T> = balancer;
        let criteria = match request.criteria.is_sorted_by(|one, other| one.0 <= other.0) {
            true => Cow::Borrowed(request.criteria),
            false => {
                let mut sorted = request.criteria.to_vec();
                sorted.sort();
                Cow::Owned(sorted)
            }
        };
        let mut panic = false;
        let mut found = None;
        for attempt in 0..=request.attempts {
            let next = match balancer.choose(&criteria) {
                Choice::One(host) => Some(host),
                Choice::None => None,
                Choice::Pool(pool) => turns.host(balancer, pool, request, attempt, environment, &mut panic),
                Choice::Default(pool) => {
                    let found = turns.host(balancer, pool, request, attempt, environment, &mut panic);
                    match found {
                        None if balancer.any_in_need() => {
                            turns.host(balancer, &balancer.whole, request, attempt, environment, &mut panic)
                        }
                        found => found,
                    }
                }
                Choice::Any => {
                    turns.host(balancer, &balancer.whole, request, attempt, environment, &mut panic)
                }
            };
            found = next.or(found);
            if next.is_none_or(|host| !(request.avoid)(host)) {
                break;
            }
        }
        Picked { host: found.cloned(), panic }
    }
}

impl Turns {
    fn host<'a, T>(
        &mut self,
        balancer: &'a Balancer<T>,
        pool: &'a Pool<T>,
        request: &Request<'_, T>,
        attempt: u32,
        environment: &mut impl Environment,
        panic: &mut bool,
    ) -> Found<'a, T> {
        let settings = &balancer.settings;
        let hashed = matches!(settings.policy, Policy::RingHash { .. } | Policy::Maglev { .. });
        let hash = match request.hash.filter(|_| hashed) {
            Some(hash) => hash,
            None => environment.random(),
        };
        let level = pool.level((hash % 100) as u32)?;
        *panic |= level.panic;
        if level.panic && settings.fail_on_panic {
            return None;
        }
        if let Some(table) = &level.table {
            let hosts = &level.groups.first()?.hosts;
            let active = |at: Option<usize>| match at {
                None => request.active,
                Some(at) => hosts.get(at).map_or(0, |host| host.state.rq_active.load(Relaxed)),
            };
            return hosts.get(table.find(hash, attempt, &level.weights, active)?);
        }
        let group = self.group(level)?;
        let at = self.member(balancer, group, environment)?;
        group.hosts.get(at)
    }

    fn group<'a, T>(&mut self, level: &'a Level<T>) -> Option<&'a Group<T>> {
        match self.0.get_mut(level.cursor) {
            Some(Cursor::Edf(edf)) => {
                let at = edf.pick(|at| level.groups.get(at).map_or(0.0, |group| group.weight))?;
                level.groups.get(at)
            }
            _ => level.groups.first(),
        }
    }

    fn member<T>(
        &mut self,
        balancer: &Balancer<T>,
        group: &Group<T>,
        environment: &mut impl Environment,
    ) -> Option<usize> {
        let settings = &balancer.settings;
        let count = group.hosts.len();
        match self.0.get_mut(group.cursor) {
            // When the slow starts are over, equal hosts simply take turns or are drawn again.
            Some(Cursor::Edf(edf)) if !group.equal || environment.now() < balancer.slow_until => {
                let now = if balancer.slow_until > Moment::ZERO { environment.now() } else { Moment::ZERO };
                return edf.pick(|at| group.hosts.get(at).map_or(0.0, |host| weight(settings, host, now)));
            }
            Some(cursor @ Cursor::Edf(_)) if matches!(settings.policy, Policy::RoundRobin { .. }) => {
                *cursor = Cursor::Next(environment.below(count as u64) as usize);
            }
            _ => {}
        }
        match (&settings.policy, self.0.get_mut(group.cursor)) {
            (Policy::RoundRobin { .. }, Some(Cursor::Next(next))) => {
                *next = (*next + 1) % count.max(1);
                Some(*next)
            }
            (Policy::LeastRequest { choices, full_scan, .. }, _) => {
                Some(least_request(group, *choices, *full_scan, environment))
            }
            _ => Some(environment.below(count as u64) as usize),
        }
    }
}

/// Whether the hosts of a group take turns by their weights, as far as the policy looks at weights.
fn by_weight<T>(balancer: &Balancer<T>, group: &Group<T>, now: Moment) -> bool {
    let differs = !group.equal || now < balancer.slow_until;
    differs
        && group.hosts.len() > 1
        && matches!(balancer.settings.policy, Policy::RoundRobin { .. } | Policy::LeastRequest { .. })
}

/// The weight of a host now: less in its slow start, and by its active requests for least request.
fn weight<T>(settings: &Settings, host: &Host<T>, now: Moment) -> f64 {
    let mut weight = f64::from(host.weight.max(1));
    if let Policy::LeastRequest { bias, .. } = settings.policy {
        let active = host.state.rq_active.load(Relaxed) as f64 + 1.0;
        weight /= if bias == 1.0 { active } else { active.powf(bias) };
    }
    match settings.policy.slow_start() {
        Some(slow) => weight * slow.factor(now.since(host.state.joined())),
        None => weight,
    }
}

/// The host with the fewest active requests: of all, or of a few that are drawn.
fn least_request<T>(
    group: &Group<T>,
    choices: u32,
    full_scan: bool,
    environment: &mut impl Environment,
) -> usize {
    let active = |at: usize| group.hosts.get(at).map_or(u64::MAX, |host| host.state.rq_active.load(Relaxed));
    let count = group.hosts.len();
    if full_scan {
        // Of equals each one must have the same chance: the n-th of them replaces the last one in one of n cases.
        let (mut best, mut equals) = (0, 1);
        for at in 1..count {
            match active(at).cmp(&active(best)) {
                std::cmp::Ordering::Less => (best, equals) = (at, 1),
                std::cmp::Ordering::Equal => {
                    equals += 1;
                    if environment.below(equals) == 0 {
                        best = at;
                    }
                }
                std::cmp::Ordering::Greater => {}
            }
        }
        return best;
    }
    let mut best = environment.below(count as u64) as usize;
    for _ in 1..choices.min(MAX_CHOICES) {
        let other = environment.below(count as u64) as usize;
        if active(other) < active(best) {
            best = other;
        }
    }
    best
}
