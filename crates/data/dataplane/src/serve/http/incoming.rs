//! What codecs hand over.

use http::{HeaderMap, Method};

use crate::message::Protocol;

/// A request head as a codec read it.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) authority: Option<String>,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) protocol: Protocol,
    pub(crate) expect_continue: bool,
}
