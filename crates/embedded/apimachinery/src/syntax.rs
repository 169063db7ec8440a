//! Syntax of names, labels and the like. Each check returns what is wrong, in the words of the real server.

/// DNS-1123 label: at most 63 of lower case letters, digits and `-`.
pub fn dns_label(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(too_long(63));
    }
    let ok = is_edge_alphanumeric(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit(), b"-");
    (!ok).then(|| {
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')".into()
    })
}

/// DNS-1035 label (service names): as [`dns_label`] but starting with a letter.
pub fn dns_1035_label(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(too_long(63));
    }
    let ok = is_edge_alphanumeric(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit(), b"-")
        && text.starts_with(|c: char| c.is_ascii_lowercase());
    (!ok).then(|| {
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')".into()
    })
}

/// DNS-1123 subdomain: labels joined by dots, at most 253 characters.
pub fn dns_subdomain(text: &str) -> Option<String> {
    if text.len() > 253 {
        return Some(too_long(253));
    }
    let ok = text
        .split('.')
        .all(|part| is_edge_alphanumeric(part, |b| b.is_ascii_lowercase() || b.is_ascii_digit(), b"-"));
    (!ok).then(|| {
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".into()
    })
}

/// A name that is one path segment (RBAC objects).
pub fn path_segment(text: &str) -> Option<String> {
    if matches!(text, "." | "..") {
        return Some(format!("may not be '{text}'"));
    }
    ["/", "%"].iter().find(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'"))
}

/// A label or annotation key: `[prefix/]name`.
pub fn qualified(text: &str) -> Option<String> {
    const WHAT: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    let name = match text.split_once('/') {
        None => text,
        Some((prefix, name)) => {
            if prefix.is_empty() {
                return Some("prefix part must be non-empty".into());
            }
            if let Some(why) = dns_subdomain(prefix) {
                return Some(format!("prefix part {why}"));
            }
            name
        }
    };
    if name.is_empty() {
        return Some(format!("name part must be non-empty; {WHAT}"));
    }
    if name.len() > 63 {
        return Some(format!("name part {}", too_long(63)));
    }
    (!is_edge_alphanumeric(name, |b| b.is_ascii_alphanumeric(), b"-_.")).then(|| WHAT.into())
}

/// A label value: empty, or at most 63 of letters, digits, `-`, `_`, `.`.
pub fn label_value(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some(too_long(63));
    }
    let ok = text.is_empty() || is_edge_alphanumeric(text, |b| b.is_ascii_alphanumeric(), b"-_.");
    (!ok).then(|| {
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')".into()
    })
}

/// A port name: at most 15 lower case letters, digits, `-`, with a letter, no double or outer hyphen.
pub fn port_name(text: &str) -> Option<String> {
    if text.len() > 15 {
        return Some(too_long(15));
    }
    let ok = is_edge_alphanumeric(text, |b| b.is_ascii_lowercase() || b.is_ascii_digit(), b"-");
    if !ok {
        return Some("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), and must begin and end with an alpha-numeric character".into());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Some("must contain at least one letter (a-z)".into());
    }
    text.contains("--").then(|| "must not contain consecutive hyphens".into())
}

/// The name of an environment variable.
pub fn environment_variable(text: &str) -> Option<String> {
    let ok = !text.is_empty() && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=');
    (!ok).then(|| {
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .into()
    })
}

/// A key of a ConfigMap or Secret.
pub fn config_key(text: &str) -> Option<String> {
    if text.len() > 253 {
        return Some(too_long(253));
    }
    let ok = !text.is_empty()
        && text != "."
        && !text.starts_with("..")
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (!ok).then(|| "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')".into())
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn is_edge_alphanumeric(text: &str, edge: impl Fn(u8) -> bool, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    edge(*first) && edge(*last) && bytes.iter().all(|b| edge(*b) || inner.contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_syntax() {
        let long = "a".repeat(64);
        for (check, good, bad) in [
            (
                dns_label as fn(&str) -> Option<String>,
                vec!["a", "a-1", "1a"],
                vec!["", "A", "-a", "a-", "a.b", &long],
            ),
            (dns_1035_label, vec!["a", "a-1"], vec!["1a", "", "a_b"]),
            (dns_subdomain, vec!["a.b-c.d", "1"], vec!["a..b", ".a", "A.b", "a_b"]),
            (
                qualified,
                vec!["a", "A_b.c", "x.io/y", "istio.io/rev"],
                vec!["", "/a", "X.io/y", "a/", "a/b/c", "-a"],
            ),
            (label_value, vec!["", "A-b_c.d"], vec!["a b", "-a", &long]),
            (port_name, vec!["http", "http-2"], vec!["", "123", "a--b", "HTTP", "a-very-long-port-name"]),
            (config_key, vec!["a.b", "_A-"], vec!["", ".", "..a", "a/b"]),
            (path_segment, vec!["system:x", "a.b"], vec!["..", "a/b", "a%"]),
        ] {
            good.iter().for_each(|g| assert_eq!(check(g), None, "{g}"));
            bad.iter().for_each(|b| assert!(check(b).is_some(), "{b}"));
        }
    }

    #[test]
    fn names_have_a_longest_length() {
        for (check, most) in [
            (dns_label as fn(&str) -> Option<String>, 63),
            (dns_1035_label, 63),
            (dns_subdomain, 253),
            (qualified, 63),
            (label_value, 63),
            (port_name, 15),
            (config_key, 253),
        ] {
            assert_eq!(check(&"a".repeat(most)), None, "{most}");
            let why = check(&"a".repeat(most + 1)).unwrap();
            assert!(why.ends_with(&format!("must be no more than {most} characters")), "{why}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (why, want) in [
            (path_segment("."), "may not be '.'"),
            (path_segment("a/b"), "may not contain '/'"),
            (path_segment("a%b"), "may not contain '%'"),
            (qualified("/a"), "prefix part must be non-empty"),
            (qualified("X/a"), "prefix part a lowercase RFC 1123 subdomain"),
            (qualified("a/"), "name part must be non-empty"),
            (qualified("a/-"), "name part must consist of"),
            (port_name("1"), "must contain at least one letter (a-z)"),
            (port_name("a--b"), "must not contain consecutive hyphens"),
            (port_name("-a"), "must contain only alpha-numeric"),
        ] {
            let why = why.unwrap();
            assert!(why.starts_with(want), "{why}");
        }
    }

    #[test]
    fn environment_variables_are_printable() {
        for good in ["A", "a b", "~", "1.x-y"] {
            assert_eq!(environment_variable(good), None, "{good}");
        }
        for bad in ["", "a=b", "\t", "\u{e9}"] {
            assert!(environment_variable(bad).is_some(), "{bad:?}");
        }
    }
}
