//! Durations as Go writes them (`24h0m0s`, `1.5s`, `300ms`), which covers protobuf's JSON form (`45s`) too.

use std::time::Duration;

/// Parses a non-negative duration. `None` when the text is not one.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let unit_len = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let factor = match rest.get(..unit_len)? {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number * factor;
        rest = rest.get(unit_len..)?;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_and_protobuf_forms() {
        for (text, millis) in [
            ("45s", Some(45_000)),
            ("24h0m0s", Some(86_400_000)),
            ("1h30m", Some(5_400_000)),
            ("300ms", Some(300)),
            ("0.5s", Some(500)),
            ("0", Some(0)),
            ("", None),
            ("12", None),
            ("5 s", None),
            ("-3s", None),
            ("3y", None),
        ] {
            assert_eq!(parse(text).map(|d| d.as_millis()), millis, "{text}");
        }
    }
}
