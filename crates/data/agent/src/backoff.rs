//! Exponential backoff with full jitter in the upper half: the wait before retry `n` is between half of and
//! the whole of `min(base * 2^n, cap)`, so that a restarted control plane is not met by all proxies at once.

use std::time::Duration;

/// The state of one retry loop.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// Starts at `base` and never waits longer than `cap`.
    pub(crate) fn new(base: Duration, cap: Duration) -> Self {
        Backoff { base, cap, attempt: 0 }
    }

    /// The wait before the next attempt; grows with each call.
    pub(crate) fn next_wait(&mut self) -> Duration {
        self.next_wait_within(self.cap)
    }

    /// The same, but never longer than `cap`.
    pub(crate) fn next_wait_within(&mut self, cap: Duration) -> Duration {
        let full = self
            .base
            .saturating_mul(1u32.checked_shl(self.attempt.min(20)).unwrap_or(u32::MAX))
            .min(self.cap)
            .min(cap);
        self.attempt = self.attempt.saturating_add(1);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// To be called after success.
    pub(crate) fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for full in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next_wait().as_millis() as u64;
            assert!((full / 2..=full).contains(&wait), "{wait} is not in the upper half of {full}");
        }
        for _ in 0..100 {
            assert!(backoff.next_wait() <= Duration::from_secs(1));
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
