//! Which hosts a virtual host is for.

use std::fmt;
use std::sync::Arc;

/// One of a virtual host's `domains`, in lower case. Cheap to clone: tables share the text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Domain {
    /// This name, with the port if there is one.
    Exact(Arc<str>),
    /// `*` and this text.
    Suffix(Arc<str>),
    /// This text and `*`.
    Prefix(Arc<str>),
    /// `*`.
    Any,
}

impl Domain {
    /// Reads a domain as it stands in the message.
    pub fn new(text: &str) -> Domain {
        let text = text.to_ascii_lowercase();
        if text == "*" {
            Domain::Any
        } else if let Some(suffix) = text.strip_prefix('*') {
            Domain::Suffix(suffix.into())
        } else if let Some(prefix) = text.strip_suffix('*') {
            Domain::Prefix(prefix.into())
        } else {
            Domain::Exact(text.into())
        }
    }
}

/// As it stands in the message, quoted and escaped.
impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Exact(text) => write!(f, "{text:?}"),
            Domain::Suffix(text) => write!(f, "{:?}", format!("*{text}")),
            Domain::Prefix(text) => write!(f, "{:?}", format!("{text}*")),
            Domain::Any => f.write_str("\"*\""),
        }
    }
}
