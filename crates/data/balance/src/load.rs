//! How the load is shared out between priorities, and when a priority panics.
//!
//! The rules are those of Envoy's "priority levels", "degraded endpoints" and "panic threshold".

/// How many hosts (or how much weight) of one priority is in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) healthy: u64,
    pub(crate) degraded: u64,
    pub(crate) all: u64,
}

/// Share of the load of each priority.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Shares {
    /// Per cent for healthy hosts, by priority.
    pub(crate) healthy: Vec<u32>,
    /// Per cent for degraded hosts, by priority. With `healthy` the sum is 100, or 0 without any priority.
    pub(crate) degraded: Vec<u32>,
    /// Priorities that use all of their hosts.
    pub(crate) panic: Vec<bool>,
}

impl Shares {
    /// `by_host` counts hosts, which decides about panic; `by_weight` is what availability is taken from (the same
    /// unless priorities are weighted). `threshold` is in per cent; 0 turns panic off.
    pub(crate) fn new(
        by_host: &[Counts],
        by_weight: &[Counts],
        overprovisioning: u32,
        threshold: u32,
    ) -> Shares {
        let factor = u128::from(overprovisioning.max(100));
        let available = |of: u64, all: u64| -> u32 {
            (factor * u128::from(of)).checked_div(u128::from(all)).unwrap_or(0).min(100) as u32
        };
        let healthy: Vec<u32> = by_weight.iter().map(|count| available(count.healthy, count.all)).collect();
        let degraded: Vec<u32> = by_weight.iter().map(|count| available(count.degraded, count.all)).collect();
        let sum = |list: &[u32]| list.iter().fold(0u32, |sum, one| sum.saturating_add(*one));
        let total = sum(&healthy).saturating_add(sum(&degraded)).min(100);
        let threshold = threshold.min(100);
        let panics = |count: &Counts| {
            let up = (count.healthy + count.degraded) as f64 * 100.0;
            total < 100
                && if count.all == 0 { threshold > 0 } else { up / (count.all as f64) < f64::from(threshold) }
        };
        let panic: Vec<bool> = by_host.iter().map(panics).collect();
        if by_host.is_empty() {
            return Shares::default();
        }
        if panic.iter().all(|panic| *panic) {
            return Shares::in_total_panic(by_host, panic);
        }
        let mut shares = Shares { healthy: vec![0; healthy.len()], degraded: vec![0; degraded.len()], panic };
        if total == 0 {
            // Nobody is there and panic is off: it does not matter whom the load is given to.
            shares.healthy[0] = 100;
            return shares;
        }
        let mut left = 100u32;
        let mut share_out = |from: &[u32], into: &mut [u32]| {
            for (have, share) in from.iter().zip(into) {
                *share = (have * 100 / total).min(left);
                left -= *share;
            }
        };
        share_out(&healthy, &mut shares.healthy);
        share_out(&degraded, &mut shares.degraded);
        // What rounding leaves goes to the first that has anything.
        let first = |of: &[u32]| of.iter().position(|have| *have > 0);
        match (first(&healthy), first(&degraded)) {
            (Some(at), _) => shares.healthy[at] += left,
            (None, Some(at)) => shares.degraded[at] += left,
            (None, None) => {}
        }
        shares
    }

    /// When every priority panics, health says nothing any more: each gets its share of all hosts.
    fn in_total_panic(by_host: &[Counts], panic: Vec<bool>) -> Shares {
        let total: u64 = by_host.iter().map(|count| count.all).sum();
        let share = |all: u64| (u128::from(all) * 100).checked_div(u128::from(total)).unwrap_or(0) as u32;
        let mut healthy: Vec<u32> = by_host.iter().map(|count| share(count.all)).collect();
        let left = 100 - healthy.iter().sum::<u32>();
        let first = by_host.iter().position(|count| count.all > 0).unwrap_or(0);
        healthy[first] += left;
        Shares { degraded: vec![0; healthy.len()], healthy, panic }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(counts: &[(u64, u64, u64)], threshold: u32) -> Shares {
        let counts: Vec<_> = counts
            .iter()
            .map(|(healthy, degraded, all)| Counts { healthy: *healthy, degraded: *degraded, all: *all })
            .collect();
        Shares::new(&counts, &counts, 140, threshold)
    }

    /// The table of Envoy's documentation, "priority levels": healthy per cent of two priorities, load of each.
    #[test]
    fn two_priorities_as_documented() {
        for ((first, second), wanted) in [
            ((100, 100), [100, 0]),
            ((72, 100), [100, 0]),
            ((71, 100), [99, 1]),
            ((50, 100), [70, 30]),
            ((25, 100), [35, 65]),
            ((0, 100), [0, 100]),
        ] {
            assert_eq!(shares(&[(first, 0, 100), (second, 0, 100)], 0).healthy, wanted, "{first} {second}");
        }
    }

    /// As in "panic threshold" with priorities: both low, so that load is scaled up to 100 per cent. What rounding
    /// leaves is the first one's.
    #[test]
    fn what_is_missing_is_scaled_up() {
        for ((first, second), wanted) in [((25, 25), [50, 50]), ((5, 65), [8, 92])] {
            assert_eq!(shares(&[(first, 0, 100), (second, 0, 100)], 0).healthy, wanted);
        }
    }

    #[test]
    fn degraded_hosts_are_the_last_resort() {
        let shares = shares(&[(10, 20, 100), (20, 10, 100), (10, 0, 100)], 0);
        // 14, 28, 14 per cent healthy and 28, 14, 0 degraded: together 98, and the rest goes to the first.
        assert_eq!((shares.healthy, shares.degraded), (vec![16, 28, 14], vec![28, 14, 0]));
    }

    #[test]
    fn enough_hosts_elsewhere_prevent_a_panic() {
        let shares = shares(&[(10, 0, 100), (100, 0, 100)], 50);
        assert_eq!(shares.panic, [false, false]);
    }

    #[test]
    fn in_total_panic_load_follows_the_number_of_hosts() {
        let shares = shares(&[(0, 0, 30), (0, 0, 10)], 50);
        assert_eq!((shares.healthy, shares.panic), (vec![75, 25], vec![true, true]));
    }

    #[test]
    fn without_panic_nobody_available_is_nobody() {
        let shares = shares(&[(0, 0, 3), (0, 0, 1)], 0);
        assert_eq!((shares.healthy, shares.panic), (vec![100, 0], vec![false, false]));
    }

    proptest! {
        #[test]
        fn the_sum_is_always_a_hundred(
            counts in prop::collection::vec((0u64..1000, 0u64..1000, 0u64..1000), 1..8),
            factor in any::<u32>(),
            threshold in any::<u32>(),
        ) {
            let counts: Vec<_> = counts
                .into_iter()
                .map(|(healthy, degraded, ill)| Counts { healthy, degraded, all: healthy + degraded + ill })
                .collect();
            let shares = Shares::new(&counts, &counts, factor, threshold);
            let sum: u32 = shares.healthy.iter().chain(&shares.degraded).sum();
            prop_assert_eq!(sum, 100);
            // Nobody gets load for hosts that are not there, unless nobody has any.
            if counts.iter().any(|count| count.healthy + count.degraded > 0) {
                for (at, count) in counts.iter().enumerate() {
                    prop_assert!(shares.panic[at] || shares.healthy[at] == 0 || count.healthy > 0);
                    prop_assert!(shares.degraded[at] == 0 || count.degraded > 0);
                }
            }
        }
    }
}
