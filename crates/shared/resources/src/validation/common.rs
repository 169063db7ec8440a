//! Checks shared by the kinds.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::Report;
use crate::{
    duration::ProtoDuration,
    networking::{Percent, StringMatch},
};

/// Longest DNS name (RFC 1123).
const MAX_DNS_NAME: usize = 255;
/// Longest DNS label (RFC 1123).
const MAX_DNS_LABEL: usize = 63;

fn is_dns_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= MAX_DNS_LABEL
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// A DNS name without wildcard.
pub(super) fn is_fqdn(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    !name.is_empty() && name.len() <= MAX_DNS_NAME && name.split('.').all(is_dns_label)
}

/// A DNS name, `*`, or `*.` and a name; `*-x.y` is allowed as in Istio.
pub(super) fn is_wildcard_host(name: &str) -> bool {
    match name.strip_prefix('*') {
        Some("") => true,
        Some(rest) => is_fqdn(rest.strip_prefix('.').or_else(|| rest.strip_prefix('-')).unwrap_or("")),
        None => is_fqdn(name),
    }
}

pub(super) fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

pub(super) fn is_ip_or_cidr(text: &str) -> bool {
    is_ip(text) || text.parse::<ipnet::IpNet>().is_ok()
}

pub(super) fn host(report: &mut Report, path: &str, value: &str) {
    if value.is_empty() {
        report.error(path, "host is required");
    } else if !is_wildcard_host(value) {
        report.error(path, format!("{value:?} is not a DNS name (a wildcard may only be the first label)"));
    }
}

pub(super) fn port(report: &mut Report, path: &str, value: u32) {
    if !(1..=65535).contains(&value) {
        report.error(path, format!("port number {value} must be in the range 1..65535"));
    }
}

/// A duration that must be readable and at least `min`.
pub(super) fn duration(report: &mut Report, path: &str, value: Option<&ProtoDuration>, min: Duration) {
    let Some(value) = value else { return };
    match value.get() {
        None => report.error(path, format!("{:?} is not a duration; write for example 5s or 100ms", value.0)),
        Some(d) if d < min => report.error(path, format!("{} is too short; the least is {min:?}", value.0)),
        Some(d) if d.subsec_nanos() % 1_000_000 != 0 => {
            report.error(path, format!("{} is finer than a millisecond", value.0));
        }
        Some(_) => {}
    }
}

pub(super) fn percent(report: &mut Report, path: &str, value: Option<Percent>) {
    if let Some(Percent { value }) = value
        && !(0.0..=100.0).contains(&value)
    {
        report.error(path, format!("{value} must be in the range 0..100"));
    }
}

pub(super) fn int_percent(report: &mut Report, path: &str, value: Option<i64>) {
    if let Some(value) = value
        && !(0..=100).contains(&value)
    {
        report.error(path, format!("{value} must be in the range 0..100"));
    }
}

/// What the regular expressions of one object may cost together: ten of the largest, or thousands of usual ones. Every
/// proxy that sees the object makes an automaton of each.
const MAX_REGEX_COST: u64 = 10 * portolan_re2::MAX_COST;

pub(super) fn regex(report: &mut Report, path: &str, value: &str) {
    if value.is_empty() {
        return report.error(path, "regex must not be empty");
    }
    match portolan_re2::rewrite(value) {
        Err(error) => report.error(path, format!("is no regular expression: {error}")),
        Ok(rewritten) => {
            let together = report.add_regex_cost(rewritten.cost);
            // Said once, where it became too much.
            if together > MAX_REGEX_COST && together - rewritten.cost <= MAX_REGEX_COST {
                report.error(path, "the regular expressions of one object ask for too large automata: divide it, or match by prefix");
            }
        }
    }
}

/// One of exact, prefix, regex; `presence` allows none.
pub(super) fn string_match(report: &mut Report, path: &str, value: &StringMatch, presence: bool) {
    let set =
        [value.exact.is_some(), value.prefix.is_some(), value.regex.is_some()].iter().filter(|s| **s).count();
    if set > 1 {
        report.error(path, "only one of exact, prefix, regex may be set");
    }
    if set == 0 && !presence {
        report.error(path, "one of exact, prefix, regex is required");
    }
    if let Some(prefix) = &value.prefix
        && prefix.is_empty()
    {
        report.error(format!("{path}.prefix"), "prefix must not be empty");
    }
    if let Some(text) = &value.regex {
        regex(report, &format!("{path}.regex"), text);
    }
}

pub(super) fn labels(report: &mut Report, path: &str, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        if key.is_empty() {
            report.error(path, "label key must not be empty");
        }
        if value.len() > 63 || !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            report.error(format!("{path}[{key}]"), format!("{value:?} is not a label value"));
        }
    }
}

/// RFC 9110 5.1 field name; `pseudo` allows a leading colon.
pub(super) fn header_name(report: &mut Report, path: &str, name: &str, pseudo: bool) {
    let bare = if pseudo { name.strip_prefix(':').unwrap_or(name) } else { name };
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if bare.is_empty() || !bare.bytes().all(token) {
        report.error(path, format!("{name:?} is not a header name"));
    }
}

pub(super) fn export_to(report: &mut Report, path: &str, values: &[String]) {
    for (i, value) in values.iter().enumerate() {
        let ok = matches!(value.as_str(), "." | "*" | "~") || is_dns_label(value);
        if !ok {
            report
                .error(format!("{path}[{i}]"), format!("{value:?} is neither \".\", \"*\" nor a namespace"));
        }
        if values.iter().take(i).any(|v| v == value) {
            report.error(format!("{path}[{i}]"), format!("{value:?} is listed twice"));
        }
    }
    if values.len() > 1 && values.iter().any(|v| v == "*") {
        report.error(path, "\"*\" cannot be mixed with other namespaces");
    }
}

pub(super) fn one_of(report: &mut Report, path: &str, set: &[(&str, bool)], required: bool) {
    let names: Vec<&str> = set.iter().filter(|(_, s)| *s).map(|(n, _)| *n).collect();
    if names.len() > 1 {
        report.error(path, format!("only one of {} may be set", names.join(", ")));
    }
    if names.is_empty() && required {
        let all: Vec<&str> = set.iter().map(|(n, _)| *n).collect();
        report.error(path, format!("one of {} is required", all.join(", ")));
    }
}
