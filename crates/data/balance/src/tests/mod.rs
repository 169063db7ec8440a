//! Balancer and picker together: who gets how much.

mod health;
mod policies;
mod subsets;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::testing::Seeded;
use crate::{Balancer, HostSet, Picker, Request, Settings};

/// How often each host is picked in `count` picks.
fn shares(hosts: &HostSet<()>, settings: &Settings, count: usize) -> BTreeMap<String, usize> {
    shares_of(hosts, settings, count, |_| Request::default())
}

fn shares_of<'a>(
    hosts: &HostSet<()>,
    settings: &Settings,
    count: usize,
    request: impl Fn(u64) -> Request<'a, ()>,
) -> BTreeMap<String, usize> {
    let mut environment = Seeded::new(7);
    let mut picker =
        Picker::new(Arc::new(Balancer::new(hosts, Arc::new(settings.clone()), 0)), &mut environment);
    let mut seen = BTreeMap::new();
    for at in 0..count {
        let picked = picker.pick(&request(at as u64), &mut environment);
        let name = picked.host.map_or_else(|| "none".to_owned(), |host| host.name.to_string());
        *seen.entry(name).or_insert(0) += 1;
    }
    seen
}

/// What the test expects, in the form of [`shares`].
fn exactly(wanted: &[(&str, usize)]) -> BTreeMap<String, usize> {
    wanted.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// Whether all counts are within six standard deviations (and one) of what is expected.
fn about(seen: &BTreeMap<String, usize>, wanted: &[(&str, f64)]) -> bool {
    let total = seen.values().sum::<usize>() as f64;
    seen.keys().all(|name| wanted.iter().any(|(known, _)| known == name))
        && wanted.iter().all(|(name, share)| {
            let count = seen.get(*name).copied().unwrap_or_default() as f64;
            (count - total * share).abs() <= 6.0 * (total * share * (1.0 - share)).sqrt() + 1.0
        })
}
