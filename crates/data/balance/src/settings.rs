//! What a cluster says about load balancing, already checked.

use std::time::Duration;

use crate::limits::{DEFAULT_MAGLEV_TABLE_SIZE, DEFAULT_MIN_RING_SIZE, MAX_RING_SIZE};

/// Labels that a host must have, sorted by key.
pub type Criteria = [(String, String)];

/// How a host is chosen among those that may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Policy {
    /// In turn, by weight.
    RoundRobin {
        /// Gives new hosts less at first.
        slow_start: Option<SlowStart>,
    },
    /// The one with the fewest active requests of a few drawn ones; by weight and active requests where weights differ.
    LeastRequest {
        /// How many are drawn.
        choices: u32,
        /// Exponent of the active requests where weights differ; 0 is round robin.
        bias: f64,
        /// Compares all hosts instead of drawn ones.
        full_scan: bool,
        /// Gives new hosts less at first.
        slow_start: Option<SlowStart>,
    },
    /// Any, whatever its weight.
    Random,
    /// The owner of the request's hash on a ring.
    RingHash {
        /// Fewest entries of the ring.
        minimum: u64,
        /// Most entries of the ring.
        maximum: u64,
        /// Places the entries.
        function: HashFunction,
        /// Load limit.
        hash: HashSettings,
    },
    /// The owner of the request's hash in a maglev table.
    Maglev {
        /// Entries of the table, a prime number.
        table_size: u64,
        /// Load limit.
        hash: HashSettings,
    },
}

/// What ring and maglev have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HashSettings {
    /// Per cent of the average load above which a host's requests go elsewhere; `None` for no limit.
    pub balance_factor: Option<u32>,
}

/// Hash function of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HashFunction {
    /// XXH64.
    #[default]
    Xx,
    /// MurmurHash2, 64 bits.
    Murmur2,
}

/// Settings of slow start: a host that joined recently gets `weight * max(min_weight, time^(1/aggression))`, where
/// `time` is the part of the window that has passed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// How long a host counts as new.
    pub window: Duration,
    /// Shape of the curve: 1 is a line, more is faster at first. Above 0.
    pub aggression: f64,
    /// Least share of the weight, `0.0..=1.0`.
    pub min_weight: f64,
}

impl SlowStart {
    /// Factor of the weight of a host that joined `ago`.
    pub(crate) fn factor(&self, ago: Duration) -> f64 {
        if ago >= self.window {
            return 1.0;
        }
        let time = ago.as_secs_f64().max(0.001) / self.window.as_secs_f64().max(0.001);
        let aggression = if self.aggression > 0.0 { self.aggression } else { 1.0 };
        time.powf(1.0 / aggression).max(self.min_weight).min(1.0)
    }
}

/// Settings of a cluster's load balancing.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How a host is chosen.
    pub policy: Policy,
    /// Whether localities share the load by their weights.
    pub locality_weighted: bool,
    /// Per cent of hosts that must be available; below that, health is no longer believed. 0 is never.
    pub panic_threshold: u32,
    /// Whether requests fail in a panic, instead of going to any host.
    pub fail_on_panic: bool,
    /// Subsets, if the cluster has any.
    pub subsets: Option<SubsetSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            policy: Policy::RoundRobin { slow_start: None },
            locality_weighted: false,
            panic_threshold: 50,
            fail_on_panic: false,
            subsets: None,
        }
    }
}

impl Policy {
    /// Ring hash as it is unless configured.
    pub fn ring_hash() -> Policy {
        Policy::RingHash {
            minimum: DEFAULT_MIN_RING_SIZE,
            maximum: MAX_RING_SIZE,
            function: HashFunction::Xx,
            hash: HashSettings::default(),
        }
    }

    /// Maglev as it is unless configured.
    pub fn maglev() -> Policy {
        Policy::Maglev { table_size: DEFAULT_MAGLEV_TABLE_SIZE, hash: HashSettings::default() }
    }

    pub(crate) fn slow_start(&self) -> Option<&SlowStart> {
        match self {
            Policy::RoundRobin { slow_start } | Policy::LeastRequest { slow_start, .. } => {
                slow_start.as_ref()
            }
            _ => None,
        }
    }
}

/// What happens to requests that no subset fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SubsetFallback {
    /// There is no host for them.
    #[default]
    None,
    /// Any host.
    Any,
    /// The hosts of the default subset.
    Default,
}

/// The same, of one selector.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum KeyFallback {
    /// As the cluster says.
    #[default]
    Inherit,
    /// A fallback of its own.
    To(SubsetFallback),
    /// The search begins again with these keys only.
    Keys(Vec<String>),
}

/// One selector: hosts that have all `keys` make a subset for each combination of values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubsetSelector {
    /// Sorted, without duplicates.
    pub keys: Vec<String>,
    /// Only the first host of each combination counts, whatever its priority.
    pub single_host: bool,
    /// What happens when a request names these keys, and no host has the values.
    pub fallback: KeyFallback,
}

/// Settings of subset load balancing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SubsetSettings {
    /// What happens to requests that no subset fits.
    pub fallback: SubsetFallback,
    /// Labels of the default subset.
    pub default_subset: Vec<(String, String)>,
    /// The selectors, in the order of the configuration.
    pub selectors: Vec<SubsetSelector>,
    /// Whether localities keep their weights within a subset.
    pub locality_weight_aware: bool,
    /// Whether these weights shrink with the share of the locality's hosts that are in the subset.
    pub scale_locality_weight: bool,
    /// Whether any host will do when the cluster falls back to the default subset, and that has none.
    pub panic_mode_any: bool,
    /// Whether keys of a request that no selector knows are ignored.
    pub allow_redundant_keys: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_start_grows_along_its_curve() {
        let slow = |aggression| SlowStart { window: Duration::from_secs(100), aggression, min_weight: 0.1 };
        let at = |slow: SlowStart, seconds| (slow.factor(Duration::from_secs(seconds)) * 1000.0).round();
        assert_eq!(
            [0, 10, 50, 99, 100, 500].map(|s| at(slow(1.0), s)),
            [100.0, 100.0, 500.0, 990.0, 1000.0, 1000.0]
        );
        // Twice the aggression: the square root of the time.
        assert_eq!([4, 25, 64].map(|s| at(slow(2.0), s)), [200.0, 500.0, 800.0]);
    }

    #[test]
    fn slow_start_survives_odd_numbers() {
        for aggression in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300] {
            let slow = SlowStart { window: Duration::ZERO, aggression, min_weight: 0.1 };
            assert!((0.1..=1.0).contains(&slow.factor(Duration::ZERO)), "{aggression}");
            let slow = SlowStart { window: Duration::MAX, aggression, min_weight: 0.1 };
            assert!((0.1..=1.0).contains(&slow.factor(Duration::from_secs(1))), "{aggression}");
        }
    }
}
