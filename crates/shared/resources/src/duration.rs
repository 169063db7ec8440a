//! Durations as users write them.

use std::{borrow::Cow, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A duration in text form: protobuf JSON (`1.5s`) or Go's (`1h2m3s`, `100ms`), both of which Istio accepts.
///
/// It stays text so that an object with a bad duration can still be read, shown and reported by validation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProtoDuration(pub String);

impl ProtoDuration {
    /// The duration, or `None` when the text is not one (negative ones are not either).
    pub fn get(&self) -> Option<Duration> {
        parse(&self.0)
    }
}

impl From<Duration> for ProtoDuration {
    fn from(value: Duration) -> Self {
        let nanos = value.subsec_nanos();
        if nanos == 0 {
            return Self(format!("{}s", value.as_secs()));
        }
        let fraction = format!("{nanos:09}");
        Self(format!("{}.{}s", value.as_secs(), fraction.trim_end_matches('0')))
    }
}

impl From<&str> for ProtoDuration {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl JsonSchema for ProtoDuration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "Duration, for example 5s, 100ms or 1h30m." })
    }
}

/// Parses Go's duration grammar without sign: one or more of `<decimal><unit>`.
fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_len);
        let value: f64 = number.parse().ok()?;
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_len);
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += value * scale;
        rest = next;
    }
    // Rounded to whole nanoseconds, so that `0.1s` is exactly 100 ms.
    let nanos = (total * 1e9).round();
    if !(0.0..=u64::MAX as f64).contains(&nanos) {
        return None;
    }
    Some(Duration::from_nanos(nanos as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms() {
        for (text, millis) in [
            ("5s", 5000),
            ("1.5s", 1500),
            ("100ms", 100),
            ("1h2m3s", 3_723_000),
            ("0s", 0),
            ("0", 0),
            ("0.1s", 100),
            ("2000us", 2),
            ("2000\u{b5}s", 2),
            ("2000\u{3bc}s", 2),
            ("3000000ns", 3),
        ] {
            assert_eq!(ProtoDuration::from(text).get(), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "5", "s", "-1s", "1x", "1s1", "..s"] {
            assert_eq!(ProtoDuration::from(bad).get(), None, "{bad}");
        }
        assert_eq!(ProtoDuration::from(Duration::from_millis(1500)).0, "1.5s");
    }

    #[test]
    fn its_schema_is_a_text_in_place() {
        #[derive(JsonSchema)]
        #[allow(dead_code, reason = "only its schema is looked at")]
        struct Waits {
            timeout: ProtoDuration,
        }
        let alone = serde_json::to_value(schemars::schema_for!(ProtoDuration)).unwrap();
        assert_eq!((&alone["title"], &alone["type"]), (&"Duration".into(), &"string".into()));
        let inside = serde_json::to_value(schemars::schema_for!(Waits)).unwrap();
        assert_eq!(inside["properties"]["timeout"]["type"], "string");
        assert!(inside.get("$defs").is_none());
    }
}
