//! The server's half of the transport: one state machine per connection, for all types on it.
//!
//! The caller does the waiting: it feeds requests in and learns which types want an answer ([`DeltaStream::respond`]),
//! says which names may have changed ([`DeltaStream::update`]), or that it no longer knows which
//! ([`DeltaStream::resync`]). The stream takes what it needs from a [`Source`] and works out what the client lacks: what
//! is asked for, and what a change costs, is as much as was asked for or has changed, however much the client holds. A
//! stream never sends a version twice to a client that has it, unless the client asks for it again.

mod compare;
mod delta;
mod sent;
mod sotw;
mod source;
mod stream;
mod watch;

pub use delta::{Delta, DeltaStream};
pub use sotw::{Sotw, SotwStream};
pub use source::{Collected, Source};
pub use stream::Stream;
pub use watch::{Status, Watch};

use std::sync::Arc;

use crate::type_url;

/// Types that one stream may watch; Envoy uses about ten.
pub const MAX_TYPES: usize = 32;

/// Names that one stream may watch explicitly per type.
pub const MAX_NAMES: usize = 100_000;

/// Responses of one type that may wait for an answer; more are held back by [`DeltaStream::blocked`].
pub const MAX_OUTSTANDING: usize = 64;

/// Longest text of a rejection that is kept.
pub const MAX_ERROR_TEXT: usize = 2048;

/// In which order a change is sent, so that a proxy never learns of a name before the thing itself (make before
/// break): clusters, their endpoints, listeners, their routes, the virtual hosts of these, secrets, then everything else.
pub const PUSH_ORDER: &[&str] = &[
    type_url::CLUSTER,
    type_url::ENDPOINT,
    type_url::LISTENER,
    type_url::ROUTE,
    type_url::VIRTUAL_HOST,
    type_url::SECRET,
];

/// What a request said about an earlier response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: it opens or changes a subscription.
    None,
    /// The response was taken.
    Ack,
    /// The response was refused; the client keeps what it had.
    Nack(String),
    /// It answers a response that has been replaced since, or one that never was.
    Expired,
}

/// What a request means to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The type that it is about.
    pub type_url: Arc<str>,
    /// The answer in it to an earlier response.
    pub answer: Answer,
    /// The first request for this type on this stream.
    pub first: bool,
    /// The client asked for something: it is owed a response ([`DeltaStream::respond`]) though nothing changed.
    pub respond: bool,
}

/// A request that ends the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The type is missing.
    #[error("the request names no resource type (type_url is empty)")]
    NoType,
    /// Too many types.
    #[error("a stream may watch at most {MAX_TYPES} resource types")]
    TooManyTypes,
    /// Too many names.
    #[error("a stream may watch at most {MAX_NAMES} resources of {0} by name")]
    TooManyNames(Arc<str>),
}

/// Whether a first request without names asks for everything: so for all types but those which are always asked for
/// by name.
pub fn wildcard_by_default(type_url: &str) -> bool {
    ![type_url::ENDPOINT, type_url::ROUTE, type_url::SECRET, type_url::EXTENSION_CONFIG].contains(&type_url)
}

/// Sorts types by [`PUSH_ORDER`], others after it by name.
pub fn sort_by_push_order<T: AsRef<str>>(types: &mut [T]) {
    types.sort_by(|a, b| {
        let rank = |t: &T| PUSH_ORDER.iter().position(|p| *p == t.as_ref()).unwrap_or(PUSH_ORDER.len());
        rank(a).cmp(&rank(b)).then_with(|| a.as_ref().cmp(b.as_ref()))
    });
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_ERROR_TEXT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Control characters in names would end up in logs and error texts; long names in memory.
const MAX_NAME_LENGTH: usize = 1024;

fn usable_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_LENGTH
}
