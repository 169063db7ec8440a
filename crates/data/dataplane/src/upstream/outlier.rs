//! Outlier detection: takes results on the workers, and decides on the thread that watches over hosts.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use portolan_balance::Moment;
use portolan_balance::outlier::Change;
pub(crate) use portolan_balance::outlier::Outcome;

use super::cluster::Cluster;
use super::environment::{Here, now};
use super::host::Host;

/// Takes note of an outcome. When a series of failures is long enough, the watching thread is woken.
pub(crate) fn report(cluster: &Cluster, host: &Host, outcome: Outcome, _: Instant) {
    match outcome {
        Outcome::Status(500..) | Outcome::LocalFailure => host.state.rq_error.fetch_add(1, Relaxed),
        Outcome::Status(_) | Outcome::Connected => host.state.rq_success.fetch_add(1, Relaxed),
    };
    if let Some(settings) = &cluster.config.outlier
        && host.state.outlier.report(settings, outcome)
    {
        cluster.shared.suspect();
    }
}

/// Ejects hosts and lets them return, if it is time to do so; then the cluster's balancer is stale.
pub(crate) fn judge(cluster: &Cluster) {
    let shared = &cluster.shared;
    let settings = cluster.config.outlier.as_ref();
    if settings.is_none() && shared.outliers.active.load(Relaxed) == 0 {
        return;
    }
    let mut detector = shared.detector.lock();
    let suspected = shared.suspects.swap(false, Relaxed);
    if settings.is_some() && !suspected && detector.due() != Moment::NEVER && now() < detector.due() {
        return;
    }
    let changes = detector.judge(&cluster.hosts, settings, &shared.outliers, &mut Here);
    for change in &changes {
        match change {
            Change::Ejected(host, kind, until) => {
                let length = until.since(now());
                tracing::info!(cluster = %cluster.name, host = %host.name, reason = kind.name(), ?length, "host ejected");
            }
            Change::Returned(host) => {
                tracing::info!(cluster = %cluster.name, host = %host.name, "host returned from its ejection");
            }
        }
    }
    if !changes.is_empty() {
        shared.health_epoch.fetch_add(1, Relaxed);
    }
}
