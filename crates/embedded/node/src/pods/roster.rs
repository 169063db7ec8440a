//! Which Pods of this node have a worker, and which wait for one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

use super::worker::Desired;

/// A worker that broke is started again after this time: what broke it may be there still.
const RESTART_PAUSE: Duration = Duration::from_secs(10);

/// What became of a Pod that was shown to the roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It has a worker.
    Has,
    /// It has just begun to wait for one.
    Waits,
    /// It is still waiting.
    StillWaits,
}

/// One worker per Pod, a limited number at a time.
pub(super) struct Roster<S> {
    limit: usize,
    start: S,
    /// By uid: what the worker is told.
    workers: HashMap<String, watch::Sender<Desired>>,
    tasks: JoinSet<()>,
    uids: HashMap<Id, String>,
    /// In the order in which they came, in their newest version.
    waiting: VecDeque<(String, Arc<Pod>)>,
}

impl<S, W> Roster<S>
where
    S: Fn(Arc<Pod>, watch::Receiver<Desired>) -> W,
    W: Future<Output = ()> + Send + 'static,
{
    /// `start` makes the worker of a Pod.
    pub(super) fn new(limit: usize, start: S) -> Self {
        Self {
            limit,
            start,
            workers: HashMap::new(),
            tasks: JoinSet::new(),
            uids: HashMap::new(),
            waiting: VecDeque::new(),
        }
    }

    /// A Pod exists, in this version.
    pub(super) fn exists(&mut self, uid: &str, pod: &Arc<Pod>) -> Place {
        if let Some(desired) = self.workers.get(uid) {
            desired.send_replace(Desired::Exists(pod.clone()));
            return Place::Has;
        }
        let known = self.waiting.iter().position(|(waiting, _)| waiting == uid);
        // Who only wants to be let go needs no place.
        if self.workers.len() < self.limit || pod.metadata.deletion_timestamp.is_some() {
            if let Some(known) = known {
                self.waiting.remove(known);
            }
            self.begin(uid.to_owned(), pod.clone(), Duration::ZERO);
            return Place::Has;
        }
        match known.and_then(|known| self.waiting.get_mut(known)) {
            Some(waiting) => {
                waiting.1 = pod.clone();
                Place::StillWaits
            }
            None => {
                self.waiting.push_back((uid.to_owned(), pod.clone()));
                Place::Waits
            }
        }
    }

    /// A Pod is gone.
    pub(super) fn gone(&mut self, uid: &str) {
        self.waiting.retain(|(waiting, _)| waiting != uid);
        if let Some(desired) = self.workers.get(uid) {
            desired.send_replace(Desired::Gone);
        }
    }

    /// Only these Pods exist.
    pub(super) fn retain(&mut self, listed: &HashSet<String>) {
        self.waiting.retain(|(waiting, _)| listed.contains(waiting));
        for (_, desired) in self.workers.iter().filter(|(uid, _)| !listed.contains(*uid)) {
            desired.send_replace(Desired::Gone);
        }
    }

    /// Waits until a worker has ended; its place goes to the Pod that has waited longest.
    pub(super) async fn ended(&mut self) {
        let Some(joined) = self.tasks.join_next_with_id().await else { return pending().await };
        let id = match &joined {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let Some(uid) = self.uids.remove(&id) else { return };
        let desired = self.workers.remove(&uid).map(|desired| desired.borrow().clone());
        if let Err(error) = joined {
            tracing::error!(uid, %error, "the worker of a Pod broke");
            if let Some(Desired::Exists(pod)) = desired {
                self.begin(uid, pod, RESTART_PAUSE);
            }
        }
        while self.workers.len() < self.limit
            && let Some((uid, pod)) = self.waiting.pop_front()
        {
            self.begin(uid, pod, Duration::ZERO);
        }
    }

    /// Waits until all workers have ended; nobody gets their places.
    pub(super) async fn drain(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    fn begin(&mut self, uid: String, pod: Arc<Pod>, pause: Duration) {
        let (desired, receiver) = watch::channel(Desired::Exists(pod.clone()));
        let worker = (self.start)(pod, receiver);
        let task = self.tasks.spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            worker.await;
        });
        self.uids.insert(task.id(), uid.clone());
        self.workers.insert(uid, desired);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    fn pod(deleted: bool) -> Arc<Pod> {
        let time = deleted.then_some("2024-01-01T00:00:00Z");
        Arc::new(
            serde_json::from_value(json!({ "metadata": { "name": "p", "deletionTimestamp": time } }))
                .unwrap(),
        )
    }

    type Start = Box<dyn Fn(Arc<Pod>, watch::Receiver<Desired>) -> futures::future::BoxFuture<'static, ()>>;

    /// Workers that run until their Pod is gone, and how often one was started.
    fn roster(limit: usize) -> (Roster<Start>, Arc<AtomicUsize>) {
        let started = Arc::new(AtomicUsize::new(0));
        let count = started.clone();
        let start: Start = Box::new(move |_, mut desired| {
            count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                let _ = desired.wait_for(|desired| matches!(desired, Desired::Gone)).await;
            })
        });
        (Roster::new(limit, start), started)
    }

    #[tokio::test]
    async fn a_pod_above_the_limit_starts_when_another_ends() {
        let (mut roster, started) = roster(1);
        assert_eq!(roster.exists("a", &pod(false)), Place::Has);
        assert_eq!(roster.exists("b", &pod(false)), Place::Waits);
        assert_eq!(roster.exists("b", &pod(false)), Place::StillWaits);
        assert_eq!(started.load(Ordering::Relaxed), 1);
        roster.gone("a");
        roster.ended().await;
        assert_eq!(started.load(Ordering::Relaxed), 2);
        assert_eq!(roster.exists("b", &pod(false)), Place::Has);
    }

    #[tokio::test]
    async fn a_waiting_pod_that_is_gone_is_not_started() {
        let (mut roster, started) = roster(1);
        roster.exists("a", &pod(false));
        roster.exists("b", &pod(false));
        roster.exists("c", &pod(false));
        roster.gone("b");
        roster.retain(&HashSet::from(["a".to_owned()]));
        roster.gone("a");
        roster.ended().await;
        assert_eq!(started.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_waiting_pod_that_is_deleted_needs_no_place() {
        let (mut roster, _) = roster(1);
        roster.exists("a", &pod(false));
        roster.exists("b", &pod(false));
        assert_eq!(roster.exists("b", &pod(true)), Place::Has);
        roster.gone("b");
        roster.ended().await;
        assert!(roster.waiting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_panics_is_started_again() {
        let lives = Arc::new(Mutex::new(vec!["lives", "breaks"]));
        let mut roster = Roster::new(1, |_, mut desired: watch::Receiver<Desired>| {
            let lives = lives.clone();
            async move {
                let next = lives.lock().pop();
                assert_eq!(next, Some("lives"), "a worker that breaks");
                let _ = desired.wait_for(|desired| matches!(desired, Desired::Gone)).await;
            }
        });
        roster.exists("a", &pod(false));
        roster.ended().await;
        assert_eq!(roster.exists("a", &pod(false)), Place::Has);
        tokio::time::sleep(RESTART_PAUSE * 2).await;
        assert!(lives.lock().is_empty(), "it was not started again");
        roster.gone("a");
        roster.ended().await;
        assert!(roster.workers.is_empty());
    }
}
