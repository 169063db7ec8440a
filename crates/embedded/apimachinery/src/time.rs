//! Times of the API: RFC 3339 text to and from seconds since the Unix epoch. Nothing here reads a clock.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;

/// RFC 3339 section 5.6; jiff reads more than that.
static RFC_3339: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)$").ok());

/// Formats seconds since the epoch as `metav1.Time` does: `2024-05-01T12:00:00Z`. Years beyond 9999 have no such
/// form and become the last moment before them.
pub fn format(seconds: i64) -> String {
    timestamp(seconds).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Formats as `metav1.MicroTime` does: six digits of fraction.
pub fn format_micro(seconds: i64, nanos: u32) -> String {
    let text = format(seconds);
    format!("{}.{:06}Z", text.trim_end_matches('Z'), nanos / 1000)
}

fn timestamp(seconds: i64) -> Timestamp {
    let nearest = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(seconds).unwrap_or(nearest)
}

/// Parses RFC 3339 with `Z` or an offset, fractions dropped; `None` when malformed.
pub fn parse(text: &str) -> Option<i64> {
    let parts = RFC_3339.as_ref()?.captures(text)?;
    let whole = format!("{}{}", parts.get(1)?.as_str(), parts.get(2)?.as_str());
    Some(whole.parse::<Timestamp>().ok()?.as_second())
}

/// How kubectl prints an age: `5s`, `3m20s`, `45m`, `7h12m`, `2d3h`, `12d`, `3y20d`.
pub fn human_duration(seconds: i64) -> String {
    let s = seconds;
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    let (minutes, hours, days) = (s / 60, s / 3600, s / 86_400);
    if s < -1 {
        "<invalid>".into()
    } else if s < 0 {
        "0s".into()
    } else if s < 120 {
        format!("{s}s")
    } else if minutes < 10 {
        two(minutes, "m", s % 60, "s")
    } else if minutes < 180 {
        format!("{minutes}m")
    } else if hours < 8 {
        two(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 192 {
        two(days, "d", hours % 24, "h")
    } else if days < 730 {
        format!("{days}d")
    } else if days < 8 * 365 {
        two(days / 365, "y", days % 365, "d")
    } else {
        format!("{}y", days / 365)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2024-02-29T23:59:59Z", 1_709_251_199),
            ("2000-03-01T00:00:00Z", 951_868_800),
            ("1969-12-31T23:59:59Z", -1),
        ] {
            assert_eq!(parse(text), Some(seconds), "{text}");
            assert_eq!(format(seconds), text);
        }
        assert_eq!(parse("2024-02-29T23:59:59.123456+02:00"), Some(1_709_251_199 - 7200));
        for bad in [
            "",
            "2024-02-29",
            "2024-13-01T00:00:00Z",
            "2024-02-30T00:00:00Z",
            "2024-02-29T23:59:59",
            "2024-02-29T23:59:59+2",
            "2024-02-29T23:59Z",
            "2024-02-29 23:59:59Z",
            "2024-02-29T23:59:59Z[UTC]",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse("2024-02-29T23:59:59.1234567890123Z"), Some(1_709_251_199));
        assert!(format(i64::MAX).starts_with("9999-"));
        assert_eq!(format_micro(0, 123_456_789), "1970-01-01T00:00:00.123456Z");
    }

    #[test]
    fn ages_read_as_in_kubectl() {
        for (seconds, want) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (200, "3m20s"),
            (600, "10m"),
            (7200, "120m"),
            (11_520, "3h12m"),
            (100_000, "27h"),
            (180_000, "2d2h"),
            (864_000, "10d"),
            (86_400_000, "2y270d"),
        ] {
            assert_eq!(human_duration(seconds), want, "{seconds}");
        }
    }
}
