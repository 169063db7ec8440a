//! The hash ring (ketama), with every entry where Envoy puts it.
//!
//! A host has entries in proportion to its weight, each at the hash of `key_i`; a request belongs to the first entry at
//! or after its hash.

use std::fmt::Write as _;

use crate::HashFunction;
use crate::hash::{murmur_hash_2, xx_hash};

/// A member of a ring or a table: what is hashed, and its share of the whole.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member<'a> {
    pub(crate) key: &'a str,
    /// The sum over all members is 1.
    pub(crate) weight: f64,
}

/// Entries in the order of their hashes. Hashes and owners are apart so that an entry takes twelve bytes, not sixteen.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    hashes: Vec<u64>,
    owners: Vec<u32>,
}

impl Ring {
    /// At least `minimum` entries, and so many that the lightest host has a whole number; at most `maximum`.
    pub(crate) fn new(members: &[Member<'_>], minimum: u64, maximum: u64, function: HashFunction) -> Ring {
        let smallest = members.iter().map(|member| member.weight).fold(1.0, f64::min);
        let scale = ((smallest * minimum as f64).ceil() / smallest).min(maximum as f64);
        let mut entries = Vec::new();
        // Sums that run over all hosts: where a host's number of entries is not whole, the next one makes up for it.
        let (mut made, mut wanted) = (0.0, 0.0);
        let mut name = String::new();
        for (owner, member) in members.iter().enumerate() {
            wanted += scale * member.weight;
            let mut i = 0u64;
            while made < wanted && (entries.len() as u64) < maximum {
                name.clear();
                // Writing to a string does not fail.
                let _ = write!(name, "{}_{i}", member.key);
                let hash = match function {
                    HashFunction::Xx => xx_hash(name.as_bytes()),
                    HashFunction::Murmur2 => murmur_hash_2(name.as_bytes()),
                };
                entries.push((hash, owner as u32));
                made += 1.0;
                i += 1;
            }
        }
        entries.sort_unstable();
        let (hashes, owners) = entries.into_iter().unzip();
        Ring { hashes, owners }
    }

    /// Index of the member that owns `hash`. A repeated `attempt` goes to the entries that follow.
    pub(crate) fn find(&self, hash: u64, attempt: u32) -> Option<usize> {
        if self.hashes.is_empty() {
            return None;
        }
        let at = self.hashes.partition_point(|point| *point < hash);
        let at = (at % self.hashes.len()).wrapping_add(attempt as usize) % self.hashes.len();
        self.owners.get(at).map(|owner| *owner as usize)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ring(keys: &[String], minimum: u64, maximum: u64, function: HashFunction) -> Ring {
        let weight = 1.0 / keys.len() as f64;
        let members: Vec<_> = keys.iter().map(|key| Member { key, weight }).collect();
        Ring::new(&members, minimum, maximum, function)
    }

    fn keys(ports: std::ops::Range<u16>) -> Vec<String> {
        ports.map(|port| format!("127.0.0.1:{port}")).collect()
    }

    /// The ring of six hosts with twelve entries that Envoy has in its tests (RingHashLoadBalancerTest, "Basic").
    #[test]
    fn entries_are_where_envoy_puts_them() {
        let ring = ring(&keys(90..96), 12, 8 << 20, HashFunction::Xx);
        let wanted = [
            (94, 833_437_586_790_550_860),
            (92, 928_266_305_478_181_108),
            (90, 1_033_482_794_131_418_490),
            (95, 3_551_244_743_356_806_947),
            (93, 3_851_675_632_748_031_481),
            (91, 5_583_722_120_771_150_861),
            (91, 6_311_230_543_546_372_928),
            (93, 7_700_377_290_971_790_572),
            (95, 13_144_177_310_400_110_813),
            (92, 13_444_792_449_719_432_967),
            (94, 15_516_499_411_664_133_160),
            (90, 16_117_243_373_044_804_889),
        ];
        let got: Vec<_> =
            ring.owners.iter().map(|owner| owner + 90).zip(ring.hashes.iter().copied()).collect();
        assert_eq!(got, wanted);
    }

    /// The same with host names (RingHashLoadBalancerTest, "BasicWithHostname").
    #[test]
    fn names_are_where_envoy_puts_them() {
        let keys: Vec<_> = (90..96).map(|name| name.to_string()).collect();
        let ring = ring(&keys, 12, 8 << 20, HashFunction::Xx);
        let owners: Vec<_> = ring.owners.iter().map(|owner| owner + 90).collect();
        assert_eq!(owners, [95, 95, 93, 94, 93, 92, 90, 92, 91, 90, 91, 94]);
        assert_eq!(ring.hashes[0], 1_975_508_444_536_362_413);
    }

    /// The same with MurmurHash2 (RingHashLoadBalancerTest, "BasicWithMurmur2").
    #[test]
    fn murmur_entries_are_where_envoy_puts_them() {
        let ring = ring(&keys(80..86), 12, 8 << 20, HashFunction::Murmur2);
        let owners: Vec<_> = ring.owners.iter().map(|owner| owner + 80).collect();
        assert_eq!(owners, [85, 83, 84, 81, 82, 84, 81, 82, 83, 80, 85, 80]);
        assert_eq!(ring.hashes[11], 17_613_279_263_364_193_813);
    }

    #[test]
    fn a_hash_belongs_to_the_entry_at_or_after_it() {
        let ring = ring(&keys(90..96), 12, 8 << 20, HashFunction::Xx);
        for (hash, owner) in
            [(0, 4), (u64::MAX, 4), (3_551_244_743_356_806_947, 5), (3_551_244_743_356_806_948, 3)]
        {
            assert_eq!(ring.find(hash, 0), Some(owner), "{hash}");
        }
    }

    #[test]
    fn repeated_attempts_go_round_the_ring() {
        let ring = ring(&keys(90..96), 12, 8 << 20, HashFunction::Xx);
        assert_eq!([0, 1, 2, 12].map(|attempt| ring.find(0, attempt)), [Some(4), Some(2), Some(0), Some(4)]);
        assert!(ring.find(u64::MAX, u32::MAX).is_some());
    }

    #[test]
    fn no_members_own_nothing() {
        assert_eq!(Ring::new(&[], 1024, 2048, HashFunction::Xx).find(1, 0), None);
    }

    proptest! {
        #[test]
        fn size_and_shares_are_as_configured(
            weights in prop::collection::vec(1u32..200, 1..30),
            minimum in 1u64..4000,
            extra in 0u64..4000,
        ) {
            let total: u32 = weights.iter().sum();
            let keys: Vec<_> = (0..weights.len()).map(|at| format!("10.0.0.{at}:80")).collect();
            let members: Vec<_> = keys
                .iter()
                .zip(&weights)
                .map(|(key, weight)| Member { key, weight: f64::from(*weight) / f64::from(total) })
                .collect();
            let maximum = minimum + extra;
            let ring = Ring::new(&members, minimum, maximum, HashFunction::Xx);
            prop_assert!(ring.len() as u64 <= maximum);
            // Rounding may cost one entry.
            prop_assert!(ring.len() as u64 + 1 >= minimum);
            for (at, member) in members.iter().enumerate() {
                let entries = ring.owners.iter().filter(|owner| **owner as usize == at).count() as f64;
                prop_assert!((entries - member.weight * ring.len() as f64).abs() <= 2.0);
            }
        }
    }
}
