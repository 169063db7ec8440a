//! Watches over the hosts of all clusters: runs their outlier detection and gives the workers balancers for the health
//! that results from it. Runs on the housekeeping thread.

use std::time::Duration;

use portolan_balance::Moment;
use tokio_util::sync::CancellationToken;

use crate::store::ConfigStore;
use crate::upstream::environment::now;
use crate::upstream::outlier;

/// Shortest pause between two rounds, so that hosts that fail all the time do not keep a core busy.
const MIN_PAUSE: Duration = Duration::from_millis(2);
/// Longest pause, for what no event tells of.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Runs until `stop` is cancelled.
pub(super) async fn watch(store: ConfigStore, stop: CancellationToken) {
    let mut changes = store.snapshots();
    let watcher = store.watcher();
    loop {
        let clusters = store.active_clusters();
        let mut changed = false;
        let mut due = Moment::NEVER;
        for cluster in &clusters {
            outlier::judge(cluster);
            // Also one that was put together while another decision was being made.
            changed |= cluster.is_stale();
            due = due.min(cluster.shared.detector.lock().due());
        }
        drop(clusters);
        if changed {
            store.rebalance();
        }
        tokio::time::sleep(MIN_PAUSE).await;
        let pause = due.since(now()).min(MAX_PAUSE);
        tokio::select! {
            () = stop.cancelled() => return,
            () = watcher.notified() => {}
            result = changes.changed() => if result.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}
