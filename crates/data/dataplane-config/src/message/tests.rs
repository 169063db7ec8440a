//! What texts and fields matchers take.

mod parts;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::matchers::{HeaderMatch, QueryMatch, StringMatch, full_regex, search_regex};
use crate::pb::{matcher, route};
use crate::testing::{message, request, request_with};

use matcher::string_matcher::MatchPattern as P;
use route::header_matcher::HeaderMatchSpecifier as H;

fn text(pattern: P, ignore_case: bool) -> StringMatch {
    StringMatch::compile(&matcher::StringMatcher { match_pattern: Some(pattern), ignore_case }).unwrap()
}

fn regex(text: &str) -> matcher::RegexMatcher {
    matcher::RegexMatcher { regex: text.into(), ..Default::default() }
}

fn by(name: &str, specifier: H) -> route::HeaderMatcher {
    route::HeaderMatcher { name: name.into(), header_match_specifier: Some(specifier), ..Default::default() }
}

#[track_caller]
fn matches(from: &route::HeaderMatcher, fields: &[(&'static str, &str)], wanted: bool) {
    assert_eq!(HeaderMatch::compile(from).unwrap().matches(&request_with(fields)), wanted, "{fields:?}");
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
        (P::Suffix("BC".into()), false, "abc", false),
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
    matches(&by(":method", H::ExactMatch("POST".into())), &[], true);
    matches(&by(":authority", H::ExactMatch("shop.example".into())), &[], true);
    matches(&by("Host", H::ExactMatch("shop.example".into())), &[], true);
    matches(&by(":path", H::PrefixMatch("/cart?".into())), &[], true);
    matches(&by(":scheme", H::ExactMatch("http".into())), &[], false);
}

#[test]
fn each_value_of_a_field_is_looked_at_alone() {
    let from = by("x-a", H::ExactMatch("two".into()));
    matches(&from, &[("x-a", "one"), ("x-a", "two")], true);
    matches(&from, &[("x-a", "one,two")], false);
}

#[test]
fn what_is_missing_matches_only_when_inverted_or_empty() {
    let mut from = by("x-a", H::ExactMatch("".into()));
    matches(&from, &[], false);
    from.treat_missing_header_as_empty = true;
    matches(&from, &[], true);
    let mut from = by("x-a", H::ExactMatch("a".into()));
    from.invert_match = true;
    matches(&from, &[], true);
    matches(&from, &[("x-a", "a")], false);
    matches(&from, &[("x-a", "b")], true);
}

#[test]
fn presence_can_be_asked_for_and_ruled_out() {
    matches(&by("x-a", H::PresentMatch(true)), &[("x-a", "")], true);
    matches(&by("x-a", H::PresentMatch(true)), &[], false);
    matches(&by("x-a", H::PresentMatch(false)), &[], true);
    matches(&by("x-a", H::PresentMatch(false)), &[("x-a", "")], false);
}

#[test]
fn the_end_of_a_range_is_outside_of_it() {
    let from = by("x-a", H::RangeMatch(crate::pb::types::Int64Range { start: -1, end: 3 }));
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

fn header_match(json: Value) -> HeaderMatch {
    HeaderMatch::compile(&message(json)).unwrap()
}

/// Takes part in a request and in a response alike.
#[track_caller]
fn takes(from: &Value, value: Option<&str>, wanted: bool) {
    let fields: Vec<_> = value.iter().map(|value| ("x-a", *value)).collect();
    let compiled = header_match(from.clone());
    let request = request_with(&fields);
    assert_eq!(compiled.matches(&request), wanted, "{from} {value:?}");
    assert_eq!(compiled.matches_fields(&request.headers), wanted, "{from} {value:?}");
}

#[test]
fn fields_match_by_all_that_a_matcher_may_say() {
    for (specifier, yes, no) in [
        (json!({"exact_match": "abc"}), "abc", "abcd"),
        (json!({"safe_regex_match": {"regex": "a.c"}}), "abc", "abcd"),
        (json!({"prefix_match": "ab"}), "abc", "cab"),
        (json!({"suffix_match": "bc"}), "abc", "bca"),
        (json!({"contains_match": "b"}), "abc", "acc"),
        (json!({"string_match": {"exact": "ABC", "ignore_case": true}}), "abc", "ab"),
        (json!({"range_match": {"start": 3, "end": 5}}), "3", "5"),
        (json!({"range_match": {"start": 3, "end": 5}}), "4", "2"),
        (json!({"range_match": {"start": 3, "end": 5}}), "3", "three"),
    ] {
        let mut from = specifier.clone();
        from["name"] = json!("x-a");
        takes(&from, Some(yes), true);
        takes(&from, Some(no), false);
        takes(&from, None, false);
        from["invert_match"] = json!(true);
        takes(&from, Some(yes), false);
        takes(&from, Some(no), true);
    }
}

#[test]
fn presence_is_asked_for_without_a_specifier_too() {
    for (from, present, absent) in [
        (json!({"name": "x-a"}), true, false),
        (json!({"name": "x-a", "invert_match": true}), false, true),
        (json!({"name": "x-a", "present_match": true}), true, false),
        (json!({"name": "x-a", "present_match": false}), false, true),
        (json!({"name": "x-a", "present_match": true, "invert_match": true}), false, true),
    ] {
        takes(&from, Some("1"), present);
        takes(&from, None, absent);
    }
}

#[test]
fn what_is_missing_and_counts_as_empty_may_be_inverted() {
    let missing = |specifier: Value, invert: bool| {
        let mut from = specifier;
        from["name"] = json!("x-a");
        from["treat_missing_header_as_empty"] = json!(true);
        from["invert_match"] = json!(invert);
        header_match(from).matches(&request())
    };
    assert!(missing(json!({"exact_match": ""}), false));
    assert!(!missing(json!({"exact_match": ""}), true));
    assert!(!missing(json!({"exact_match": "a"}), false));
    assert!(missing(json!({"exact_match": "a"}), true));
    assert!(!missing(json!({"range_match": {"start": 0, "end": 9}}), false));
}

#[test]
fn responses_have_no_pseudo_fields() {
    let from = header_match(json!({"name": ":method", "present_match": true}));
    assert!(!from.matches_fields(&HeaderMap::new()));
}

#[test]
fn a_value_that_is_no_text_matches_nothing() {
    let mut request = request();
    request.headers.insert("x-a", HeaderValue::from_bytes(b"\xff").unwrap());
    for json in [json!({"name": "x-a", "prefix_match": ""}), json!({"name": "x-a", "contains_match": ""})] {
        let from = header_match(json);
        assert!(!from.matches(&request));
        assert!(!from.matches_fields(&request.headers));
    }
}

#[test]
fn all_of_several_matchers_are_compiled() {
    let all = [message(json!({"name": "x-a"})), message(json!({"name": "x-b"}))];
    assert_eq!(HeaderMatch::compile_all(&all).unwrap().len(), 2);
    let error = HeaderMatch::compile_all(&[message(json!({"name": "no name"}))]).unwrap_err().0;
    assert_eq!(error, "headers: \"no name\" is not a header name");
}

#[test]
fn a_parameter_may_be_asked_for_by_presence_alone() {
    let query = |json: Value| QueryMatch::compile(&message(json));
    for json in [json!({"name": "a"}), json!({"name": "a", "present_match": true})] {
        let from = query(json).unwrap();
        assert!(from.matches("b&a") && from.matches("a=1"));
        assert!(!from.matches("b"));
    }
    let error = query(json!({"name": "a", "present_match": false})).unwrap_err().0;
    assert_eq!(error, "present_match: false is not supported");
}

#[test]
fn extensions_do_not_match_texts() {
    let from = message(json!({"custom": {"name": "x"}}));
    assert_eq!(StringMatch::compile(&from).unwrap_err().0, "custom string matchers are not supported");
}

#[test]
fn expressions_have_a_largest_size() {
    let large = "\\pL{400}".repeat(20);
    assert!(full_regex(&large).unwrap_err().0.starts_with("regular expression"));
    assert!(search_regex(&large).unwrap_err().0.starts_with("regular expression"));
    // What people write is far below: a list of a few hundred hosts.
    let hosts = vec!["[a-z0-9-]{1,20}\\.example\\.com"; 100].join("|");
    assert!(full_regex(&hosts).is_ok() && search_regex(&hosts).is_ok());
}

#[test]
fn a_search_finds_a_part_and_a_match_is_the_whole() {
    assert!(search_regex("b+").unwrap().is_match("abc"));
    assert!(!full_regex("b+").unwrap().is_match("abc"));
}
