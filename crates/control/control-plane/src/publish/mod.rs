//! From facts to what streams see. The [`Publisher`] owns the mesh model, holds what the audiences of the connected
//! proxies have, and puts what differs on their boards; streams are woken by the boards that they read.
//!
//! The work for a change is that of the change: the model makes again what has read it, and what comes out different is
//! put on the boards of those who have it, once for all of their proxies.
//!
//! Work with the model may take long: none of it is to be done in an async task ([`Publisher::blocking`]). What could not
//! be made for a defect stays as it was, and is logged and counted.

mod board;
#[cfg(test)]
mod property;
mod state;
#[cfg(test)]
mod tests;
mod vet;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

use parking_lot::Mutex;
use portolan_derive::{Counts, Derived};
use portolan_mesh::{Mesh, Model, ProxyNode};
use portolan_translate::Limitation;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub use board::{Board, Boards, Difference};
use state::{Sight, State};
pub use vet::Refusal;

use crate::metrics::{Metric, Metrics};

/// That something was published, for those who look at the whole model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Published {
    /// Counts publications; 0 before the first.
    pub generation: u64,
    /// When the changes were first heard of that the last publication was about.
    pub at: Option<Instant>,
    /// The first word of federation is in. Before that a proxy that comes back would be told that everything imported is
    /// gone.
    pub imports_known: bool,
}

impl Published {
    /// Everything has been listed once.
    pub fn is_ready(&self) -> bool {
        self.generation > 0
    }
}

/// Owns the model and the boards.
#[derive(Debug)]
pub struct Publisher {
    state: Mutex<State>,
    /// Subscriptions that have ended; taken out by whoever has the state next, so that nobody waits to leave.
    ended: Mutex<Vec<Ended>>,
    published: watch::Sender<Published>,
    /// As they were when something was published or somebody came last.
    counts: Mutex<BTreeMap<&'static str, Counts>>,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Ended {
    node: Arc<ProxyNode>,
    wake: Arc<Notify>,
}

/// The boards of one proxy, for as long as it is connected.
#[derive(Debug)]
pub struct Subscription {
    publisher: Arc<Publisher>,
    node: Arc<ProxyNode>,
    sight: Sight,
    wake: Arc<Notify>,
}

impl Subscription {
    /// The boards that the proxy reads now. They are others when it is seen otherwise: it was given other labels, say.
    pub fn boards(&self) -> Arc<[Arc<Board>]> {
        self.sight.boards.borrow().clone()
    }

    /// What the configuration asks of the proxy and it cannot do.
    pub fn limitations(&self) -> watch::Receiver<Arc<[Limitation]>> {
        self.sight.limitations.clone()
    }

    /// Woken when something on the boards differs, or the boards do, or the limitations.
    pub async fn changed(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let ended = Ended { node: self.node.clone(), wake: self.wake.clone() };
        self.publisher.ended.lock().push(ended);
    }
}

impl Publisher {
    /// A publisher of a mesh.
    pub fn new(mesh: Mesh, metrics: Arc<Metrics>) -> Self {
        Self {
            state: Mutex::new(State::new(mesh)),
            ended: Mutex::default(),
            published: watch::Sender::default(),
            counts: Mutex::default(),
            metrics,
        }
    }

    /// Works with the publisher from an async task. Nothing when that panics, which is a defect.
    pub async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>) -> T + Send + 'static,
    ) -> Option<T> {
        let publisher = self.clone();
        match tokio::task::spawn_blocking(move || work(&publisher)).await {
            Ok(done) => Some(done),
            Err(error) => {
                tracing::error!(%error, "work with the model failed; proxies keep what they have");
                self.metrics.count(Metric::InternalErrors, &[]);
                None
            }
        }
    }

    /// Sets facts. Nobody sees them before the next [`Publisher::publish`], but who [reads](Publisher::read) or
    /// [comes](Publisher::subscribe).
    pub fn change<T>(&self, work: impl FnOnce(&mut Mesh) -> T) -> T {
        work(&mut self.state.lock().mesh)
    }

    /// Reads the model as it is now.
    pub fn read<T>(&self, look: impl FnOnce(Model<'_>) -> T) -> T {
        look(self.state.lock().mesh.model())
    }

    /// Looks at facts.
    pub fn facts<T>(&self, look: impl FnOnce(&Mesh) -> T) -> T {
        look(&self.state.lock().mesh)
    }

    /// Has a value kept true: who reads it need not look for whether it differs. It is there from the next publication on,
    /// and for as long as the publisher is.
    pub fn follow<D: Derived<Value: Debug>>(&self, key: D) -> watch::Receiver<Option<D::Value>> {
        self.state.lock().follow(key)
    }

    /// Puts everything that differs on the boards and wakes those concerned. `since` is when the first of the changes was
    /// heard of. Takes as long as that takes: not to be called from an async task directly.
    pub fn publish(&self, since: Option<Instant>) {
        let mut state = self.state.lock();
        self.forget_ended(&mut state);
        let woken = state.settle();
        let at = since.or_else(|| Some(Instant::now()));
        self.take_stock(&mut state);
        // Before those who look at it are woken: they say which publication it is.
        self.published.send_modify(|published| {
            published.generation += 1;
            published.at = at;
        });
        woken.wake();
    }

    /// What federation adds is known from now on.
    pub fn imports_are_known(&self) {
        self.published.send_if_modified(|p| !std::mem::replace(&mut p.imports_known, true));
    }

    /// Everything has been listed once, and published.
    pub fn is_ready(&self) -> bool {
        self.published.borrow().is_ready()
    }

    /// The last publication.
    pub fn last(&self) -> Published {
        *self.published.borrow()
    }

    /// Publications from now on.
    pub fn published(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Takes a proxy in; nothing when what it belongs to cannot be made for a defect. Makes what nobody had before: not to
    /// be called from an async task directly.
    pub fn subscribe(self: &Arc<Self>, node: Arc<ProxyNode>) -> Option<Subscription> {
        let wake = Arc::new(Notify::new());
        let mut state = self.state.lock();
        let sight = state.join(&node, &wake);
        // Not before: a proxy that comes back finds what it had.
        self.forget_ended(&mut state);
        self.take_stock(&mut state);
        drop(state);
        let subscription = Subscription { publisher: self.clone(), node, sight, wake };
        (!subscription.boards().is_empty()).then_some(subscription)
    }

    /// Says what could not be made, and how much work there was.
    fn take_stock(&self, state: &mut State) {
        for failure in state.mesh.take_failures() {
            tracing::error!(key = failure.key, reason = failure.reason, "a defect: it stays as it was");
            self.metrics.count(Metric::InternalErrors, &[]);
        }
        for Refusal { type_url, name, reason } in std::mem::take(&mut state.refused) {
            tracing::error!(
                r#type = type_url,
                name = &*name,
                reason = &*reason,
                "our proxies would refuse this; it is not sent, and they keep what they have"
            );
            self.metrics.count(Metric::Unsendable, &[]);
        }
        *self.counts.lock() = state.mesh.counts();
    }

    /// What is not sent because our proxies would refuse it.
    pub fn refusals(&self) -> BTreeSet<Refusal> {
        self.state.lock().refusals()
    }

    fn forget_ended(&self, state: &mut State) {
        let ended = std::mem::take(&mut *self.ended.lock());
        for Ended { node, wake } in ended {
            state.leave(&node, &wake);
        }
    }

    /// How much work there was so far, by kind of what was made, as of the last publication or proxy that came.
    pub fn counts(&self) -> BTreeMap<&'static str, Counts> {
        self.counts.lock().clone()
    }
}
