//! From old clusters to new ones without a gap: routes wait for clusters that are warming, and clusters that were removed for
//! the routes that lead to them. Both come in responses of their own, one after the other.

use std::collections::HashSet;
use std::time::Duration;

use super::api::Rejection;
use super::handle::{ClusterEntry, ConfigStore, State};

/// How long routes wait for a new cluster to be warm, and a cluster that was removed for the last route to leave it.
/// Endpoints and certificates come within milliseconds; what does not come holds up nobody's changes for longer.
const HANDOVER: Duration = Duration::from_secs(5);

impl ConfigStore {
    /// Has what waits for something else go on, where it has waited long enough. How long until there is more to do; nothing
    /// when nothing waits.
    pub(crate) fn hand_over(&self) -> Option<Duration> {
        let mut state = self.inner.state.lock();
        let due = state.handover_due()?;
        if !due.is_zero() {
            return Some(due);
        }
        for Rejection { name, reason } in state.activate(&self.inner.shared) {
            tracing::warn!(listener = name, reason, "cannot be put into force");
        }
        self.publish(&mut state);
        state.handover_due()
    }
}

impl ClusterEntry {
    /// Whether it is worth waiting for.
    pub(super) fn is_warming(&self) -> bool {
        self.active.is_none() && self.since.elapsed() < HANDOVER
    }
}

impl State {
    /// Drops removed clusters that nothing leads to any more.
    pub(super) fn let_go(&mut self) {
        if self.clusters.values().all(|entry| entry.removed.is_none()) {
            return;
        }
        let listeners = self.listeners.values().flat_map(|entry| entry.active.iter().chain(&entry.warming));
        let used: HashSet<&str> = self
            .routes
            .clusters()
            .chain(listeners.flat_map(|listener| listener.clusters()))
            .map(|n| &**n)
            .collect();
        self.clusters.retain(|name, entry| {
            entry.removed.is_none_or(|removed| used.contains(name.as_str()) && removed.elapsed() < HANDOVER)
        });
    }

    /// How long until what waits for something else goes on without it; nothing when nothing waits.
    fn handover_due(&self) -> Option<Duration> {
        let removed = self.clusters.values().filter_map(|entry| entry.removed);
        let waits = self.routes.wait() || self.listeners.values().any(|entry| entry.warming.is_some());
        let warming = self.clusters.values().filter(|entry| waits && entry.is_warming());
        let since = removed.chain(warming.map(|entry| entry.since)).min()?;
        Some(HANDOVER.saturating_sub(since.elapsed()))
    }
}
