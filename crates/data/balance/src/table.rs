//! Consistent hashing: a ring or a maglev table, and what happens when the owner of a hash has too much to do.

use std::collections::HashMap;

use crate::maglev::Maglev;
use crate::ring::{Member, Ring};
use crate::{HashSettings, Policy};

/// Owners of hashes.
#[derive(Debug)]
pub(crate) struct Table {
    kind: Kind,
    hash: HashSettings,
}

#[derive(Debug)]
enum Kind {
    Ring(Ring),
    Maglev(Maglev),
}

impl Table {
    /// The table of a policy that hashes, of at most `limit` entries.
    pub(crate) fn new(policy: &Policy, members: &[Member<'_>], limit: u64) -> Option<Table> {
        match policy {
            Policy::RingHash { minimum, maximum, function, hash } => {
                let maximum = (*maximum).min(limit);
                let kind = Kind::Ring(Ring::new(members, (*minimum).min(maximum), maximum, *function));
                Some(Table { kind, hash: *hash })
            }
            Policy::Maglev { table_size, hash } => Some(Table {
                kind: Kind::Maglev(Maglev::new(members, (*table_size).min(limit))),
                hash: *hash,
            }),
            _ => None,
        }
    }

    /// Index of the member for a hash. `active` tells the active requests of all members, or of one.
    pub(crate) fn find(
        &self,
        hash: u64,
        attempt: u32,
        weights: &[f64],
        active: impl Fn(Option<usize>) -> u64,
    ) -> Option<usize> {
        let owner = match &self.kind {
            Kind::Ring(ring) => ring.find(hash, attempt),
            Kind::Maglev(maglev) => maglev.find(hash, attempt),
        }?;
        let Some(factor) = self.hash.balance_factor else { return Some(owner) };
        let all = active(None);
        let slots = (u128::from(all) + 1).saturating_mul(u128::from(factor)).div_ceil(100) as f64;
        let overload = |at: usize| {
            let own = (slots * weights.get(at).copied().unwrap_or_default()).ceil().max(1.0);
            active(Some(at)) as f64 / own
        };
        Some(bounded(owner, hash, weights.len(), overload))
    }
}

#[cfg(test)]
impl Table {
    pub(crate) fn len(&self) -> usize {
        match &self.kind {
            Kind::Ring(ring) => ring.len(),
            Kind::Maglev(maglev) => maglev.len(),
        }
    }
}

/// Consistent hashing with bounded loads (Mirrokni and others, 2016): when the owner is overloaded, the others are asked
/// in an order that depends on the hash alone, so that the same hash goes to the same host as long as it can.
fn bounded(owner: usize, hash: u64, members: usize, overload: impl Fn(usize) -> f64) -> usize {
    let first = overload(owner);
    if first <= 1.0 {
        return owner;
    }
    let (mut best, mut least) = (owner, first);
    let mut random = Mt19937::new(hash as u32);
    // A shuffle that is made only as far as it is needed: places that were not swapped hold themselves.
    let mut swapped: HashMap<usize, usize> = HashMap::new();
    for at in 0..members {
        let other = at + random.below((members - at) as u32) as usize;
        let here = swapped.get(&at).copied().unwrap_or(at);
        let candidate = swapped.insert(other, here).unwrap_or(other);
        if other == at {
            swapped.remove(&at);
        }
        if candidate == owner {
            continue;
        }
        let load = overload(candidate);
        if load <= 1.0 {
            return candidate;
        }
        if load < least {
            (best, least) = (candidate, load);
        }
    }
    best
}

/// The Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998), which Envoy shuffles with.
struct Mt19937 {
    state: [u32; 624],
    at: usize,
}

impl Mt19937 {
    fn new(seed: u32) -> Self {
        let mut state = [0u32; 624];
        let mut last = seed;
        for (at, word) in state.iter_mut().enumerate() {
            if at > 0 {
                last = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(at as u32);
            }
            *word = last;
        }
        Mt19937 { state, at: 624 }
    }

    fn next(&mut self) -> u32 {
        if self.at >= 624 {
            for at in 0..624 {
                let y = (self.state[at] & 0x8000_0000) | (self.state[(at + 1) % 624] & 0x7fff_ffff);
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[at] = self.state[(at + 397) % 624] ^ (y >> 1) ^ odd;
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number below `limit` (at least 1), by rejection.
    fn below(&mut self, limit: u32) -> u32 {
        let step = (1u64 << 32) / u64::from(limit.max(1));
        loop {
            let number = u64::from(self.next()) / step;
            if number < u64::from(limit.max(1)) {
                return number as u32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The first and the ten thousandth number of the reference implementation (C++ standard, [rand.predef]).
    #[test]
    fn the_generator_is_the_standard_one() {
        let mut random = Mt19937::new(5489);
        assert_eq!(random.next(), 3_499_211_612);
        assert_eq!((2..=10_000).map(|_| random.next()).last(), Some(4_123_659_995));
    }

    #[test]
    fn an_idle_owner_keeps_its_requests() {
        assert_eq!(bounded(2, 77, 5, |_| 1.0), 2);
    }

    #[test]
    fn an_overloaded_owner_is_replaced_by_the_same_host_every_time() {
        let overload = |at: usize| if at == 2 { 1.5 } else { 0.5 };
        let first = bounded(2, 77, 5, overload);
        assert_ne!(first, 2);
        assert!((0..10).all(|_| bounded(2, 77, 5, overload) == first));
        let others: BTreeSet<_> = (0..200).map(|hash| bounded(2, hash, 5, overload)).collect();
        assert_eq!(others, [0, 1, 3, 4].into());
    }

    #[test]
    fn when_all_are_overloaded_the_least_is_taken() {
        assert_eq!(bounded(2, 77, 5, |at| 2.0 + (at as f64 - 3.0).abs()), 3);
    }

    #[test]
    fn every_host_is_asked_once() {
        let asked = std::cell::RefCell::new(Vec::new());
        bounded(0, 1, 50, |at| {
            asked.borrow_mut().push(at);
            2.0
        });
        asked.borrow_mut().sort_unstable();
        assert_eq!(asked.into_inner(), (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn the_limit_is_a_share_of_the_average() {
        let members: Vec<_> = ["a", "b"].map(|key| Member { key, weight: 0.5 }).into();
        let hash = HashSettings { balance_factor: Some(150) };
        let table = Table::new(&Policy::Maglev { table_size: 7, hash }, &members, u64::MAX).unwrap();
        let owner = table.find(1, 0, &[0.5, 0.5], |_| 0).unwrap();
        // Eight requests: fourteen slots in all, seven each.
        let at = |own: u64| {
            let active = |at: Option<usize>| match at {
                None => 8,
                Some(at) if at == owner => own,
                Some(_) => 8 - own,
            };
            table.find(1, 0, &[0.5, 0.5], active).unwrap()
        };
        assert_eq!([at(7), at(8)], [owner, 1 - owner]);
    }
}
