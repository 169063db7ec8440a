//! The work queue of one controller: every key at most once waiting and at most once in work, failures
//! retried with growing delays, delayed keys.
//!
//! Bounded by construction: it holds keys of existing objects, each at most once, however fast events come.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Delay after the first failure; doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(50);
/// Longest delay between retries: on one machine a cause that goes away should show within seconds.
const MAX_RETRY: Duration = Duration::from_secs(10);
/// Workers that may be under way for one controller.
const WORKERS: usize = 4;

/// What a reconciliation asks for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing until something changes.
    Idle,
    /// The same key again after this time.
    After(Duration),
}

/// A name in a namespace; the namespace is empty for cluster-scoped objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub(crate) fn of<K: kube::Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

#[derive(Debug)]
struct State<K> {
    ready: VecDeque<K>,
    waiting: HashSet<K>,
    running: HashSet<K>,
    /// Keys that changed while they were in work.
    again: HashSet<K>,
    /// When delayed keys are due, each key once.
    timers: BTreeSet<(Instant, K)>,
    due: HashMap<K, Instant>,
    failures: HashMap<K, u32>,
}

/// A queue of keys, shared by the informers that fill it and the workers that empty it.
#[derive(Debug)]
pub(crate) struct WorkQueue<K> {
    state: Mutex<State<K>>,
    wake: Notify,
}

impl<K: Clone + Eq + Hash + Ord + std::fmt::Display + Send + Sync + 'static> WorkQueue<K> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                ready: VecDeque::new(),
                waiting: HashSet::new(),
                running: HashSet::new(),
                again: HashSet::new(),
                timers: BTreeSet::new(),
                due: HashMap::new(),
                failures: HashMap::new(),
            }),
            wake: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for `key` to be reconciled soon.
    pub(crate) fn add(&self, key: K) {
        Self::add_locked(&mut self.lock(), key);
        self.wake.notify_one();
    }

    fn add_locked(state: &mut State<K>, key: K) {
        if state.running.contains(&key) {
            state.again.insert(key);
        } else if state.waiting.insert(key.clone()) {
            state.ready.push_back(key);
        }
    }

    /// Asks for `key` after `delay`; of two delays of a key the one that ends first counts.
    fn add_after(&self, key: K, delay: Duration) {
        let at = Instant::now() + delay;
        let mut state = self.lock();
        if state.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        Self::forget_timer(&mut state, &key);
        state.due.insert(key.clone(), at);
        state.timers.insert((at, key));
        drop(state);
        self.wake.notify_one();
    }

    fn forget_timer(state: &mut State<K>, key: &K) {
        if let Some(at) = state.due.remove(key) {
            state.timers.remove(&(at, key.clone()));
        }
    }

    /// The next key, when there is one.
    async fn next(&self) -> K {
        loop {
            let pause = {
                let mut state = self.lock();
                let now = Instant::now();
                while let Some((at, _)) = state.timers.first()
                    && *at <= now
                {
                    if let Some((_, key)) = state.timers.pop_first() {
                        state.due.remove(&key);
                        Self::add_locked(&mut state, key);
                    }
                }
                if let Some(key) = state.ready.pop_front() {
                    state.waiting.remove(&key);
                    state.running.insert(key.clone());
                    // Who looks now asks anew for when to look again.
                    Self::forget_timer(&mut state, &key);
                    if !state.ready.is_empty() {
                        self.wake.notify_one();
                    }
                    return key;
                }
                state.timers.first().map(|(at, _)| *at)
            };
            match pause {
                Some(at) => {
                    tokio::select! {
                        () = self.wake.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => self.wake.notified().await,
            }
        }
    }

    /// Takes a key out of work; the delay until its retry if it failed.
    fn finish(&self, key: K, failed: bool) -> Option<Duration> {
        let mut state = self.lock();
        state.running.remove(&key);
        if state.again.remove(&key) {
            Self::add_locked(&mut state, key.clone());
            self.wake.notify_one();
        }
        if !failed {
            state.failures.remove(&key);
            return None;
        }
        let count = state.failures.entry(key).or_insert(0);
        let delay = FIRST_RETRY.saturating_mul(1 << (*count).min(12)).min(MAX_RETRY);
        *count = count.saturating_add(1);
        Some(delay)
    }

    /// Works the queue off for ever: calls `reconcile` for each key, several keys at once, one key never twice
    /// at once.
    pub(crate) async fn run<F, Fut, E>(self: Arc<Self>, controller: &'static str, reconcile: F)
    where
        F: Fn(K) -> Fut,
        Fut: Future<Output = Result<Next, E>>,
        E: std::fmt::Display,
    {
        let worker = || async {
            loop {
                let key = self.next().await;
                let outcome = reconcile(key.clone()).await;
                let retry = self.finish(key.clone(), outcome.is_err());
                match outcome {
                    Ok(Next::Idle) => {}
                    Ok(Next::After(delay)) => self.add_after(key, delay),
                    Err(error) => {
                        let delay = retry.unwrap_or(MAX_RETRY);
                        if delay > FIRST_RETRY {
                            tracing::warn!(controller, %key, %error, ?delay, "cannot reconcile, will retry");
                        } else {
                            tracing::debug!(controller, %key, %error, "cannot reconcile, will retry");
                        }
                        self.add_after(key, delay);
                    }
                }
            }
        };
        futures::future::join_all((0..WORKERS).map(|_| worker())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_secs(1000);

    /// Nothing comes, however long one waits.
    async fn is_empty(queue: &WorkQueue<i32>) -> bool {
        tokio::time::timeout(LONG * 1000, queue.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once() {
        let queue = WorkQueue::new();
        queue.add(1);
        queue.add(1);
        assert_eq!(queue.next().await, 1);
        queue.finish(1, false);
        assert!(is_empty(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_changes_while_in_work_comes_back_once() {
        let queue = WorkQueue::new();
        queue.add(1);
        assert_eq!(queue.next().await, 1);
        queue.add(1);
        queue.add(1);
        assert!(is_empty(&queue).await, "it was given out twice at once");
        assert_eq!(queue.finish(1, false), None);
        assert_eq!(queue.next().await, 1);
        queue.finish(1, false);
        assert!(is_empty(&queue).await);
    }

    #[tokio::test]
    async fn failures_back_off_and_success_resets() {
        let queue = WorkQueue::new();
        assert_eq!(queue.finish(7, true), Some(FIRST_RETRY));
        assert_eq!(queue.finish(7, true), Some(FIRST_RETRY * 2));
        for _ in 0..40 {
            queue.finish(7, true);
        }
        assert_eq!(queue.finish(7, true), Some(MAX_RETRY));
        queue.finish(7, false);
        assert_eq!(queue.finish(7, true), Some(FIRST_RETRY));
    }

    #[tokio::test(start_paused = true)]
    async fn delayed_keys_come_in_order() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        queue.add_after(2, LONG);
        queue.add_after(1, SHORT);
        assert_eq!((queue.next().await, start.elapsed()), (1, SHORT));
        assert_eq!((queue.next().await, start.elapsed()), (2, LONG));
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_has_one_timer_the_earliest() {
        let queue = WorkQueue::new();
        let start = Instant::now();
        for delay in [LONG, SHORT, LONG * 2] {
            queue.add_after(1, delay);
        }
        assert_eq!(queue.lock().timers.len(), 1);
        assert_eq!((queue.next().await, start.elapsed()), (1, SHORT));
        queue.finish(1, false);
        assert!(is_empty(&queue).await, "a timer of it was left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_comes_to_work_by_itself_needs_its_timer_no_more() {
        let queue = WorkQueue::new();
        queue.add_after(1, LONG);
        queue.add(1);
        assert_eq!(queue.next().await, 1);
        queue.finish(1, false);
        assert!(is_empty(&queue).await);
    }
}
