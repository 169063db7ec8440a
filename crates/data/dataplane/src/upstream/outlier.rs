//! Outlier detection: consecutive 5xx, gateway and local failures (spec/dataplane.md 40).

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::host::Host;

/// Settings of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OutlierConfig {
    pub(crate) consecutive_5xx: u32,
    pub(crate) enforcing_5xx: u32,
    pub(crate) consecutive_gateway: u32,
    pub(crate) enforcing_gateway: u32,
    pub(crate) consecutive_local: u32,
    pub(crate) enforcing_local: u32,
    pub(crate) split_local: bool,
    pub(crate) interval: Duration,
    pub(crate) base_ejection: Duration,
    pub(crate) max_ejection: Duration,
    pub(crate) max_percent: u32,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Status(u16),
    /// Connect failure, timeout or reset: found out here, not said by the host.
    LocalFailure,
}

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

fn millis(now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(*EPOCH).as_millis()).unwrap_or(u64::MAX)
}

/// Takes note of an outcome; may eject the host.
pub(crate) fn report(cluster: &Cluster, host: &Host, outcome: Outcome, now: Instant) {
    let state = &host.state;
    match outcome {
        Outcome::Status(code) if code < 500 => state.rq_success.fetch_add(1, Relaxed),
        _ => state.rq_error.fetch_add(1, Relaxed),
    };
    let Some(config) = &cluster.config.outlier else { return };
    let (is_5xx, is_gateway, is_local) = match outcome {
        Outcome::Status(code) => (code >= 500, matches!(code, 502..=504), false),
        Outcome::LocalFailure => (!config.split_local, !config.split_local, config.split_local),
    };
    let count = |counter: &std::sync::atomic::AtomicU32, hit: bool, limit: u32, enforcing: u32| {
        if !hit {
            if counter.load(Relaxed) != 0 {
                counter.store(0, Relaxed);
            }
            return false;
        }
        counter.fetch_add(1, Relaxed) + 1 == limit && enforcing > 0 && fastrand::u32(0..100) < enforcing
    };
    let kinds = [
        (Kind::Consecutive5xx, &state.consecutive_5xx, is_5xx, config.consecutive_5xx, config.enforcing_5xx),
        (
            Kind::ConsecutiveGateway,
            &state.consecutive_gateway,
            is_gateway,
            config.consecutive_gateway,
            config.enforcing_gateway,
        ),
        (
            Kind::ConsecutiveLocal,
            &state.consecutive_local,
            is_local,
            config.consecutive_local,
            config.enforcing_local,
        ),
    ];
    for (kind, counter, hit, limit, enforcing) in kinds {
        if count(counter, hit, limit, enforcing) {
            self::eject(cluster, host, config, kind, now);
        }
    }
}

/// What a host was ejected for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Consecutive5xx,
    ConsecutiveGateway,
    ConsecutiveLocal,
}

fn eject(cluster: &Cluster, host: &Host, config: &OutlierConfig, kind: Kind, now: Instant) {
    let shared = &cluster.shared;
    let allowed = (cluster.hosts.len() * config.max_percent as usize / 100).max(1);
    if shared.ejected.load(Relaxed) >= allowed || host.state.ejected.swap(true, Relaxed) {
        return;
    }
    shared.ejected.fetch_add(1, Relaxed);
    shared.ejections[kind as usize].fetch_add(1, Relaxed);
    let times = host.state.ejections.fetch_add(1, Relaxed) + 1;
    let ceiling = config.max_ejection.max(config.base_ejection);
    let length = config.base_ejection.saturating_mul(times).min(ceiling);
    host.state.ejected_until.store(millis(now + length), Relaxed);
    shared.health_epoch.fetch_add(1, Relaxed);
    tracing::info!(cluster = %cluster.name, host = %host.address, ?length, "ejected by outlier detection");
}

/// Lets hosts return whose ejection is over. Called every second or so by the housekeeping thread.
pub(crate) fn tick(cluster: &Arc<Cluster>, now: Instant) {
    if cluster.config.outlier.is_none() || cluster.shared.ejected.load(Relaxed) == 0 {
        return;
    }
    let now = millis(now);
    let mut ejected = 0;
    for host in cluster.hosts.iter() {
        let state = &host.state;
        if !state.ejected.load(Relaxed) {
            continue;
        }
        if now < state.ejected_until.load(Relaxed) {
            ejected += 1;
            continue;
        }
        for counter in [&state.consecutive_5xx, &state.consecutive_gateway, &state.consecutive_local] {
            counter.store(0, Relaxed);
        }
        state.ejected.store(false, Relaxed);
        cluster.shared.health_epoch.fetch_add(1, Relaxed);
    }
    // Hosts that left the set while ejected must not count for ever.
    cluster.shared.ejected.store(ejected, Relaxed);
}
