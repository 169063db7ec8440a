//! Time and chance, as the caller provides them.

use std::time::Duration;

/// A point in time on the caller's monotonic clock: milliseconds since whatever the caller chose. Arithmetic saturates,
/// so that no duration from a configuration can overflow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The beginning of the clock.
    pub const ZERO: Moment = Moment(0);
    /// Later than every other moment.
    pub const NEVER: Moment = Moment(u64::MAX);

    /// A moment from milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Moment(millis)
    }

    /// The moment `elapsed` after the beginning of the clock.
    pub fn at(elapsed: Duration) -> Self {
        Moment::ZERO.after(elapsed)
    }

    /// Milliseconds since the beginning of the clock.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This moment and `duration`; [`Moment::NEVER`] where that is too large to be told.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Moment(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero when it is later.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// What decisions may depend on besides their arguments.
pub trait Environment {
    /// The time now.
    fn now(&mut self) -> Moment;
    /// 64 random bits.
    fn random(&mut self) -> u64;

    /// A random number below `limit`; 0 for a limit of 0.
    fn below(&mut self, limit: u64) -> u64 {
        // The high half of the product is even enough: the error is at most limit / 2^64.
        ((u128::from(self.random()) * u128::from(limit)) >> 64) as u64
    }

    /// A random number in `0.0..1.0`.
    fn unit(&mut self) -> f64 {
        (self.random() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True for `percent` of a hundred calls.
    fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < u64::from(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Script;

    #[test]
    fn moments_saturate() {
        assert_eq!(Moment::from_millis(1).after(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment::NEVER.after(Duration::from_secs(1)), Moment::NEVER);
        assert_eq!(Moment::from_millis(1).since(Moment::from_millis(5)), Duration::ZERO);
    }

    #[test]
    fn numbers_stay_below_their_limit() {
        let mut script = Script::new([0, u64::MAX, 1 << 63]);
        assert_eq!([script.below(10), script.below(10), script.below(10)], [0, 9, 5]);
        let mut script = Script::new([u64::MAX, u64::MAX, u64::MAX]);
        assert_eq!(script.below(0), 0);
        assert!(script.unit() < 1.0);
        assert!(script.percent(100));
    }
}
