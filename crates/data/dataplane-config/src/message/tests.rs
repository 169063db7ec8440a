//! What texts and fields matchers take.

use http::{HeaderMap, Method};

use super::matchers::{HeaderMatch, QueryMatch, StringMatch};
use super::{Protocol, Request};
use crate::pb::{matcher, route};

use matcher::string_matcher::MatchPattern as P;
use route::header_matcher::HeaderMatchSpecifier as H;

fn text(pattern: P, ignore_case: bool) -> StringMatch {
    StringMatch::compile(&matcher::StringMatcher { match_pattern: Some(pattern), ignore_case }).unwrap()
}

fn regex(text: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: text.into(), ..Default::default() }
}

fn request(fields: &[(&'static str, &str)]) -> Request {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    Request {
        method: Method::POST,
        scheme: "https",
        authority: "shop.example".into(),
        path: "/cart?item=1".into(),
        headers,
        protocol: Protocol::Http2,
        upgrade: None,
        is_grpc: false,
        expect_continue: false,
    }
}

fn header(name: &str, specifier: H) -> route::HeaderMatcher {
    route::HeaderMatcher { name: name.into(), header_match_specifier: Some(specifier), ..Default::default() }
}

#[track_caller]
fn matches(from: &route::HeaderMatcher, fields: &[(&'static str, &str)], wanted: bool) {
    assert_eq!(HeaderMatch::compile(from).unwrap().matches(&request(fields)), wanted, "{fields:?}");
}

#[test]
fn texts_match_by_their_pattern() {
    let table = [
        (P::Exact("Ab".into()), false, "Ab", true),
        (P::Exact("Ab".into()), false, "ab", false),
        (P::Exact("Ab".into()), true, "aB", true),
        (P::Prefix("Ab".into()), false, "Abc", true),
        (P::Prefix("Ab".into()), false, "abc", false),
        (P::Prefix("Ab".into()), true, "aBC", true),
        (P::Suffix("bc".into()), false, "abc", true),
        (P::Suffix("bc".into()), false, "abcd", false),
        (P::Suffix("BC".into()), true, "abc", true),
        (P::Contains("b".into()), false, "abc", true),
        (P::Contains("B".into()), false, "abc", false),
        (P::Contains("B".into()), true, "abc", true),
        (P::SafeRegex(regex("a+")), false, "aaa", true),
        (P::SafeRegex(regex("a+")), false, "aaab", false),
        (P::SafeRegex(regex("a|ab")), false, "ab", true),
    ];
    for (pattern, ignore_case, shown, wanted) in table {
        assert_eq!(text(pattern.clone(), ignore_case).matches(shown), wanted, "{pattern:?} {shown}");
    }
}

#[test]
fn expressions_that_do_not_compile_are_refused() {
    let from = matcher::StringMatcher { match_pattern: Some(P::SafeRegex(regex("("))), ..Default::default() };
    assert!(StringMatch::compile(&from).is_err());
    assert!(StringMatch::compile(&matcher::StringMatcher::default()).is_err());
}

#[test]
fn pseudo_fields_are_fields() {
    matches(&header(":method", H::ExactMatch("POST".into())), &[], true);
    matches(&header(":authority", H::ExactMatch("shop.example".into())), &[], true);
    matches(&header("Host", H::ExactMatch("shop.example".into())), &[], true);
    matches(&header(":path", H::PrefixMatch("/cart?".into())), &[], true);
    matches(&header(":scheme", H::ExactMatch("http".into())), &[], false);
}

#[test]
fn each_value_of_a_field_is_looked_at_alone() {
    let from = header("x-a", H::ExactMatch("two".into()));
    matches(&from, &[("x-a", "one"), ("x-a", "two")], true);
    matches(&from, &[("x-a", "one,two")], false);
}

#[test]
fn what_is_missing_matches_only_when_inverted_or_empty() {
    let mut from = header("x-a", H::ExactMatch("".into()));
    matches(&from, &[], false);
    from.treat_missing_header_as_empty = true;
    matches(&from, &[], true);
    let mut from = header("x-a", H::ExactMatch("a".into()));
    from.invert_match = true;
    matches(&from, &[], true);
    matches(&from, &[("x-a", "a")], false);
    matches(&from, &[("x-a", "b")], true);
}

#[test]
fn presence_can_be_asked_for_and_ruled_out() {
    matches(&header("x-a", H::PresentMatch(true)), &[("x-a", "")], true);
    matches(&header("x-a", H::PresentMatch(true)), &[], false);
    matches(&header("x-a", H::PresentMatch(false)), &[], true);
    matches(&header("x-a", H::PresentMatch(false)), &[("x-a", "")], false);
}

#[test]
fn the_end_of_a_range_is_outside_of_it() {
    let from = header("x-a", H::RangeMatch(crate::pb::types::Int64Range { start: -1, end: 3 }));
    for (value, wanted) in
        [("-2", false), ("-1", true), ("2", true), ("3", false), ("2.5", false), ("", false)]
    {
        matches(&from, &[("x-a", value)], wanted);
    }
}

#[test]
fn the_first_parameter_of_a_name_counts() {
    use route::query_parameter_matcher::QueryParameterMatchSpecifier as Q;
    let exact = matcher::StringMatcher { match_pattern: Some(P::Exact("1".into())), ..Default::default() };
    let from = route::QueryParameterMatcher {
        name: "a".into(),
        query_parameter_match_specifier: Some(Q::StringMatch(exact)),
    };
    let query = QueryMatch::compile(&from).unwrap();
    for (text, wanted) in
        [("a=1", true), ("b=2&a=1", true), ("a=2&a=1", false), ("aa=1", false), ("a", false)]
    {
        assert_eq!(query.matches(text), wanted, "{text}");
    }
}
