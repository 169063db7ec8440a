//! The maglev table, with every entry where Envoy puts it.
//!
//! Each host prefers the places of the table in an order of its own, made from two hashes of its key; hosts take places
//! in turn, by weight, until none is left ("Maglev: A Fast and Reliable Software Network Load Balancer", section 3.4).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::hash::xx_hash_seeded;
use crate::ring::Member;

/// Owner of each place.
#[derive(Debug, Default)]
pub(crate) struct Maglev(Vec<u32>);

/// A host that takes places.
struct Taker {
    owner: u32,
    offset: u64,
    skip: u64,
    /// Next of its preferred places.
    next: u64,
    weight: f64,
    /// Its next turn is when `weight * turn` reaches this.
    target: f64,
}

const FREE: u32 = u32::MAX;

impl Maglev {
    /// `size` must be prime, or hosts could wait for places that they never prefer: then the next smaller prime is taken.
    pub(crate) fn new(members: &[Member<'_>], size: u64) -> Maglev {
        let Some(size) = (2..=size).rev().find(|size| is_prime(*size)) else { return Maglev::default() };
        if members.is_empty() {
            return Maglev::default();
        }
        let most = members.iter().map(|member| member.weight).fold(0.0, f64::max);
        let mut takers: Vec<_> = members
            .iter()
            .enumerate()
            .map(|(owner, member)| Taker {
                owner: owner as u32,
                offset: xx_hash_seeded(member.key.as_bytes(), 0) % size,
                skip: xx_hash_seeded(member.key.as_bytes(), 1) % (size - 1) + 1,
                next: 0,
                weight: member.weight,
                target: 0.0,
            })
            .collect();
        // By key, so that the order of the configuration does not matter.
        takers.sort_by_key(|taker| members.get(taker.owner as usize).map(|member| member.key));
        let mut places = vec![FREE; usize::try_from(size).unwrap_or_default()];
        // Whose turn is next: in each turn those whose weight has added up, in the order of their keys. A queue, because
        // walking all hosts in every turn would cost hosts times places when one host is much heavier than all others.
        let mut turns: BinaryHeap<_> = (0..takers.len()).map(|at| Reverse((1, at))).collect();
        for _ in 0..places.len() {
            let Some(mut first) = turns.peek_mut() else { break };
            let Reverse((turn, at)) = *first;
            let Some(taker) = takers.get_mut(at) else { break };
            taker.target += most;
            *first = Reverse((taker.turn_after(turn), at));
            while let Some(place) = places.get_mut(taker.place(size)) {
                taker.next += 1;
                if *place == FREE {
                    *place = taker.owner;
                    break;
                }
            }
        }
        Maglev(places)
    }

    /// Index of the member that owns `hash`. A repeated `attempt` looks elsewhere.
    pub(crate) fn find(&self, hash: u64, attempt: u32) -> Option<usize> {
        let hash = if attempt == 0 { hash } else { hash ^ (u64::MAX - u64::from(attempt) + 1) };
        let at = usize::try_from(hash.checked_rem(self.0.len() as u64)?).ok()?;
        self.0.get(at).map(|owner| *owner as usize)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Taker {
    /// The first turn after `turn` in which `weight * turn` reaches the target.
    fn turn_after(&self, turn: u64) -> u64 {
        let mut next = (self.target / self.weight).ceil() as u64;
        // The quotient is rounded; what counts is the product.
        if next > 1 && (next - 1) as f64 * self.weight >= self.target {
            next -= 1;
        }
        if (next as f64) * self.weight < self.target {
            next = next.saturating_add(1);
        }
        next.max(turn + 1)
    }

    fn place(&self, size: u64) -> usize {
        // `skip` and `size` are at most 5,000,011 and `next` at most `size`: no overflow.
        ((self.offset + self.skip * self.next) % size) as usize
    }
}

/// Whether a number is prime, by trial division (sizes of tables are at most 5,000,011).
pub fn is_prime(number: u64) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(keys: &[String], weights: &[u32], size: u64) -> Maglev {
        let total: u32 = weights.iter().sum();
        let members: Vec<_> = keys
            .iter()
            .zip(weights)
            .map(|(key, weight)| Member { key, weight: f64::from(*weight) / f64::from(total) })
            .collect();
        Maglev::new(&members, size)
    }

    /// The table of six hosts with seven places that Envoy has in its tests (MaglevLoadBalancerTest, "Basic").
    #[test]
    fn places_are_given_as_by_envoy() {
        let keys: Vec<_> = (90..96).map(|port| format!("127.0.0.1:{port}")).collect();
        assert_eq!(table(&keys, &[1; 6], 7).0, [2, 4, 0, 1, 5, 0, 3]);
    }

    /// The same with host names (MaglevLoadBalancerTest, "BasicWithHostName").
    #[test]
    fn places_of_names_are_given_as_by_envoy() {
        let keys: Vec<_> = (90..96).map(|name| name.to_string()).collect();
        assert_eq!(table(&keys, &[1; 6], 7).0, [2, 5, 0, 3, 4, 1, 0]);
    }

    #[test]
    fn the_order_of_hosts_does_not_matter() {
        let keys: Vec<_> = (90..96).map(|port| format!("127.0.0.1:{port}")).collect();
        let forth = table(&keys, &[1; 6], 1009);
        let turned: Vec<_> = keys.iter().rev().cloned().collect();
        let back = table(&turned, &[1; 6], 1009);
        assert!(forth.0.iter().zip(&back.0).all(|(one, other)| *one == 5 - *other));
    }

    #[test]
    fn a_size_that_is_not_prime_becomes_the_next_smaller_prime() {
        assert_eq!(table(&["a".to_owned(), "b".to_owned()], &[1, 1], 1000).0.len(), 997);
        assert!(table(&["a".to_owned()], &[1], 1).0.is_empty());
    }

    #[test]
    fn a_host_that_leaves_moves_few_others() {
        let keys: Vec<_> = (0..20).map(|at| format!("10.0.0.{at}:80")).collect();
        let (all, fewer) = (table(&keys, &[1; 20], 65_537), table(&keys[..19], &[1; 19], 65_537));
        let moved = all.0.iter().zip(&fewer.0).filter(|(old, new)| **old != 19 && old != new).count();
        // The paper's figure 12: a few per cent more than the places of the host that left.
        assert!(moved < 65_537 / 20, "{moved}");
    }

    proptest! {
        #[test]
        fn every_place_has_an_owner_and_shares_follow_weights(weights in prop::collection::vec(1u32..20, 1..30)) {
            let keys: Vec<_> = (0..weights.len()).map(|at| format!("10.0.0.{at}:80")).collect();
            let table = table(&keys, &weights, 10_007);
            let total: u32 = weights.iter().sum();
            prop_assert!(table.0.iter().all(|owner| (*owner as usize) < weights.len()));
            for (at, weight) in weights.iter().enumerate() {
                let places = table.0.iter().filter(|owner| **owner as usize == at).count() as f64;
                let wanted = 10_007.0 * f64::from(*weight) / f64::from(total);
                prop_assert!((places - wanted).abs() <= wanted * 0.05 + 3.0, "{places} {wanted}");
            }
        }
    }
}
