//! The writer thread: takes queued writes, commits them together, publishes, acknowledges.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::db::Database;
use super::error::StoreError;
use super::object::{Event, Object, Parent};
use super::state::State;

/// Writes in one commit. One fsync costs about as much as a few hundred inserts.
const MAX_BATCH: usize = 256;

pub(super) enum Write {
    Create(Value, Vec<Parent>),
    Update(u64, Value),
    Delete(u64),
}

type Reply = oneshot::Sender<Result<Arc<Object>, StoreError>>;

pub(super) enum Command {
    Write { resource: Arc<str>, namespace: Arc<str>, name: Arc<str>, write: Write, reply: Reply },
    Close(oneshot::Sender<()>),
}

pub(super) fn run(mut database: Database, state: &RwLock<State>, mut queue: mpsc::Receiver<Command>) {
    let mut revision = state.read().revision();
    let mut closing = None;
    while closing.is_none() {
        let Some(first) = queue.blocking_recv() else { break };
        let mut batch = Batch::new(revision);
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Write { resource, namespace, name, write, reply } => {
                    batch.add(state, resource, namespace, name, write, reply);
                }
                Command::Close(done) => {
                    closing = Some(done);
                    break;
                }
            }
            next = if batch.events.len() < MAX_BATCH { queue.try_recv().ok() } else { None };
        }
        revision = batch.commit(&mut database, state);
    }
    database.close(revision);
    if let Some(done) = closing {
        let _ = done.send(());
    }
}

type Key = (Arc<str>, Arc<str>, Arc<str>);

struct Batch {
    revision: u64,
    events: Vec<Arc<Event>>,
    replies: Vec<(Reply, Arc<Object>)>,
    /// What the batch itself has changed so far; `None` is "deleted".
    overlay: HashMap<Key, Option<Arc<Object>>>,
}

impl Batch {
    fn new(revision: u64) -> Batch {
        Batch { revision, events: Vec::new(), replies: Vec::new(), overlay: HashMap::new() }
    }

    fn add(
        &mut self,
        state: &RwLock<State>,
        resource: Arc<str>,
        namespace: Arc<str>,
        name: Arc<str>,
        write: Write,
        reply: Reply,
    ) {
        let key = (resource.clone(), namespace.clone(), name.clone());
        let previous = self.newest(state, &key);
        if let Write::Create(_, parents) = &write
            && let Some(gone) = parents.iter().find(|parent| !self.lives(state, parent))
        {
            let (resource, name) = (gone.resource.to_string(), gone.name.to_string());
            return refuse(reply, StoreError::ParentGone { resource, name });
        }
        let (value, deleted) = match (write, &previous) {
            (Write::Create(..), Some(_)) => return refuse(reply, StoreError::Exists),
            (Write::Create(value, _), None) => (value, false),
            (Write::Update(..) | Write::Delete(_), None) => return refuse(reply, StoreError::NotFound),
            (Write::Update(expected, _) | Write::Delete(expected), Some(current))
                if current.revision != expected =>
            {
                return refuse(reply, StoreError::Conflict { current: current.revision });
            }
            (Write::Update(_, value), Some(_)) => (value, false),
            (Write::Delete(_), Some(current)) => (current.value.clone(), true),
        };
        let revision = self.revision + 1;
        let object = match stamp(resource, namespace, name, revision, value) {
            Ok(object) => Arc::new(object),
            Err(error) => return refuse(reply, error),
        };
        self.revision = revision;
        self.overlay.insert(key, (!deleted).then(|| object.clone()));
        self.events.push(Arc::new(Event { revision, object: object.clone(), previous, deleted }));
        self.replies.push((reply, object));
    }

    /// An object as the batch leaves it so far.
    fn newest(&self, state: &RwLock<State>, key: &Key) -> Option<Arc<Object>> {
        match self.overlay.get(key) {
            Some(changed) => changed.clone(),
            None => state.read().get(&key.0, &key.1, &key.2),
        }
    }

    fn lives(&self, state: &RwLock<State>, parent: &Parent) -> bool {
        let key = (parent.resource.clone(), Arc::from(""), parent.name.clone());
        self.newest(state, &key).is_some_and(|object| {
            object.value.pointer("/metadata/deletionTimestamp").is_none_or(Value::is_null)
        })
    }

    /// Commits, publishes, acknowledges; answers the revision to continue from.
    fn commit(self, database: &mut Database, state: &RwLock<State>) -> u64 {
        if self.events.is_empty() {
            return self.revision;
        }
        match database.commit(&self.events, self.revision) {
            Ok(()) => {
                state.write().publish(self.events, self.revision);
                for (reply, object) in self.replies {
                    let _ = reply.send(Ok(object));
                }
            }
            Err(what) => {
                // The numbers are not given out again: whatever reached the disk stays unique.
                tracing::error!(path = %database.path().display(), error = %what, "store write failed");
                for (reply, _) in self.replies {
                    refuse(reply, StoreError::Write { path: database.path().to_owned(), what: what.clone() });
                }
            }
        }
        self.revision
    }
}

fn refuse(reply: Reply, error: StoreError) {
    let _ = reply.send(Err(error));
}

/// Writes the revision into the object and serialises it, once for disk and all readers.
fn stamp(
    resource: Arc<str>,
    namespace: Arc<str>,
    name: Arc<str>,
    revision: u64,
    mut value: Value,
) -> Result<Object, StoreError> {
    let failed = |what: String| StoreError::Write { path: "(memory)".into(), what };
    let metadata = value
        .as_object_mut()
        .map(|object| object.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new())))
        .and_then(Value::as_object_mut)
        .ok_or_else(|| failed("the object has no metadata".into()))?;
    metadata.insert("resourceVersion".into(), Value::String(revision.to_string()));
    let json = serde_json::to_vec(&value).map_err(|error| failed(error.to_string()))?.into();
    Ok(Object { resource, namespace, name, revision, value, json })
}
