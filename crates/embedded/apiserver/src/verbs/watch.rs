//! Watching: the changes of a resource, as they come (Kubernetes documentation, "Efficient detection of changes").

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use portolan_apimachinery::{ApiStatus, Resource};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::list::{Selection, scope};
use crate::api::Api;
use crate::call::Call;
use crate::http;
use crate::keys::storage_key;
use crate::limits;
use crate::long_running::LongRunningPermit;
use crate::negotiate::Form;
use crate::request::Query;
use crate::respond::{self, Answer};
use crate::store::{Cursor, Event, Object, StoreError};

/// Bytes that are written at once before the client has taken them; one event may be larger.
const PIECE: usize = 16 << 10;
/// Bytes of an object from which on its text is not copied.
const SHARED: usize = 4 << 10;
/// Marks the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

pub(crate) fn watch(api: &Api, call: &Call) -> Result<Answer, ApiStatus> {
    let form = call.form()?;
    let query = call.query();
    let selection = Selection::of(&call.resource, query)?;
    let permit = api.long_running.take(&call.user.name)?;
    let key = storage_key(&call.resource);
    let wanted = query.number::<u64>("resourceVersion")?.unwrap_or(0);
    let send_initial = query.flag("sendInitialEvents");
    let current = api.store.revision();
    if wanted > current {
        return Err(ApiStatus::too_large_resource_version(wanted, current));
    }
    let mut waiting = VecDeque::new();
    let namespace = scope(call).map(str::to_owned);
    let shape = Shape { resource: call.resource.clone(), form, query: query.clone(), columns_sent: false };
    let cursor = if wanted == 0 || send_initial {
        let (items, cursor) = api.store.list_and_watch(&key, namespace.as_deref());
        waiting.extend(items.into_iter().filter(|item| selection.keeps(item)).map(Waiting::Initial));
        if send_initial && query.flag("allowWatchBookmarks") {
            waiting.push_back(Waiting::Bookmark(cursor.position(), true));
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
        pieces: Pieces::default(),
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

/// What is to be sent and is not written yet. The objects are the store's own: a client that does not read costs a
/// pointer for each of them.
enum Waiting {
    /// An object that was there when the watch began.
    Initial(Arc<Object>),
    Event(Arc<Event>),
    /// The revision, and whether it ends the initial events.
    Bookmark(u64, bool),
    Error(ApiStatus),
}

struct Watcher {
    cursor: Cursor,
    selection: Selection,
    namespace: Option<String>,
    shape: Shape,
    waiting: VecDeque<Waiting>,
    pieces: Pieces,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    ended: bool,
    stop: CancellationToken,
    _permit: LongRunningPermit,
}

impl Watcher {
    /// What is sent next; `None` ends the stream. It is asked for when what came before has been sent.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            // What is written goes first: the next is written when it has gone.
            if let Some(bytes) = self.pieces.take().or_else(|| self.written()) {
                return Some(bytes);
            }
            if self.ended {
                return None;
            }
            match self.cursor.take() {
                Ok(events) if events.is_empty() => {}
                Ok(events) => {
                    self.waiting.extend(events.into_iter().map(Waiting::Event));
                    continue;
                }
                Err(StoreError::Expired { wanted, oldest }) => {
                    self.ended = true;
                    self.waiting.push_back(Waiting::Error(ApiStatus::too_old(wanted, oldest)));
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
                    self.waiting.push_back(Waiting::Bookmark(self.cursor.position(), false));
                }
            }
        }
    }

    /// Writes some of what waits; `None` when nothing is left that the client is to see.
    fn written(&mut self) -> Option<Bytes> {
        while self.pieces.len < PIECE
            && let Some(waiting) = self.waiting.pop_front()
        {
            match waiting {
                Waiting::Initial(object) => self.shape.event("ADDED", &object, &mut self.pieces),
                Waiting::Event(event) => self.seen(&event),
                Waiting::Bookmark(revision, ends) => {
                    self.shape.bookmark(revision, ends, &mut self.pieces);
                }
                Waiting::Error(status) => {
                    self.pieces.line("ERROR", status.to_value().to_string().as_bytes());
                }
            }
        }
        self.pieces.take()
    }

    /// The event as this watcher sees it: what stops to match is deleted, what starts to match is added.
    fn seen(&mut self, event: &Event) {
        if self.namespace.as_ref().is_some_and(|namespace| **namespace != *event.object.namespace) {
            return;
        }
        let before = event.previous.as_ref().filter(|previous| self.selection.keeps(previous));
        let after = !event.deleted && self.selection.keeps(&event.object);
        let kind = match (before, after) {
            (None, true) => "ADDED",
            (Some(_), true) => "MODIFIED",
            (Some(_), false) if event.deleted => "DELETED",
            (Some(last), false) => return self.shape.left(last, event.revision, &mut self.pieces),
            (None, false) => return,
        };
        self.shape.event(kind, &event.object, &mut self.pieces);
    }
}

/// What is written and not yet sent: small things together, large ones as the store has them.
#[derive(Default)]
struct Pieces {
    done: VecDeque<Bytes>,
    open: BytesMut,
    /// Bytes of all.
    len: usize,
}

impl Pieces {
    /// `{"type":...,"object":...}` and a line end.
    fn line(&mut self, kind: &str, object: &[u8]) {
        self.begin(kind);
        self.put(object);
        self.put(b"}\n");
    }

    /// The same of a text that is shared with whoever else sends it.
    fn shared_line(&mut self, kind: &str, object: &Bytes) {
        if object.len() < SHARED {
            return self.line(kind, object);
        }
        self.begin(kind);
        self.done.push_back(self.open.split().freeze());
        self.len += object.len();
        self.done.push_back(object.clone());
        self.put(b"}\n");
    }

    fn begin(&mut self, kind: &str) {
        self.put(b"{\"type\":\"");
        self.put(kind.as_bytes());
        self.put(b"\",\"object\":");
    }

    fn put(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        self.open.put_slice(bytes);
    }

    fn take(&mut self) -> Option<Bytes> {
        let piece = match self.done.pop_front() {
            Some(piece) => piece,
            None if self.open.is_empty() => return None,
            None => self.open.split().freeze(),
        };
        self.len -= piece.len();
        Some(piece)
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
    fn event(&mut self, kind: &str, object: &Object, to: &mut Pieces) {
        if self.form == Form::Object {
            return to.shared_line(kind, &respond::served_json(&self.resource, object));
        }
        self.value(kind, &respond::served(&self.resource, object), to);
    }

    fn value(&mut self, kind: &str, object: &Value, to: &mut Pieces) {
        let shown = respond::shown(&self.resource, self.form, &self.query, object, !self.columns_sent);
        self.columns_sent = true;
        to.line(kind, shown.to_string().as_bytes());
    }

    /// An object that no longer matches: its last matching state, at the revision of the change.
    fn left(&mut self, last: &Object, revision: u64, to: &mut Pieces) {
        let mut object = respond::served(&self.resource, last);
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        self.value("DELETED", &object, to);
    }

    fn bookmark(&mut self, revision: u64, initial_end: bool, to: &mut Pieces) {
        let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let object = json!({
            "kind": self.resource.kind, "apiVersion": self.resource.api_version(), "metadata": metadata,
        });
        match self.form {
            Form::Table => self.value("BOOKMARK", &object, to),
            _ => to.line("BOOKMARK", object.to_string().as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_texts_are_sent_as_they_are_stored() {
        let (large, small) = (Bytes::from("x".repeat(SHARED)), Bytes::from_static(b"{}"));
        let mut pieces = Pieces::default();
        pieces.shared_line("ADDED", &small);
        pieces.shared_line("ADDED", &large);
        pieces.line("DELETED", b"{}");
        let sent: Vec<Bytes> = std::iter::from_fn(|| pieces.take()).collect();
        assert!(sent.iter().any(|piece| piece.as_ptr() == large.as_ptr()), "it was copied");
        let large = "x".repeat(SHARED);
        let want = format!(
            "{{\"type\":\"ADDED\",\"object\":{{}}}}\n{{\"type\":\"ADDED\",\"object\":{large}}}\n{{\"type\":\"DELETED\",\"object\":{{}}}}\n"
        );
        assert_eq!(sent.concat(), want.as_bytes());
        assert_eq!(pieces.len, 0);
    }
}
