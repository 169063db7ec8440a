//! Subsets: hosts by the values of their labels (Envoy's "load balancer subsets").

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::limits::{MAX_COMBINATIONS, MAX_FALLBACKS, MAX_SUBSET_MEMBERS, MAX_SUBSETS};
use crate::pool::{Cursors, Pool};
use crate::{Criteria, Host, HostSet, KeyFallback, Locality, Settings, SubsetFallback, SubsetSettings};

/// The subsets of a cluster.
#[derive(Debug)]
pub(crate) struct Subsets<T> {
    /// By labels, sorted by key.
    index: HashMap<Box<Criteria>, Subset<T>>,
    /// Hosts of the default subset, where something falls back to it.
    default: Option<Pool<T>>,
    /// Subsets that were left out for [`MAX_SUBSETS`] or [`MAX_SUBSET_MEMBERS`].
    pub(crate) left_out: usize,
}

#[derive(Debug)]
enum Subset<T> {
    Many(Pool<T>),
    One(Arc<Host<T>>),
}

/// Where the hosts for a request are.
#[derive(Debug)]
pub(crate) enum Choice<'a, T> {
    /// In a pool.
    Pool(&'a Pool<T>),
    /// It is this one.
    One(&'a Arc<Host<T>>),
    /// Among all hosts of the cluster.
    Any,
    /// Nowhere.
    None,
}

/// Hosts of a subset that is being made, each with the places of its priority and its locality.
type Members<'a, T> = Vec<(usize, usize, &'a Arc<Host<T>>)>;

impl<T> Subsets<T> {
    pub(crate) fn new(
        set: &HostSet<T>,
        settings: &Settings,
        subsets: &SubsetSettings,
        cursors: &mut Cursors,
    ) -> Subsets<T> {
        let mut single: HashMap<Box<Criteria>, Arc<Host<T>>> = HashMap::new();
        // In order of labels, so that the same ones are left out every time.
        let mut many: BTreeMap<Box<Criteria>, Members<'_, T>> = BTreeMap::new();
        let (mut members, mut left_out) = (0usize, 0usize);
        for (priority, place, host) in places(set) {
            for selector in &subsets.selectors {
                for labels in combinations(host, &selector.keys) {
                    let known = single.contains_key(&*labels) || many.contains_key(&*labels);
                    if !known && single.len() + many.len() >= MAX_SUBSETS || members >= MAX_SUBSET_MEMBERS {
                        left_out += 1;
                    } else if selector.single_host {
                        single.entry(labels).or_insert_with(|| host.clone());
                        members += usize::from(!known);
                    } else {
                        // A new pool costs something for each priority, too.
                        members += 1 + if known { 0 } else { set.priorities.len() };
                        many.entry(labels).or_default().push((priority, place, host));
                    }
                }
            }
        }
        let mut pool = |members: Members<'_, T>| {
            let part = part_of(set, members, subsets);
            let locality_weighted = settings.locality_weighted && subsets.locality_weight_aware;
            Pool::new(&part, settings, locality_weighted, cursors)
        };
        let wants_default = subsets.fallback == SubsetFallback::Default
            || subsets.selectors.iter().any(|one| one.fallback == KeyFallback::To(SubsetFallback::Default));
        let default = wants_default.then(|| {
            let fits = |host: &Host<T>| {
                subsets
                    .default_subset
                    .iter()
                    .all(|(key, value)| host.label(key).is_some_and(|values| values.contains(value)))
            };
            pool(places(set).filter(|(_, _, host)| fits(host)).collect())
        });
        let mut index: HashMap<Box<Criteria>, Subset<T>> =
            many.into_iter().map(|(labels, members)| (labels, Subset::Many(pool(members)))).collect();
        for (labels, host) in single {
            index.entry(labels).or_insert(Subset::One(host));
        }
        Subsets { index, default, left_out }
    }

    pub(crate) fn pools_mut(&mut self) -> impl Iterator<Item = &mut Pool<T>> {
        let many = self.index.values_mut().filter_map(|subset| match subset {
            Subset::Many(pool) => Some(pool),
            Subset::One(_) => None,
        });
        self.default.iter_mut().chain(many)
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool<T>> {
        let many = self.index.values().filter_map(|subset| match subset {
            Subset::Many(pool) => Some(pool),
            Subset::One(_) => None,
        });
        self.default.iter().chain(many)
    }

    /// The hosts for a request with these criteria (sorted by key).
    pub(crate) fn choose(&self, settings: &SubsetSettings, criteria: &Criteria) -> Choice<'_, T> {
        let with = |keys: &[String]| -> Vec<(String, String)> {
            criteria.iter().filter(|(key, _)| keys.contains(key)).cloned().collect()
        };
        let mut reduced;
        let mut criteria = criteria;
        if settings.allow_redundant_keys {
            let known =
                |keys: &[String]| keys.iter().all(|key| criteria.iter().any(|(known, _)| known == key));
            if let Some(selector) = settings.selectors.iter().find(|selector| known(&selector.keys)) {
                reduced = with(&selector.keys);
                criteria = &reduced;
            }
        }
        for _ in 0..MAX_FALLBACKS {
            match self.index.get(criteria) {
                Some(Subset::Many(pool)) => return Choice::Pool(pool),
                Some(Subset::One(host)) => return Choice::One(host),
                None => {}
            }
            let selector = settings
                .selectors
                .iter()
                .filter(|_| !criteria.is_empty())
                .find(|selector| selector.keys.iter().eq(criteria.iter().map(|(key, _)| key)));
            match selector.map(|selector| &selector.fallback) {
                None | Some(KeyFallback::Inherit) => return self.fall_back(settings.fallback),
                Some(KeyFallback::To(fallback)) => return self.fall_back(*fallback),
                Some(KeyFallback::Keys(keys)) => {
                    reduced = with(keys);
                    criteria = &reduced;
                }
            }
        }
        Choice::None
    }

    fn fall_back(&self, fallback: SubsetFallback) -> Choice<'_, T> {
        match (fallback, &self.default) {
            (SubsetFallback::Any, _) => Choice::Any,
            (SubsetFallback::Default, Some(pool)) => Choice::Pool(pool),
            (SubsetFallback::Default, None) | (SubsetFallback::None, _) => Choice::None,
        }
    }
}

/// All hosts with the places of their priority and locality.
fn places<T>(set: &HostSet<T>) -> impl Iterator<Item = (usize, usize, &Arc<Host<T>>)> {
    set.priorities.iter().enumerate().flat_map(|(priority, level)| {
        level
            .iter()
            .enumerate()
            .flat_map(move |(place, locality)| locality.hosts.iter().map(move |host| (priority, place, host)))
    })
}

/// The labels of a host for these keys: nothing unless it has all of them, several where it has alternatives.
fn combinations<T>(host: &Host<T>, keys: &[String]) -> Vec<Box<Criteria>> {
    let mut all: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for key in keys {
        let Some(values) = host.label(key) else { return Vec::new() };
        all = all
            .iter()
            .flat_map(|labels| {
                values.iter().map(|value| {
                    let mut labels = labels.clone();
                    labels.push((key.clone(), value.clone()));
                    labels
                })
            })
            .take(MAX_COMBINATIONS)
            .collect();
    }
    if keys.is_empty() { Vec::new() } else { all.into_iter().map(Vec::into_boxed_slice).collect() }
}

/// A host set of these members only.
fn part_of<T>(set: &HostSet<T>, members: Members<'_, T>, subsets: &SubsetSettings) -> HostSet<T> {
    let mut by_place: BTreeMap<(usize, usize), Vec<Arc<Host<T>>>> = BTreeMap::new();
    for (priority, place, host) in members {
        by_place.entry((priority, place)).or_default().push(host.clone());
    }
    let mut priorities: Vec<Vec<Locality<T>>> = set.priorities.iter().map(|_| Vec::new()).collect();
    for ((priority, place), hosts) in by_place {
        let Some(whole) = set.priorities.get(priority).and_then(|level| level.get(place)) else { continue };
        let weight = match subsets.scale_locality_weight {
            true => scaled(whole.weight, hosts.len(), whole.hosts.len()),
            false => whole.weight,
        };
        if let Some(level) = priorities.get_mut(priority) {
            level.push(Locality { weight, hosts });
        }
    }
    HostSet { priorities, overprovisioning: set.overprovisioning, weighted_health: set.weighted_health }
}

/// The part of a locality's weight for some of its hosts; at least 1, so that rounding does not take it all.
fn scaled(weight: u32, part: usize, whole: usize) -> u32 {
    let share = part as f64 / whole.max(1) as f64;
    ((f64::from(weight) * share).round() as u32).max(u32::from(weight > 0))
}
