//! From facts to what streams see. The [`Publisher`] owns the mesh model, holds what the audiences of the connected
//! proxies have, and puts what differs on their boards; streams are woken by the boards that they read.
//!
//! The work for a change is that of the change: the model makes again what has read it, and what comes out different is
//! put on the boards of those who have it, once for all of their proxies.

mod board;
mod state;

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use portolan_derive::Counts;
use portolan_mesh::{Mesh, Model, ProxyNode};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

pub use board::{Board, Boards, Difference};
use state::State;

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
    boards: watch::Receiver<Arc<[Arc<Board>]>>,
    wake: Arc<Notify>,
}

impl Subscription {
    /// The boards that the proxy reads now. They are others when it is seen otherwise: it was given other labels, say.
    pub fn boards(&self) -> Arc<[Arc<Board>]> {
        self.boards.borrow().clone()
    }

    /// Woken when something on the boards differs, or the boards do.
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
    pub fn new(mesh: Mesh) -> Self {
        Self {
            state: Mutex::new(State::new(mesh)),
            ended: Mutex::default(),
            published: watch::Sender::default(),
        }
    }

    /// Sets facts. Nobody sees them before the next [`Publisher::publish`], but who [reads](Publisher::read).
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

    /// Puts everything that differs on the boards and wakes those concerned. Takes as long as that takes: not to be called
    /// from an async task directly.
    pub fn publish(&self, since: Option<Instant>) {
        let mut state = self.state.lock();
        self.forget_ended(&mut state);
        state.settle();
        drop(state);
        self.published.send_modify(|published| {
            published.generation += 1;
            published.at = since.or_else(|| Some(Instant::now()));
        });
    }

    /// What federation adds is known from now on.
    pub fn imports_are_known(&self) {
        self.published.send_if_modified(|p| !std::mem::replace(&mut p.imports_known, true));
    }

    /// Publications from now on.
    pub fn published(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    /// Takes a proxy in. Makes what nobody had before: not to be called from an async task directly.
    pub fn subscribe(self: &Arc<Self>, node: Arc<ProxyNode>) -> Subscription {
        let wake = Arc::new(Notify::new());
        let mut state = self.state.lock();
        self.forget_ended(&mut state);
        let boards = state.join(node.clone(), wake.clone());
        drop(state);
        Subscription { publisher: self.clone(), node, boards, wake }
    }

    fn forget_ended(&self, state: &mut State) {
        let ended = std::mem::take(&mut *self.ended.lock());
        for Ended { node, wake } in ended {
            state.leave(&node, &wake);
        }
    }

    /// How much work there was so far, by kind of what was made.
    pub fn counts(&self) -> BTreeMap<&'static str, Counts> {
        self.state.lock().mesh.counts()
    }
}
