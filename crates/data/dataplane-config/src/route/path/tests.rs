//! Paths that match, and what they are rewritten to.

use super::*;
use crate::message::matchers::{full_regex, search_regex};
use crate::testing::request;

fn takes(by: &PathMatch, path: &str) -> bool {
    by.matches(&Request { path: path.into(), ..request() })
}

#[test]
fn case_counts_unless_it_does_not() {
    for case in [true, false] {
        let text = || "/Ab".to_owned();
        for by in [
            PathMatch::Prefix(text(), case),
            PathMatch::Exact(text(), case),
            PathMatch::Separated(text(), case),
        ] {
            assert!(takes(&by, "/Ab"), "{by:?}");
            assert_eq!(takes(&by, "/aB"), !case, "{by:?}");
            assert!(!takes(&by, "/A"), "{by:?}");
        }
    }
}

#[test]
fn a_prefix_that_would_split_a_character_does_not_match() {
    for by in [PathMatch::Prefix("/a".into(), false), PathMatch::Separated("/a".into(), false)] {
        assert!(!takes(&by, "/\u{e9}"));
    }
}

#[test]
fn a_separated_prefix_ends_at_a_slash_or_the_end() {
    let by = PathMatch::Separated("/a".into(), true);
    for (path, wanted) in
        [("/a", true), ("/a/", true), ("/a/b", true), ("/a?b", true), ("/ab", false), ("/", false)]
    {
        assert_eq!(takes(&by, path), wanted, "{path}");
    }
}

#[test]
fn expressions_look_at_the_whole_path_without_the_query() {
    let by = PathMatch::Regex(Box::new(full_regex("/[0-9]+").unwrap()));
    assert!(takes(&by, "/12") && takes(&by, "/12?x"));
    assert!(!takes(&by, "/12/x") && !takes(&by, "/x"));
}

#[test]
fn connect_requests_match_connect_routes_only() {
    let tunnel = Request { method: http::Method::CONNECT, ..request() };
    assert!(PathMatch::Connect.matches(&tunnel));
    assert!(!PathMatch::Prefix("/".into(), true).matches(&tunnel));
    assert!(!PathMatch::Connect.matches(&request()));
}

#[test]
fn a_rewrite_takes_the_place_of_what_matched() {
    let prefix = |new: &str| PathRewrite::Prefix(new.into());
    let by = |text: &str| PathMatch::Prefix(text.into(), true);
    for (rewrite, by, path, wanted) in [
        (prefix("/b"), by("/a"), "/a/x?q=1", "/b/x?q=1"),
        (prefix("/"), by("/a/"), "/a/x", "/x"),
        (prefix("/b"), PathMatch::Exact("/a".into(), true), "/a", "/b"),
        (prefix("/b"), PathMatch::Separated("/a".into(), true), "/a/x", "/b/x"),
        (prefix("/b"), PathMatch::Regex(Box::new(full_regex(".*").unwrap())), "/a/x?q", "/b?q"),
        (prefix("/b"), PathMatch::Connect, "/a", "/b"),
        (prefix(""), by("/a"), "/a", "/"),
        (prefix("b"), by("/"), "/a", "/ba"),
        (PathRewrite::Full("/new".into()), by("/"), "/a?q", "/new?q"),
    ] {
        assert_eq!(rewrite.apply(&by, path), wanted, "{rewrite:?} {path}");
    }
}

#[test]
fn a_rewrite_by_expression_leaves_the_query_alone() {
    let rewrite = PathRewrite::Regex(Box::new(search_regex("a").unwrap()), "b".into());
    assert_eq!(rewrite.apply(&PathMatch::Prefix("/".into(), true), "/a/a?a"), "/b/b?a");
}

#[test]
fn substitutions_name_groups_by_number() {
    for (pattern, substitution, text, wanted) in [
        ("(a)(b)?", r"\2\1", "xab-a", "xba-a"),
        ("b", r"[\0]", "abc", "a[b]c"),
        ("b", r"\\", "abc", r"a\c"),
        ("b", r"\7", "abc", "ac"),
        ("b", "\\", "abc", "ac"),
        ("b", r"\x", "abc", "axc"),
        ("z", "y", "abc", "abc"),
    ] {
        assert_eq!(substitute(&search_regex(pattern).unwrap(), text, substitution), wanted, "{pattern}");
    }
}
