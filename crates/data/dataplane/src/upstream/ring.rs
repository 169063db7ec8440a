//! Consistent hashing as Envoy places it: XXH64 of "address_i" (spec/dataplane.md 47).

use std::sync::Arc;

use twox_hash::XxHash64;

use super::host::Host;

/// A hash ring over the hosts of one group.
#[derive(Debug)]
pub(crate) struct Ring(Vec<(u64, u32)>);

impl Ring {
    /// Entries are shared out by weight; at least `minimum` in all where `maximum` allows.
    pub(crate) fn new(hosts: &[Arc<Host>], minimum: u64, maximum: u64) -> Ring {
        let total: u64 = hosts.iter().map(|host| u64::from(host.weight.max(1))).sum::<u64>().max(1);
        let smallest = hosts.iter().map(|host| u64::from(host.weight.max(1))).min().unwrap_or(1);
        // The lightest host gets a whole number of entries, the ring at least `minimum`.
        let scale = (minimum as f64 * smallest as f64 / total as f64).ceil() / smallest as f64;
        let size = (scale * total as f64).min(maximum as f64);
        let mut ring = Vec::new();
        for (at, host) in hosts.iter().enumerate() {
            let entries = (size * f64::from(host.weight.max(1)) / total as f64).round() as u64;
            let name = host.address.to_string();
            for i in 0..entries.max(1) {
                ring.push((XxHash64::oneshot(0, format!("{name}_{i}").as_bytes()), at as u32));
            }
        }
        ring.sort_unstable();
        Ring(ring)
    }

    /// Index of the host that owns `hash`.
    pub(crate) fn find(&self, hash: u64) -> Option<usize> {
        let at = self.0.partition_point(|(point, _)| *point < hash);
        self.0.get(at).or_else(|| self.0.first()).map(|(_, host)| *host as usize)
    }
}

/// Hash of one input of a hash policy.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    XxHash64::oneshot(0, bytes)
}
