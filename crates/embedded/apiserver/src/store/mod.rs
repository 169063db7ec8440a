//! The embedded store: every object of the cluster, one global revision, durable once acknowledged.
//!
//! SQLite holds the current objects and the revision; memory holds the same objects plus a window of
//! recent events per resource, from which watches and paged lists are served. One writer thread owns
//! the database: it takes whatever is queued, checks each write against the newest state, commits the
//! batch once (group commit) and only then publishes and acknowledges it.
//!
//! Invariants: nobody sees an uncommitted object; revisions never repeat, also not across restarts;
//! a store that fails its checks is refused and left as it is.

mod cursor;
mod db;
mod error;
mod object;
mod state;
mod wal;
mod writer;

use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

pub use cursor::Cursor;
pub use error::StoreError;
pub use object::{Event, Object, Page, Parent, Window};
use state::State;
use writer::{Command, Write};

/// Writes that may wait for the writer thread; more wait in their own tasks.
const MAX_QUEUED_WRITES: usize = 1024;

/// The store. Cheap to clone; the last clone (or [`Store::close`]) ends the writer thread.
#[derive(Clone)]
pub struct Store {
    /// Written by the writer thread only, after a commit.
    state: Arc<RwLock<State>>,
    writes: mpsc::Sender<Command>,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
}

impl Store {
    /// Opens or creates the store at `path` and loads it.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Damaged`], [`StoreError::Newer`] or [`StoreError::Io`]; the
    /// files are then as they were.
    pub fn open(path: &Path, window: Window) -> Result<Store, StoreError> {
        let (database, loaded) = db::Database::open(path)?;
        let state = Arc::new(RwLock::new(State::new(loaded, window)));
        let (writes, queue) = mpsc::channel(MAX_QUEUED_WRITES);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn({
                let state = state.clone();
                move || writer::run(database, &state, queue)
            })
            .map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        Ok(Store { state, writes, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Writes a new object; sets its `metadata.resourceVersion`. It is written only while its parents live,
    /// which is looked at in the same breath: who has seen a parent marked for deletion committed sees
    /// every object that will ever be below it.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::ParentGone`], [`StoreError::Write`], [`StoreError::Closed`].
    pub async fn create(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        value: Value,
        parents: Vec<Parent>,
    ) -> Result<Arc<Object>, StoreError> {
        self.write(resource, namespace, name, Write::Create(value, parents)).await
    }

    /// Replaces an object that is still at revision `expected`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Write`], [`StoreError::Closed`].
    pub async fn update(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        expected: u64,
        value: Value,
    ) -> Result<Arc<Object>, StoreError> {
        self.write(resource, namespace, name, Write::Update(expected, value)).await
    }

    /// Removes an object that is still at revision `expected`; answers its last state.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Write`], [`StoreError::Closed`].
    pub async fn delete(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        expected: u64,
    ) -> Result<Arc<Object>, StoreError> {
        self.write(resource, namespace, name, Write::Delete(expected)).await
    }

    async fn write(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        write: Write,
    ) -> Result<Arc<Object>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Write {
            resource: resource.into(),
            namespace: namespace.into(),
            name: name.into(),
            write,
            reply,
        };
        self.writes.send(command).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// The newest revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.state.read().revision()
    }

    /// One object.
    #[must_use]
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.state.read().get(resource, namespace, name)
    }

    /// All objects of a resource, in one namespace or (`None`) in all, with the revision they show.
    #[must_use]
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> (u64, Vec<Arc<Object>>) {
        let state = self.state.read();
        (state.revision(), state.list(resource, namespace, None))
    }

    /// A page of a list: at most `limit` objects that `keep` accepts, after the object `after`, as of
    /// revision `at` (now, if `None`).
    ///
    /// # Errors
    /// [`StoreError::Expired`] if the window no longer reaches back to `at`.
    pub fn page(
        &self,
        resource: &str,
        namespace: Option<&str>,
        at: Option<u64>,
        after: Option<(&str, &str)>,
        limit: usize,
        keep: &dyn Fn(&Object) -> bool,
    ) -> Result<Page, StoreError> {
        let (revision, candidates) = {
            let state = self.state.read();
            match at {
                Some(at) if at < state.revision() => (at, state.list_at(resource, namespace, after, at)?),
                _ => (state.revision(), state.list(resource, namespace, after)),
            }
        };
        let total = candidates.len();
        let mut items = Vec::with_capacity(total.min(limit));
        let mut more = false;
        let mut seen = 0;
        for object in candidates {
            if keep(&object) {
                if items.len() == limit {
                    more = true;
                    break;
                }
                items.push(object);
            }
            seen += 1;
        }
        Ok(Page { revision, items, more, remaining: total - seen })
    }

    /// The newest revision that changed any of the resources.
    #[must_use]
    pub fn changed_at(&self, resources: &[&str]) -> u64 {
        let state = self.state.read();
        resources.iter().map(|resource| state.changed_at(resource)).max().unwrap_or(0)
    }

    /// The number of objects of a resource.
    #[must_use]
    pub fn count(&self, resource: &str) -> usize {
        self.state.read().count(resource)
    }

    /// The resources that hold objects.
    #[must_use]
    pub fn resources(&self) -> Vec<Arc<str>> {
        self.state.read().resources()
    }

    /// A cursor over the changes of a resource after revision `from`.
    ///
    /// # Errors
    /// [`StoreError::Expired`] if the window does not reach back that far.
    pub fn watch(&self, resource: &str, from: u64) -> Result<Cursor, StoreError> {
        let changed = {
            let mut state = self.state.write();
            state.check(resource, from)?;
            state.subscribe(resource)
        };
        Ok(Cursor { state: self.state.clone(), resource: resource.into(), position: from, changed })
    }

    /// Takes a list and a cursor that continues exactly after it.
    #[must_use]
    pub fn list_and_watch(&self, resource: &str, namespace: Option<&str>) -> (Vec<Arc<Object>>, Cursor) {
        let mut state = self.state.write();
        let items = state.list(resource, namespace, None);
        let position = state.revision();
        let changed = state.subscribe(resource);
        drop(state);
        (items, Cursor { state: self.state.clone(), resource: resource.into(), position, changed })
    }

    /// Commits what is queued and closes the database.
    pub async fn close(&self) {
        let (reply, done) = oneshot::channel();
        if self.writes.send(Command::Close(reply)).await.is_ok() {
            let _ = done.await;
        }
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}
