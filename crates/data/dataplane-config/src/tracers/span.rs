//! Spans: where a request stands in its trace, and what is reported of it at its end.

use std::borrow::Cow;
use std::net::IpAddr;

/// Bytes of a tag's value and of a span's name; what is longer is cut. Fields of requests can be as long as a head.
pub const MAX_TEXT: usize = 4096;

/// Which side of a call a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Of who calls.
    Client,
    /// Of who is called.
    Server,
}

/// How the next hop is told of a trace, where a tracer knows several ways: the one by which it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// Fields of their own for each part.
    Many,
    /// All in one field.
    One,
}

/// A span and its place in the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace; one of 64 bits has nothing in the upper half.
    pub trace: u128,
    /// The span.
    pub span: u64,
    /// The span that this one is part of.
    pub parent: Option<u64>,
    /// Whether the trace is recorded. One that is not is carried on all the same, so that nobody else records it.
    pub sampled: bool,
    /// Which side of the call it is of.
    pub kind: SpanKind,
    /// Client and server of the call use the same span.
    pub shared: bool,
    /// How the next hop is told.
    pub carrier: Carrier,
}

/// A span that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Its place in the trace.
    pub context: SpanContext,
    /// What was done.
    pub name: String,
    /// When it began, in microseconds since the epoch.
    pub start: u64,
    /// How long it took, in microseconds.
    pub duration: u64,
    /// What else is known.
    pub tags: Tags,
}

/// Who reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name of the service: the node's cluster.
    pub service: String,
    /// Address of the node.
    pub address: IpAddr,
}

/// Named values, each name once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(Vec<(Cow<'static, str>, String)>);

impl Tags {
    /// Sets one, within [`MAX_TEXT`]; an empty value is no tag.
    pub fn set(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        let (name, value) = (name.into(), bounded(value.into()));
        if value.is_empty() {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }
}

/// The text within [`MAX_TEXT`].
pub fn bounded(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
    }
    text
}
