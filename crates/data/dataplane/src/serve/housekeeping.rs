//! The housekeeping thread: DNS, and who is ejected by outlier detection.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::outliers;
use super::schedule::Schedule;
use crate::io::timer::now;
use crate::store::ConfigStore;
use crate::upstream::dns;

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
    runtime.block_on(async {
        tokio::join!(housekeep(store.clone(), stop.clone()), outliers::watch(store, stop))
    });
    runtime.shutdown_background();
}

async fn housekeep(store: ConfigStore, stop: CancellationToken) {
    let mut ticker = tokio::time::interval(TICK);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut schedule = Schedule::default();
    let mut lookups = Lookups::default();
    // A changed configuration may hold new names: look at once, not at the next tick.
    let mut changes = store.snapshots();
    schedule.update(store.dns_names(), now());
    loop {
        lookups.start(&mut schedule, dns::lookup);
        tokio::select! {
            () = stop.cancelled() => return,
            answer = lookups.next(&mut schedule), if !lookups.is_empty() => {
                if let Some((name, addresses)) = answer {
                    store.resolved(&name, addresses);
                }
            }
            _ = changes.changed() => schedule.update(store.dns_names(), now()),
            _ = ticker.tick() => {}
        }
    }
}

/// The lookups that are under way.
#[derive(Debug, Default)]
struct Lookups {
    tasks: JoinSet<Vec<IpAddr>>,
    names: HashMap<Id, String>,
}

impl Lookups {
    fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Starts what is due, as far as there is room.
    fn start<F>(&mut self, schedule: &mut Schedule, lookup: impl Fn(String, Option<bool>) -> F)
    where
        F: Future<Output = (String, Vec<IpAddr>)> + Send + 'static,
    {
        while self.tasks.len() < MAX_LOOKUPS {
            let Some((name, v6)) = schedule.next(now()) else { return };
            let looking = lookup(name.clone(), v6);
            let id = self.tasks.spawn(async move { looking.await.1 }).id();
            self.names.insert(id, name);
        }
    }

    /// The next answer; `None` of a lookup that failed by itself.
    async fn next(&mut self, schedule: &mut Schedule) -> Option<(String, Vec<IpAddr>)> {
        let (id, addresses) = match self.tasks.join_next_with_id().await? {
            Ok((id, addresses)) => (id, Some(addresses)),
            Err(error) => (error.id(), None),
        };
        let name = self.names.remove(&id)?;
        schedule.finished(&name, now());
        Some((name, addresses?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use super::*;

    const REFRESH: Duration = Duration::from_secs(1);
    /// As long as a lookup takes that nobody answers.
    const SILENCE: Duration = Duration::from_secs(10);

    /// Resolves until `until` names were asked for, and returns all that were, in order.
    async fn asked(names: &[String], answers: fn(&str) -> bool, until: usize) -> Vec<String> {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let names: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), (REFRESH, None))).collect();
        let (mut schedule, mut lookups) = (Schedule::default(), Lookups::default());
        schedule.update(names, now());
        let mut ticker = tokio::time::interval(TICK);
        while seen.lock().unwrap().len() < until {
            let lookup = |name: String, _| {
                seen.lock().unwrap().push(name.clone());
                async move {
                    if !answers(&name) {
                        tokio::time::sleep(SILENCE).await;
                    }
                    (name, Vec::new())
                }
            };
            lookups.start(&mut schedule, lookup);
            tokio::select! {
                _ = lookups.next(&mut schedule), if !lookups.is_empty() => {}
                _ = ticker.tick() => {}
            }
        }
        seen.lock().unwrap().clone()
    }

    #[tokio::test(start_paused = true)]
    async fn names_without_an_answer_hold_up_nobody() {
        let mut names: Vec<String> = (0..2 * MAX_LOOKUPS).map(|n| format!("dead-{n:02}")).collect();
        names.push("living".to_owned());
        let seen = asked(&names, |name| name == "living", names.len()).await;
        assert!(seen.contains(&"living".to_owned()), "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_name_is_asked_for_once_at_a_time() {
        let start = tokio::time::Instant::now();
        let seen = asked(&["slow".to_owned()], |_| false, 3).await;
        assert_eq!(seen.len(), 3);
        assert!(start.elapsed() >= 2 * (SILENCE + REFRESH), "{:?}", start.elapsed());
    }
}
