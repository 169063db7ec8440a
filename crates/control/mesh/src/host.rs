//! Host names: short names, wildcards, specificity (Istio 1.9 reference, Virtual Service).

use std::{cmp::Ordering, net::IpAddr};

/// Whether `host` begins with a wildcard.
pub fn is_wildcard(host: &str) -> bool {
    host.starts_with('*')
}

/// The full name of `host` as an object in `namespace` means it: names without a dot belong to that namespace,
/// everything else is taken as written.
pub fn resolve_short_name(host: &str, namespace: &str, domain: &str) -> String {
    if host.is_empty() || host.contains('.') || is_wildcard(host) || host.parse::<IpAddr>().is_ok() {
        return host.to_ascii_lowercase();
    }
    format!("{}.{namespace}.svc.{domain}", host.to_ascii_lowercase())
}

/// Whether `pattern` (a name, `*` or `*.suffix`) covers `host`, which may itself be a wildcard.
pub fn host_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        None => pattern == host,
        Some("") => true,
        Some(suffix) => {
            let host = host.strip_prefix('*').unwrap_or(host);
            // `*.a.b` covers `x.a.b` and `*.a.b`, not `a.b`.
            host.ends_with(suffix) && (host.len() > suffix.len() || host.starts_with('.'))
        }
    }
}

/// Whether some name is covered by both.
pub fn hosts_intersect(a: &str, b: &str) -> bool {
    host_matches(a, b) || host_matches(b, a)
}

/// Order by specificity, the most specific first: names before wildcards, longer wildcards before shorter ones, then
/// alphabetical.
pub fn host_specificity(a: &str, b: &str) -> Ordering {
    is_wildcard(a).cmp(&is_wildcard(b)).then_with(|| b.len().cmp(&a.len())).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches() {
        for (pattern, host, expected) in [
            ("a.b", "a.b", true),
            ("*", "a.b", true),
            ("*.b", "a.b", true),
            ("*.b", "b", false),
            ("*.b", "*.a.b", true),
            ("*.a.b", "*.b", false),
            ("*.b", "*.b", true),
            ("*b", "ab", true),
            ("*b", "b", false),
            ("*.b", "xb", false),
            ("a.b", "*.b", false),
        ] {
            assert_eq!(host_matches(pattern, host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn patterns_intersect_when_one_covers_the_other() {
        for (a, b, expected) in [
            ("a.b", "a.b", true),
            ("*.b", "a.b", true),
            ("a.b", "*.b", true),
            ("a.b", "c.b", false),
            ("*.a", "*.b", false),
        ] {
            assert_eq!(hosts_intersect(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn most_specific_first() {
        let mut hosts = ["*", "*.b", "a.b", "*.a.b", "c.a.b"];
        hosts.sort_by(|a, b| host_specificity(a, b));
        assert_eq!(hosts, ["c.a.b", "a.b", "*.a.b", "*.b", "*"]);
    }

    #[test]
    fn short_names() {
        assert_eq!(resolve_short_name("Reviews", "ns", "cluster.local"), "reviews.ns.svc.cluster.local");
        for kept in ["reviews.ns", "*", "*.x", "10.0.0.1", "::1", ""] {
            assert_eq!(resolve_short_name(kept, "ns", "cluster.local"), kept);
        }
    }
}
