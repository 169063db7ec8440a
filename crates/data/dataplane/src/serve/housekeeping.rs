//! The housekeeping thread: DNS, and hosts that return from an ejection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::store::ConfigStore;
use crate::upstream::{dns, outlier};

/// Granularity of everything done here.
const TICK: Duration = Duration::from_millis(500);
/// Names that are resolved at the same time.
const MAX_LOOKUPS: usize = 32;

/// Runs until `stop` is cancelled.
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn run(store: ConfigStore, stop: CancellationToken) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the housekeeping runtime; DNS clusters stay empty");
            return;
        }
    };
    runtime.block_on(housekeep(store, stop));
    runtime.shutdown_background();
}

async fn housekeep(store: ConfigStore, stop: CancellationToken) {
    let mut ticker = tokio::time::interval(TICK);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut due: HashMap<String, Instant> = HashMap::new();
    let mut running: tokio::task::JoinSet<(String, Vec<IpAddr>)> = tokio::task::JoinSet::new();
    // A changed configuration may hold new names: look at once, not at the next tick.
    let mut changes = store.snapshots();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(Ok((name, addresses))) = running.join_next() => store.resolved(&name, addresses),
            _ = changes.changed() => {}
            _ = ticker.tick() => {
                let now = Instant::now();
                store.active_clusters().iter().for_each(|cluster| outlier::tick(cluster, now));
            }
        }
        let names = store.dns_names();
        due.retain(|name, _| names.contains_key(name));
        let now = Instant::now();
        for (name, (refresh, v6)) in names {
            if running.len() >= MAX_LOOKUPS {
                break;
            }
            if due.get(&name).is_none_or(|at| *at <= now) {
                due.insert(name.clone(), now + refresh);
                running.spawn(dns::lookup(name, v6));
            }
        }
    }
}
