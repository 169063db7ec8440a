//! B3 fields (openzipkin/b3-propagation): `x-b3-traceid` and its like, or all in one `b3`.
//!
//! Where both are there `b3` counts. `x-b3-flags` says nothing here, as with Envoy, and passes.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::span::{Carrier, SpanContext};

const SINGLE: HeaderName = HeaderName::from_static("b3");
const TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");

/// What the fields of a request say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Incoming {
    /// `None`: the trace begins here.
    pub(super) ids: Option<Ids>,
    /// Whether the trace is recorded, if that is said.
    pub(super) sampled: Option<bool>,
    pub(super) carrier: Carrier,
}

/// The caller's span.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) trace: u128,
    pub(super) span: u64,
    pub(super) parent: Option<u64>,
}

/// Reads the fields. `None` when they are malformed.
pub(super) fn extract(headers: &HeaderMap) -> Option<Incoming> {
    if let Some(single) = headers.get(SINGLE) {
        return from_one(single.to_str().ok()?);
    }
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    // Old clients write `true`.
    let sampled = text(&SAMPLED).map(|sampled| matches!(sampled, "1" | "true"));
    let ids = match (text(&TRACE), text(&SPAN)) {
        (Some(trace), Some(span)) => {
            let parent = text(&PARENT).filter(|parent| !parent.is_empty());
            Some(Ids { trace: trace_id(trace)?, span: id(span)?, parent: optional_id(parent)? })
        }
        _ => None,
    };
    Some(Incoming { ids, sampled, carrier: Carrier::Many })
}

/// `0`, `1`, `d`, or `<trace>-<span>[-<0, 1 or d>[-<parent>]]`.
fn from_one(text: &str) -> Option<Incoming> {
    let recorded = |flag: &str| match flag {
        "0" => Some(false),
        "1" | "d" => Some(true),
        _ => None,
    };
    if text.len() == 1 {
        return Some(Incoming { ids: None, sampled: Some(recorded(text)?), carrier: Carrier::One });
    }
    let mut parts = text.split('-');
    let full = |part: &&str| part.len() == 16;
    let trace = parts.next().filter(|part| matches!(part.len(), 16 | 32)).and_then(trace_id)?;
    let span = parts.next().filter(full).and_then(id)?;
    let sampled = match parts.next() {
        None => None,
        Some(flag) => Some(recorded(flag)?),
    };
    let parent = match parts.next() {
        None => None,
        Some(parent) => optional_id(Some(parent).filter(full).map(Some)?)?,
    };
    if parts.next().is_some() {
        return None;
    }
    Some(Incoming { ids: Some(Ids { trace, span, parent }), sampled, carrier: Carrier::One })
}

/// Writes the fields.
pub(super) fn inject(context: &SpanContext, headers: &mut HeaderMap) {
    let sampled = if context.sampled { "1" } else { "0" };
    let mut set = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    };
    let (trace, span) = (trace_hex(context.trace), hex(context.span));
    match context.carrier {
        Carrier::Many => {
            set(TRACE, &trace);
            set(SPAN, &span);
            if let Some(parent) = context.parent {
                set(PARENT, &hex(parent));
            }
            set(SAMPLED, sampled);
        }
        Carrier::One => {
            let parent = context.parent.map(|parent| format!("-{}", hex(parent))).unwrap_or_default();
            set(SINGLE, &format!("{trace}-{span}-{sampled}{parent}"));
        }
    }
}

/// 16 digits, or 32 if the id needs more.
pub(super) fn trace_hex(id: u128) -> String {
    match u64::try_from(id) {
        Ok(id) => hex(id),
        Err(_) => format!("{id:032x}"),
    }
}

pub(super) fn hex(id: u64) -> String {
    format!("{id:016x}")
}

fn trace_id(text: &str) -> Option<u128> {
    match text.len() {
        32 if text.is_ascii() => {
            let (high, low) = text.split_at(16);
            Some(u128::from(id(high)?) << 64 | u128::from(id(low)?))
        }
        _ => id(text).map(u128::from),
    }
}

fn id(text: &str) -> Option<u64> {
    let digits = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// An id of zero is none.
fn optional_id(text: Option<&str>) -> Option<Option<u64>> {
    match text {
        None => Some(None),
        Some(text) => id(text).map(|id| Some(id).filter(|id| *id != 0)),
    }
}
