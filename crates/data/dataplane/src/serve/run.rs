//! The thread of a worker: takes over snapshots, keeps the accept loops, hands over logs, looks at idle connections.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, LocalSet};
use tokio_util::sync::CancellationToken;

use super::accept::accept_loop;
use super::http::report;
use super::worker::Worker;
use crate::listener::bind::Bound;
use crate::store::{Shared, Snapshot};
use crate::telemetry::access_log::LogBuffers;

/// How often access logs are handed over.
const LOG_FLUSH: Duration = Duration::from_millis(200);
/// Every how many log flushes idle connections are looked at and spans reported (5 s, Envoy's
/// `tracing.zipkin.flush_interval_ms`).
const SWEEP_EVERY: u32 = 25;

/// Runs a worker until `stop` is cancelled.
#[allow(clippy::needless_pass_by_value)]
pub(crate) fn run(
    id: usize,
    shared: Arc<Shared>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    stop: CancellationToken,
    logs: LogBuffers,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, id, "cannot start a worker's runtime");
            return;
        }
    };
    let worker = Rc::new(Worker::new(id, shared, logs));
    let local = LocalSet::new();
    local.block_on(&runtime, supervise(worker.clone(), snapshots, stop));
    worker.logs.flush();
}

async fn supervise(
    worker: Rc<Worker>,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
    stop: CancellationToken,
) {
    let mut loops: HashMap<Arc<str>, (Arc<Bound>, JoinHandle<()>)> = HashMap::new();
    let mut ticker = tokio::time::interval(LOG_FLUSH);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks = 0u32;
    worker.shared.started.fetch_add(1, Relaxed);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            changed = snapshots.changed() => {
                if changed.is_err() {
                    break;
                }
                let next = snapshots.borrow_and_update().clone();
                worker.take_over(next.clone());
                update_loops(&worker, &next, &mut loops);
            }
            _ = ticker.tick() => {
                worker.logs.flush();
                ticks = ticks.wrapping_add(1);
                if ticks.is_multiple_of(SWEEP_EVERY) {
                    worker.sweep();
                    report::flush(&worker);
                }
            }
        }
    }
    loops.into_values().for_each(|(_, handle)| handle.abort());
}

/// Starts accept loops for new sockets and ends those of sockets that are gone.
fn update_loops(
    worker: &Rc<Worker>,
    next: &Snapshot,
    loops: &mut HashMap<Arc<str>, (Arc<Bound>, JoinHandle<()>)>,
) {
    loops.retain(|name, (bound, handle)| {
        let kept = next.listeners.get(name).and_then(|active| active.bound.as_ref());
        let keep = kept.is_some_and(|kept| Arc::ptr_eq(kept, bound));
        if !keep {
            handle.abort();
        }
        keep
    });
    for (name, active) in &next.listeners {
        let Some(bound) = &active.bound else { continue };
        let Some(socket) = bound.take(worker.id) else { continue };
        match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => {
                let handle = tokio::task::spawn_local(accept_loop(worker.clone(), name.clone(), socket));
                loops.insert(name.clone(), (bound.clone(), handle));
            }
            Err(error) => tracing::error!(%error, listener = %name, "cannot accept connections"),
        }
    }
}
