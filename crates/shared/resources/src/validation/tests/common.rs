//! The checks that the kinds share.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::Report;
use super::super::common::*;
use crate::duration::ProtoDuration;
use crate::networking::{Percent, StringMatch};

/// Errors of one check at path `p`.
fn errors(check: impl FnOnce(&mut Report)) -> Vec<String> {
    let mut report = Report::default();
    check(&mut report);
    assert_eq!(report.warnings, []);
    report.errors.iter().map(ToString::to_string).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn dns_names() {
    let longest_label = "a".repeat(63);
    let longest = [longest_label.as_str(); 4].join(".");
    assert_eq!(longest.len(), 255);
    for good in ["a", "A9", "a-b", "a_b", "_a", "a.b.c", "a.b.", "9", "1.2.3.4", &longest_label, &longest] {
        assert!(is_fqdn(good), "{good}");
    }
    for bad in [
        "",
        ".",
        "..",
        ".a",
        "a..b",
        "a..",
        "-a",
        "a-",
        "a.-b",
        "a-.b",
        "*",
        "*.a",
        "a b",
        "a/b",
        "a:80",
        "\u{e9}",
        &"a".repeat(64),
        &format!("a.{}", "b".repeat(64)),
        &format!("{}.a", [longest_label.as_str(); 4].join(".")),
    ] {
        assert!(!is_fqdn(bad), "{bad}");
    }
}

#[test]
fn wildcard_hosts() {
    for good in ["*", "*.a", "*.a.b", "*-a.b", "a", "a.b"] {
        assert!(is_wildcard_host(good), "{good}");
    }
    for bad in ["", "*.", "*-", "**", "*.*", "*a.b", "a.*", "a*.b", "*..a", "*.-a"] {
        assert!(!is_wildcard_host(bad), "{bad}");
    }
}

#[test]
fn addresses_and_networks() {
    for (text, ip, network) in [
        ("192.0.2.1", true, true),
        ("2001:db8::1", true, true),
        ("192.0.2.0/24", false, true),
        ("2001:db8::/32", false, true),
        ("192.0.2.0/33", false, false),
        ("192.0.2", false, false),
        ("a.b", false, false),
        ("", false, false),
    ] {
        assert_eq!((is_ip(text), is_ip_or_cidr(text)), (ip, network), "{text}");
    }
}

#[test]
fn hosts_are_required_dns_names() {
    assert_eq!(errors(|r| host(r, "p", "")), ["p: host is required"]);
    assert_eq!(
        errors(|r| host(r, "p", "a.*")),
        [r#"p: "a.*" is not a DNS name (a wildcard may only be the first label)"#]
    );
    assert_eq!(errors(|r| host(r, "p", "*.a")), NONE);
}

#[test]
fn ports_are_1_to_65535() {
    for good in [1, 80, 65_535] {
        assert_eq!(errors(|r| port(r, "p", good)), NONE);
    }
    for bad in [0, 65_536, u32::MAX] {
        assert_eq!(
            errors(|r| port(r, "p", bad)),
            [format!("p: port number {bad} must be in the range 1..65535")]
        );
    }
}

#[test]
fn durations_are_readable_not_too_short_and_not_too_fine() {
    let check = |text: &str| {
        errors(|r| duration(r, "p", Some(&ProtoDuration::from(text)), Duration::from_millis(10)))
    };
    for good in ["10ms", "11ms", "1.5s", "1h"] {
        assert_eq!(check(good), NONE, "{good}");
    }
    assert_eq!(check("9ms"), ["p: 9ms is too short; the least is 10ms"]);
    assert_eq!(check("10.5ms"), ["p: 10.5ms is finer than a millisecond"]);
    assert_eq!(check("1s1ns"), ["p: 1s1ns is finer than a millisecond"]);
    for bad in ["", "fast", "5", "-1s"] {
        assert_eq!(check(bad), [format!("p: {bad:?} is not a duration; write for example 5s or 100ms")]);
    }
    assert_eq!(errors(|r| duration(r, "p", None, Duration::from_millis(10))), NONE, "it may be left out");
}

#[test]
fn percentages_are_0_to_100() {
    let fraction = |value: f64| errors(|r| percent(r, "p", Some(Percent { value })));
    for good in [0.0, 0.5, 100.0] {
        assert_eq!(fraction(good), NONE);
    }
    for bad in [-0.1, 100.1, f64::NAN] {
        assert_eq!(fraction(bad), [format!("p: {bad} must be in the range 0..100")]);
    }
    assert_eq!(errors(|r| percent(r, "p", None)), NONE);
    let whole = |value: i64| errors(|r| int_percent(r, "p", Some(value)));
    for good in [0, 100] {
        assert_eq!(whole(good), NONE);
    }
    for bad in [-1, 101] {
        assert_eq!(whole(bad), [format!("p: {bad} must be in the range 0..100")]);
    }
    assert_eq!(errors(|r| int_percent(r, "p", None)), NONE);
}

#[test]
fn regular_expressions_compile() {
    assert_eq!(errors(|r| regex(r, "p", "a+")), NONE);
    assert_eq!(errors(|r| regex(r, "p", "")), ["p: regex must not be empty"]);
    assert_eq!(errors(|r| regex(r, "p", "(")), ["p: is no regular expression: a group is not closed"]);
    // RE2's syntax is what counts, in both directions.
    assert_eq!(errors(|r| regex(r, "p", r"/\Qa.b\E{|\101")), NONE);
    let verbose = errors(|r| regex(r, "p", "(?x)a b"));
    assert!(verbose.len() == 1 && verbose[0].contains("is not of RE2's syntax"), "{verbose:?}");
}

#[test]
fn a_string_match_has_one_form() {
    let check = |exact: Option<&str>, prefix: Option<&str>, regex: Option<&str>, presence: bool| {
        let text = |given: Option<&str>| given.map(str::to_owned);
        let value = StringMatch { exact: text(exact), prefix: text(prefix), regex: text(regex) };
        errors(|r| string_match(r, "p", &value, presence))
    };
    for (exact, prefix, regex) in [(Some("a"), None, None), (None, Some("a"), None), (None, None, Some("a"))]
    {
        assert_eq!(check(exact, prefix, regex, false), NONE);
    }
    assert_eq!(check(Some(""), None, None, false), NONE, "nothing is a text, too");
    assert_eq!(check(None, None, None, false), ["p: one of exact, prefix, regex is required"]);
    assert_eq!(check(None, None, None, true), NONE, "presence is enough");
    for (exact, prefix, regex) in [
        (Some("a"), Some("a"), None),
        (Some("a"), None, Some("a")),
        (None, Some("a"), Some("a")),
        (Some("a"), Some("a"), Some("a")),
    ] {
        for presence in [false, true] {
            let found = check(exact, prefix, regex, presence);
            assert_eq!(found, ["p: only one of exact, prefix, regex may be set"]);
        }
    }
    assert_eq!(check(None, Some(""), None, false), ["p.prefix: prefix must not be empty"]);
    assert_eq!(check(None, None, Some(""), false), ["p.regex: regex must not be empty"]);
}

#[test]
fn labels_have_a_key_and_a_value_of_label_characters() {
    let check = |key: &str, value: &str| {
        errors(|r| labels(r, "p", &BTreeMap::from([(key.to_owned(), value.to_owned())])))
    };
    for good in ["", "v1", "a-b_c.d", "-", &"a".repeat(63)] {
        assert_eq!(check("version", good), NONE, "{good}");
    }
    assert_eq!(check("", "v1"), ["p: label key must not be empty"]);
    for bad in ["a b", "a/b", "\u{e9}", "*", &"a".repeat(64)] {
        assert_eq!(check("version", bad), [format!("p[version]: {bad:?} is not a label value")]);
    }
}

#[test]
fn header_names_are_tokens() {
    let check = |name: &str, pseudo: bool| errors(|r| header_name(r, "p", name, pseudo));
    for good in ["x", "X-A", "9", "!#$%&'*+-.^_`|~"] {
        assert_eq!(check(good, false), NONE, "{good}");
        assert_eq!(check(good, true), NONE, "{good}");
    }
    assert_eq!(check(":path", true), NONE);
    assert_eq!(check(":path", false), [r#"p: ":path" is not a header name"#]);
    for bad in ["", ":", "::a", "a b", "a:b", "a\r\n", "\u{e9}", "a(b)"] {
        assert_eq!(check(bad, true), [format!("p: {bad:?} is not a header name")]);
    }
}

#[test]
fn export_to_names_namespaces_once() {
    let check = |values: &[&str]| {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        errors(|r| export_to(r, "p", &values))
    };
    for good in [&[][..], &["."], &["*"], &["~"], &["bookinfo"], &[".", "bookinfo"]] {
        assert_eq!(check(good), NONE, "{good:?}");
    }
    for bad in ["", "a.b", "a*", "**", "-a"] {
        assert_eq!(check(&[bad]), [format!("p[0]: {bad:?} is neither \".\", \"*\" nor a namespace")]);
    }
    assert_eq!(check(&[".", "a", "."]), [r#"p[2]: "." is listed twice"#]);
    for mixed in [["*", "a"], ["a", "*"]] {
        assert_eq!(check(&mixed), [r#"p: "*" cannot be mixed with other namespaces"#]);
    }
}

#[test]
fn one_of_several_fields() {
    let check =
        |a: bool, b: bool, required: bool| errors(|r| one_of(r, "p", &[("a", a), ("b", b)], required));
    for required in [false, true] {
        assert_eq!(check(true, false, required), NONE);
        assert_eq!(check(false, true, required), NONE);
        assert_eq!(check(true, true, required), ["p: only one of a, b may be set"]);
    }
    assert_eq!(check(false, false, false), NONE);
    assert_eq!(check(false, false, true), ["p: one of a, b is required"]);
}

#[test]
fn the_expressions_of_one_object_have_a_largest_size_together() {
    let many = |count: usize| errors(|r| (0..count).for_each(|n| regex(r, &format!("p{n}"), "/a.*")));
    assert_eq!(many(5_000), NONE);
    let found = many(20_000);
    assert!(found.len() == 1 && found[0].contains("divide it"), "{found:?}");
}
