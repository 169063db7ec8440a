//! Circuit breakers: limits over all workers, so their counters are shared atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Limits of one routing priority.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Connections to all hosts.
    pub connections: u64,
    /// Requests that wait for a connection.
    pub pending: u64,
    /// Active requests.
    pub requests: u64,
    /// Active retries, unless there is a budget.
    pub retries: u64,
    /// Limits retries instead of `retries`.
    pub retry_budget: Option<RetryBudget>,
    /// Connections to one host.
    pub connections_per_host: u64,
}

/// Active retries as a share of what is active.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Per cent of active and pending requests.
    pub percent: f64,
    /// Retries that are allowed in any case.
    pub minimum: u64,
}

impl Default for Limits {
    /// Envoy's defaults.
    fn default() -> Self {
        Limits {
            connections: 1024,
            pending: 1024,
            requests: 1024,
            retries: 3,
            retry_budget: None,
            connections_per_host: u64::MAX,
        }
    }
}

/// What is in use of one priority. Written by all workers.
#[derive(Debug, Default)]
pub struct Usage {
    /// Connections.
    pub connections: Arc<AtomicU64>,
    /// Requests that wait for a connection.
    pub pending: Arc<AtomicU64>,
    /// Active requests.
    pub requests: Arc<AtomicU64>,
    /// Active retries.
    pub retries: Arc<AtomicU64>,
}

/// One unit in use; given back on drop.
#[derive(Debug)]
pub struct Held(Arc<AtomicU64>);

impl Held {
    /// Takes one unit unless `limit` are in use. The limit holds at every moment, over all threads.
    pub fn take(counter: &Arc<AtomicU64>, limit: u64) -> Option<Held> {
        let taken = counter.fetch_update(Relaxed, Relaxed, |used| (used < limit).then_some(used + 1));
        taken.ok().map(|_| Held(counter.clone()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Usage {
    /// Takes a retry, by the budget when there is one.
    pub fn take_retry(&self, limits: &Limits) -> Option<Held> {
        Held::take(&self.retries, self.retry_limit(limits))
    }

    /// How many retries may be active now.
    pub fn retry_limit(&self, limits: &Limits) -> u64 {
        let Some(budget) = limits.retry_budget else { return limits.retries };
        let active = self.requests.load(Relaxed).saturating_add(self.pending.load(Relaxed));
        // The conversion saturates; a share that is not a number is none.
        ((active as f64 * budget.percent / 100.0) as u64).max(budget.minimum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_until_something_is_given_back() {
        let counter = Arc::new(AtomicU64::new(0));
        let one = Held::take(&counter, 2);
        let two = Held::take(&counter, 2);
        assert!(one.is_some() && two.is_some());
        assert!(Held::take(&counter, 2).is_none());
        drop(one);
        assert!(Held::take(&counter, 2).is_some());
    }

    #[test]
    fn everything_is_given_back() {
        let counter = Arc::new(AtomicU64::new(0));
        drop((0..10).map(|_| Held::take(&counter, 5)).collect::<Vec<_>>());
        assert_eq!(counter.load(Relaxed), 0);
    }

    #[test]
    fn a_limit_of_zero_lets_nothing_through() {
        assert!(Held::take(&Arc::default(), 0).is_none());
    }

    #[test]
    fn the_limit_holds_over_threads() {
        let counter = Arc::new(AtomicU64::new(0));
        let worker = || {
            for _ in 0..10_000 {
                let held = Held::take(&counter, 3);
                assert!(counter.load(Relaxed) <= 3);
                drop(held);
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(worker))));
        assert_eq!(counter.load(Relaxed), 0);
    }

    #[test]
    fn retries_have_a_limit_of_their_own() {
        let usage = Usage::default();
        let held: Vec<_> = (0..5).filter_map(|_| usage.take_retry(&Limits::default())).collect();
        assert_eq!(held.len(), 3);
    }

    #[test]
    fn a_budget_follows_the_load_above_its_minimum() {
        let usage = Usage::default();
        let budget = Some(RetryBudget { percent: 20.0, minimum: 3 });
        let limits = Limits { retry_budget: budget, ..Limits::default() };
        assert_eq!(usage.retry_limit(&limits), 3);
        usage.requests.store(40, Relaxed);
        usage.pending.store(10, Relaxed);
        assert_eq!(usage.retry_limit(&limits), 10);
        let odd = Limits { retry_budget: Some(RetryBudget { percent: f64::NAN, minimum: 3 }), ..limits };
        assert_eq!(usage.retry_limit(&odd), 3);
    }
}
