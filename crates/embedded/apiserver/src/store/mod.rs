//! The embedded store: every object of the cluster, one global revision, durable once acknowledged.
//!
//! SQLite holds the current objects and the revision; memory holds the same objects plus a window of
//! recent events per resource, from which watches and paged lists are served. One writer thread owns
//! the database: it takes whatever is queued, checks each write against the newest state, commits the
//! batch once (group commit) and only then publishes and acknowledges it.
//!
//! Invariants: nobody sees an uncommitted object; revisions never repeat, also not across restarts;
//! a store that fails its checks is refused and left as it is.

mod db;
mod state;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use state::State;
use writer::{Command, Write};

/// Writes that may wait for the writer thread; more wait in their own tasks.
const MAX_QUEUED_WRITES: usize = 1024;
/// Events that a watcher takes out of the window at once, so that a read lock is held shortly.
const WATCH_BATCH: usize = 256;

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An object of that name exists.
    #[error("object already exists")]
    Exists,
    /// No object of that name exists.
    #[error("object not found")]
    NotFound,
    /// The object has changed since the caller read it.
    #[error("object has been modified; it is at revision {current}")]
    Conflict {
        /// The revision it is at now.
        current: u64,
    },
    /// The window of events no longer reaches back to the wanted revision.
    #[error("too old resource version: {wanted} ({oldest})")]
    Expired {
        /// The revision asked for.
        wanted: u64,
        /// The oldest one that can still be continued from.
        oldest: u64,
    },
    /// Another process has the store open.
    #[error("store {path} is in use by another process; stop it first (the lock is {path}.lock)")]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// The store does not pass its checks.
    #[error(
        "store {path} is damaged: {what}. Nothing was changed. Restore the file from a copy, or move {path}* away to start with an empty cluster"
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// Which check failed.
        what: String,
    },
    /// The file was written by a newer program.
    #[error("store {path} has format {found}, this program knows {known}: use a newer program")]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format that we know.
        known: i64,
    },
    /// The file or its directory cannot be used.
    #[error("store {path}: {source}; check that the directory exists and is writable")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database refused a write (a full disk, for instance). The write did not happen.
    #[error("store {path} refused a write: {what}; check the disk's free space and health")]
    Write {
        /// The database file.
        path: PathBuf,
        /// What the database says.
        what: String,
    },
    /// The store has been closed.
    #[error("the store is closed: the server is shutting down")]
    Closed,
}

/// One object as it is stored.
#[derive(Debug)]
pub struct Object {
    /// Its resource: `group/plural`, or `/plural` for the core group.
    pub resource: Arc<str>,
    /// Its namespace, empty for objects of the cluster.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The revision that wrote it; equal to `metadata.resourceVersion`.
    pub revision: u64,
    /// The object.
    pub value: Value,
    /// The same, as JSON text: written to disk, lists and watches without serialising it again.
    pub json: Bytes,
}

/// What happened to an object.
#[derive(Debug)]
pub struct Event {
    /// When.
    pub revision: u64,
    /// The object after the change; for a deletion its last state with the deletion's revision.
    pub object: Arc<Object>,
    /// The object before the change.
    pub previous: Option<Arc<Object>>,
    /// Whether the object is gone.
    pub deleted: bool,
}

/// A page of a list.
#[derive(Debug)]
pub struct Page {
    /// The revision that the whole list shows.
    pub revision: u64,
    /// The objects, ordered by namespace and name.
    pub items: Vec<Arc<Object>>,
    /// More objects follow the last one.
    pub more: bool,
    /// How many follow, as far as known (selectors are not counted).
    pub remaining: usize,
}

/// How much of the past is kept for watches and paged lists, per resource.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Events kept at most.
    pub events: usize,
    /// Bytes of object text kept at most.
    pub bytes: usize,
}

impl Default for Window {
    /// 10,000 events or 64 MiB: minutes of a busy cluster, bounded memory.
    fn default() -> Self {
        Window { events: 10_000, bytes: 64 << 20 }
    }
}

/// The store. Cheap to clone; the last clone (or [`Store::close`]) ends the writer thread.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    writes: mpsc::Sender<Command>,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
}

struct Shared {
    /// Written by the writer thread only, after a commit.
    state: RwLock<State>,
}

impl Store {
    /// Opens or creates the store at `path` and loads it.
    ///
    /// # Errors
    /// [`StoreError::Locked`], [`StoreError::Damaged`], [`StoreError::Newer`] or [`StoreError::Io`]; the
    /// files are then as they were.
    pub fn open(path: &Path, window: Window) -> Result<Store, StoreError> {
        let (database, loaded) = db::Database::open(path)?;
        let shared = Arc::new(Shared { state: RwLock::new(State::new(loaded, window)) });
        let (writes, queue) = mpsc::channel(MAX_QUEUED_WRITES);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn({
                let shared = shared.clone();
                move || writer::run(database, &shared.state, queue)
            })
            .map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
        Ok(Store { shared, writes, thread: Arc::new(Mutex::new(Some(thread))) })
    }

    /// Writes a new object; sets its `metadata.resourceVersion`.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::Write`], [`StoreError::Closed`].
    pub async fn create(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        value: Value,
    ) -> Result<Arc<Object>, StoreError> {
        self.write(resource, namespace, name, Write::Create(value)).await
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
        self.shared.state.read().revision()
    }

    /// One object.
    #[must_use]
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.shared.state.read().get(resource, namespace, name)
    }

    /// All objects of a resource, in one namespace or (`None`) in all, with the revision they show.
    #[must_use]
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> (u64, Vec<Arc<Object>>) {
        let state = self.shared.state.read();
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
            let state = self.shared.state.read();
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
        let state = self.shared.state.read();
        resources.iter().map(|resource| state.changed_at(resource)).max().unwrap_or(0)
    }

    /// The number of objects of a resource.
    #[must_use]
    pub fn count(&self, resource: &str) -> usize {
        self.shared.state.read().count(resource)
    }

    /// The resources that hold objects.
    #[must_use]
    pub fn resources(&self) -> Vec<Arc<str>> {
        self.shared.state.read().resources()
    }

    /// A cursor over the changes of a resource after revision `from`.
    ///
    /// # Errors
    /// [`StoreError::Expired`] if the window does not reach back that far.
    pub fn watch(&self, resource: &str, from: u64) -> Result<Cursor, StoreError> {
        let changed = {
            let mut state = self.shared.state.write();
            state.check(resource, from)?;
            state.subscribe(resource)
        };
        Ok(Cursor { shared: self.shared.clone(), resource: resource.into(), position: from, changed })
    }

    /// Takes a list and a cursor that continues exactly after it.
    #[must_use]
    pub fn list_and_watch(&self, resource: &str, namespace: Option<&str>) -> (Vec<Arc<Object>>, Cursor) {
        let mut state = self.shared.state.write();
        let items = state.list(resource, namespace, None);
        let position = state.revision();
        let changed = state.subscribe(resource);
        drop(state);
        (items, Cursor { shared: self.shared.clone(), resource: resource.into(), position, changed })
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

/// A place in the history of one resource.
pub struct Cursor {
    shared: Arc<Shared>,
    resource: Arc<str>,
    position: u64,
    changed: watch::Receiver<u64>,
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
        let state = self.shared.state.read();
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
