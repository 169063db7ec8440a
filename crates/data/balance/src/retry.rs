//! Pauses between attempts.

use std::time::Duration;

use crate::Environment;

/// Envoy's base of the back-off.
const DEFAULT_BASE: Duration = Duration::from_millis(25);
/// Envoy's longest pause unless configured, as a multiple of the base.
const DEFAULT_FACTOR: u32 = 10;
/// Longest pause, whatever is configured: a retry that comes later helps nobody.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Exponential back-off with full jitter: any pause up to a limit that doubles with every attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::new(None, None)
    }
}

impl Backoff {
    /// `max` is ten times the base unless given, and never below it. Everything is between a millisecond and a day.
    pub fn new(base: Option<Duration>, max: Option<Duration>) -> Self {
        let base = base.unwrap_or(DEFAULT_BASE).clamp(Duration::from_millis(1), LIMIT);
        let max = max.unwrap_or_else(|| base.saturating_mul(DEFAULT_FACTOR)).clamp(base, LIMIT);
        Backoff { base, max }
    }

    /// The pause before the next attempt, after `retries` retries.
    pub fn pause(&self, retries: u32, environment: &mut impl Environment) -> Duration {
        let limit = self.base.saturating_mul(1 << retries.min(30)).min(self.max);
        // A day has fewer than 2^37 microseconds.
        Duration::from_micros(environment.below(limit.as_micros() as u64))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Script, Seeded};

    /// The longest pause before each retry.
    fn longest(backoff: Backoff) -> Vec<u64> {
        let mut most = Script::new([u64::MAX]);
        (0..6).map(|retries| backoff.pause(retries, &mut most).as_micros().div_ceil(1000) as u64).collect()
    }

    #[test]
    fn pauses_double_up_to_the_maximum() {
        assert_eq!(longest(Backoff::default()), [25, 50, 100, 200, 250, 250]);
        let short = Backoff::new(Some(Duration::from_millis(10)), Some(Duration::from_millis(35)));
        assert_eq!(longest(short), [10, 20, 35, 35, 35, 35]);
    }

    #[test]
    fn the_maximum_is_never_below_the_base() {
        let backoff = Backoff::new(Some(Duration::from_millis(40)), Some(Duration::from_millis(10)));
        assert_eq!(longest(backoff)[0], 40);
    }

    #[test]
    fn a_base_of_nothing_is_a_millisecond() {
        assert_eq!(longest(Backoff::new(Some(Duration::ZERO), None))[..2], [1, 2]);
    }

    #[test]
    fn a_pause_can_be_nothing() {
        assert_eq!(Backoff::default().pause(3, &mut Script::new([0])), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_configuration_overflows(
            base in prop::option::of(0u64..=u64::MAX),
            max in prop::option::of(0u64..=u64::MAX),
            retries in any::<u32>(),
            seed in any::<u64>(),
        ) {
            let seconds = |value: Option<u64>| value.map(|seconds| Duration::new(seconds, 999_999_999));
            let pause = Backoff::new(seconds(base), seconds(max)).pause(retries, &mut Seeded::new(seed));
            prop_assert!(pause < LIMIT);
        }
    }
}
