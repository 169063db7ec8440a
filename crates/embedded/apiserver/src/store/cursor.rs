//! Following the changes of a resource.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::watch;

use super::error::StoreError;
use super::object::Event;
use super::state::State;

/// Events that a watcher takes out of the window at once, so that a read lock is held shortly.
const WATCH_BATCH: usize = 256;

/// A place in the history of one resource.
pub struct Cursor {
    pub(super) state: Arc<RwLock<State>>,
    pub(super) resource: Arc<str>,
    pub(super) position: u64,
    pub(super) changed: watch::Receiver<u64>,
}

impl Cursor {
    /// The events after the cursor's place, at most [`WATCH_BATCH`] of them, without waiting. The cursor
    /// moves on; with no event left it stands at the newest revision of the store.
    ///
    /// # Errors
    /// [`StoreError::Expired`] if the reader was so slow that the window has moved past it.
    pub fn take(&mut self) -> Result<Vec<Arc<Event>>, StoreError> {
        // Marked before the read: a change that comes in between wakes the next wait.
        self.changed.borrow_and_update();
        let state = self.state.read();
        state.check(&self.resource, self.position)?;
        let events = state.events(&self.resource, self.position, WATCH_BATCH);
        self.position = if events.len() < WATCH_BATCH {
            state.revision()
        } else {
            events.last().map_or(self.position, |event| event.revision)
        };
        Ok(events)
    }

    /// The revision up to which everything has been taken.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Waits until the resource changes after the last [`Cursor::take`].
    ///
    /// # Errors
    /// [`StoreError::Closed`] when the store has gone.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        self.changed.changed().await.map_err(|_| StoreError::Closed)
    }
}
