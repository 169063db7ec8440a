//! Circuit breakers: limits over all workers, so their counters are process-wide atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Limits of one priority (spec/dataplane.md 38).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    pub(crate) connections: u64,
    pub(crate) pending: u64,
    pub(crate) requests: u64,
    pub(crate) retries: u64,
    /// Share of active requests and the minimum, instead of `retries`.
    pub(crate) retry_budget: Option<(f64, u64)>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { connections: 1024, pending: 1024, requests: 1024, retries: 3, retry_budget: None }
    }
}

/// What is in use of one priority.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) pending: Arc<AtomicU64>,
    pub(crate) requests: Arc<AtomicU64>,
    pub(crate) retries: Arc<AtomicU64>,
}

/// One unit in use; given back on drop.
#[derive(Debug)]
pub(crate) struct Held(Arc<AtomicU64>);

impl Held {
    /// Takes one unit unless `limit` are in use.
    pub(crate) fn take(counter: &Arc<AtomicU64>, limit: u64) -> Option<Held> {
        if counter.fetch_add(1, Relaxed) >= limit {
            counter.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Held(counter.clone()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Usage {
    /// Takes a retry, by the budget when there is one.
    pub(crate) fn take_retry(&self, limits: &Limits) -> Option<Held> {
        let limit = match limits.retry_budget {
            None => limits.retries,
            Some((share, minimum)) => {
                let active = self.requests.load(Relaxed) + self.pending.load(Relaxed);
                ((active as f64 * share / 100.0) as u64).max(minimum)
            }
        };
        Held::take(&self.retries, limit)
    }
}
