//! Watching: the changes of a resource, as they come (Kubernetes documentation, "Efficient detection of changes").

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use portolan_apimachinery::{ApiStatus, Resource};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::list::{Selection, scope};
use crate::api::Api;
use crate::call::Call;
use crate::http;
use crate::keys::storage_key;
use crate::limits;
use crate::negotiate::Form;
use crate::request::Query;
use crate::respond::{self, Answer};
use crate::store::{Cursor, Event, Object, StoreError};

/// Marks the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

pub(crate) fn watch(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let form = call.form()?;
    let query = call.query();
    let selection = Selection::of(&call.resource, query)?;
    let permit = api
        .long_running
        .clone()
        .try_acquire_owned()
        .map_err(|_| ApiStatus::too_many_requests("too many watches, please try again later", 1))?;
    let key = storage_key(&call.resource);
    let wanted = query.number::<u64>("resourceVersion")?.unwrap_or(0);
    let send_initial = query.flag("sendInitialEvents");
    let current = api.store.revision();
    if wanted > current {
        return Err(ApiStatus::too_large_resource_version(wanted, current));
    }
    let mut waiting = VecDeque::new();
    let namespace = scope(call).map(str::to_owned);
    let mut shape =
        Shape { resource: call.resource.clone(), form, query: query.clone(), columns_sent: false };
    let cursor = if wanted == 0 || send_initial {
        let (items, cursor) = api.store.list_and_watch(&key, namespace.as_deref());
        for item in items.iter().filter(|item| selection.keeps(item)) {
            waiting.push_back(shape.event("ADDED", item));
        }
        if send_initial && query.flag("allowWatchBookmarks") {
            waiting.push_back(shape.bookmark(cursor.position(), true));
        }
        cursor
    } else {
        api.store.watch(&key, wanted).map_err(|error| match error {
            StoreError::Expired { wanted, oldest } => ApiStatus::too_old(wanted, oldest),
            other => ApiStatus::internal(other.to_string()),
        })?
    };
    let seconds = query.number::<u64>("timeoutSeconds")?.filter(|seconds| *seconds > 0);
    let limit = seconds.map_or(limits::WATCH_TIMEOUT, Duration::from_secs).min(limits::WATCH_TIMEOUT);
    let watcher = Watcher {
        cursor,
        selection,
        namespace,
        shape,
        waiting,
        bookmarks: query.flag("allowWatchBookmarks"),
        next_bookmark: Instant::now() + limits::BOOKMARK_INTERVAL,
        end: Instant::now() + limit,
        ended: false,
        stop: api.stop.clone(),
        _permit: permit,
    };
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        let bytes = watcher.next().await?;
        Some((Ok::<_, io::Error>(bytes), watcher))
    });
    let mut answer = respond::bytes(200, respond::JSON, Bytes::new());
    *answer.body_mut() = http::stream(stream);
    Ok(answer)
}

struct Watcher {
    cursor: Cursor,
    selection: Selection,
    namespace: Option<String>,
    shape: Shape,
    /// Events that are made and not yet sent.
    waiting: VecDeque<Bytes>,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    ended: bool,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Watcher {
    /// What is sent next; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.waiting.is_empty() {
                let size = self.waiting.iter().map(Bytes::len).sum();
                let mut together = BytesMut::with_capacity(size);
                for event in self.waiting.drain(..) {
                    together.put_slice(&event);
                }
                return Some(together.freeze());
            }
            if self.ended {
                return None;
            }
            match self.cursor.take() {
                Ok(events) if events.is_empty() => {}
                Ok(events) => {
                    for event in events {
                        if let Some(bytes) = self.seen(&event) {
                            self.waiting.push_back(bytes);
                        }
                    }
                    continue;
                }
                Err(StoreError::Expired { wanted, oldest }) => {
                    self.ended = true;
                    let status = ApiStatus::too_old(wanted, oldest).to_value();
                    self.waiting.push_back(line("ERROR", status.to_string().as_bytes()));
                    continue;
                }
                Err(_) => return None,
            }
            tokio::select! {
                changed = self.cursor.changed() => changed.ok()?,
                () = self.stop.cancelled() => return None,
                () = sleep_until(self.end) => return None,
                () = sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + limits::BOOKMARK_INTERVAL;
                    let bookmark = self.shape.bookmark(self.cursor.position(), false);
                    self.waiting.push_back(bookmark);
                }
            }
        }
    }

    /// The event as this watcher sees it: what stops to match is deleted, what starts to match is added.
    fn seen(&mut self, event: &Event) -> Option<Bytes> {
        if self.namespace.as_ref().is_some_and(|namespace| **namespace != *event.object.namespace) {
            return None;
        }
        let before = event.previous.as_ref().filter(|previous| self.selection.keeps(previous));
        let after = !event.deleted && self.selection.keeps(&event.object);
        match (before, after) {
            (None, true) => Some(self.shape.event("ADDED", &event.object)),
            (Some(_), true) => Some(self.shape.event("MODIFIED", &event.object)),
            (Some(_), false) if event.deleted => Some(self.shape.event("DELETED", &event.object)),
            (Some(last), false) => Some(self.shape.left(last, event.revision)),
            (None, false) => None,
        }
    }
}

/// How events are written.
struct Shape {
    resource: Arc<Resource>,
    form: Form,
    query: Query,
    columns_sent: bool,
}

impl Shape {
    fn event(&mut self, kind: &str, object: &Object) -> Bytes {
        if self.form == Form::Object {
            return line(kind, &respond::served_json(&self.resource, object));
        }
        self.value(kind, &respond::served(&self.resource, object))
    }

    fn value(&mut self, kind: &str, object: &Value) -> Bytes {
        let shown = respond::shown(&self.resource, self.form, &self.query, object, !self.columns_sent);
        self.columns_sent = true;
        line(kind, shown.to_string().as_bytes())
    }

    /// An object that no longer matches: its last matching state, at the revision of the change.
    fn left(&mut self, last: &Object, revision: u64) -> Bytes {
        let mut object = respond::served(&self.resource, last);
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        self.value("DELETED", &object)
    }

    fn bookmark(&mut self, revision: u64, initial_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let object = json!({
            "kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata,
        });
        match self.form {
            Form::Table => self.value("BOOKMARK", &object),
            _ => line("BOOKMARK", object.to_string().as_bytes()),
        }
    }
}

/// `{"type":...,"object":...}` and a line end.
fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut text = BytesMut::with_capacity(object.len() + 40);
    text.put_slice(b"{\"type\":\"");
    text.put_slice(kind.as_bytes());
    text.put_slice(b"\",\"object\":");
    text.put_slice(object);
    text.put_slice(b"}\n");
    text.freeze()
}
