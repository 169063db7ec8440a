//! Which cluster, which location, which hash.

use std::collections::BTreeMap;

use http::HeaderValue;

use super::*;
use crate::testing::{connection, request, request_with};

fn weighted(weights: &[u64]) -> ClusterChoice {
    let one = |(at, weight): (usize, &u64)| WeightedCluster {
        name: format!("c{at}").into(),
        weight: *weight,
        mutations: Mutations::default(),
        host_rewrite: None,
        per_filter: PerFilter::default(),
        subset: Vec::new(),
    };
    ClusterChoice::Weighted {
        clusters: weights.iter().enumerate().map(one).collect(),
        total: weights.iter().sum(),
    }
}

#[test]
fn clusters_are_drawn_by_weight() {
    let choice = weighted(&[1, 0, 3]);
    let mut seen = BTreeMap::new();
    for _ in 0..4000 {
        let (name, one) = choice.choose(&request()).unwrap();
        assert_eq!(one.unwrap().name, name);
        *seen.entry(name.to_string()).or_insert(0) += 1;
    }
    // 1000 and 3000; six standard deviations are 164.
    assert!((836..=1164).contains(&seen["c0"]) && seen["c0"] + seen["c2"] == 4000, "{seen:?}");
}

#[test]
fn weights_that_were_all_taken_back_choose_nothing() {
    assert!(weighted(&[0]).choose(&request()).is_none());
}

#[test]
fn a_field_may_name_the_cluster() {
    let choice = ClusterChoice::Header(HeaderName::from_static("x-cluster"));
    let named = |request: &Request| choice.choose(request).map(|(name, _)| name.to_string());
    assert_eq!(named(&request_with(&[("x-cluster", "c")])).as_deref(), Some("c"));
    assert_eq!(named(&request()), None);
    let choice = ClusterChoice::One("c".into());
    let (name, one) = choice.choose(&request()).unwrap();
    assert!(&*name == "c" && one.is_none());
}

#[test]
fn weighted_clusters_are_found_again_by_their_index() {
    let choice = weighted(&[1, 1]);
    let second = choice.at(1).unwrap();
    assert_eq!(&*second.name, "c1");
    assert_eq!(choice.position(second), Some(1));
    assert!(choice.at(2).is_none());
    let one = ClusterChoice::One("c".into());
    assert!(one.at(0).is_none() && one.position(second).is_none());
}

fn redirect() -> Redirect {
    Redirect {
        status: StatusCode::FOUND,
        scheme: None,
        host: None,
        port: None,
        path: None,
        strip_query: false,
    }
}

fn location(redirect: Redirect, authority: &str) -> String {
    let request = Request { authority: authority.into(), scheme: "http", ..request() };
    redirect.location(&request, &PathMatch::Prefix("/cart".into(), true))
}

#[test]
fn a_redirect_changes_what_it_names() {
    let text = |text: &str| Some(text.to_owned());
    let path = |path: &str| Some(PathRewrite::Full(path.into()));
    for (change, wanted) in [
        (redirect(), "http://a:81/cart?item=1"),
        (Redirect { scheme: text("https"), ..redirect() }, "https://a:81/cart?item=1"),
        (Redirect { host: text("b"), ..redirect() }, "http://b/cart?item=1"),
        (Redirect { port: Some(8443), ..redirect() }, "http://a:8443/cart?item=1"),
        (Redirect { host: text("b:1"), port: Some(8443), ..redirect() }, "http://b:8443/cart?item=1"),
        (Redirect { path: path("/x"), ..redirect() }, "http://a:81/x?item=1"),
        (Redirect { path: path("/x?y"), ..redirect() }, "http://a:81/x?y"),
        (Redirect { path: Some(PathRewrite::Prefix("/x".into())), ..redirect() }, "http://a:81/x?item=1"),
        (Redirect { strip_query: true, ..redirect() }, "http://a:81/cart"),
        (Redirect { strip_query: true, path: path("/x?y"), ..redirect() }, "http://a:81/x"),
    ] {
        assert_eq!(location(change, "a:81"), wanted);
    }
}

#[test]
fn a_new_scheme_drops_the_default_port_of_the_old_one() {
    let to = |scheme: Option<&str>, host: Option<&str>, authority: &str| {
        let text = |text: Option<&str>| text.map(str::to_owned);
        location(Redirect { scheme: text(scheme), host: text(host), ..redirect() }, authority)
    };
    assert_eq!(to(Some("https"), None, "a:80"), "https://a/cart?item=1");
    assert_eq!(to(Some("http"), None, "a:443"), "http://a/cart?item=1");
    assert_eq!(to(None, None, "a:80"), "http://a:80/cart?item=1");
    assert_eq!(to(Some("https"), Some("b:80"), "a:80"), "https://b:80/cart?item=1");
}

fn combine(policies: &[HashPolicy], request: &Request) -> Option<u64> {
    HashPolicy::combine(policies, request, &connection()).0
}

fn by_header(terminal: bool) -> HashPolicy {
    HashPolicy::Header(HeaderName::from_static("x-user"), terminal)
}

fn by_query(terminal: bool) -> HashPolicy {
    HashPolicy::Query("item".into(), terminal)
}

#[test]
fn each_policy_hashes_what_it_names() {
    let alice = request_with(&[("x-user", "alice"), ("cookie", "a=1; user=\"alice\"; b=2")]);
    assert_eq!(combine(&[by_header(false)], &alice), Some(hash(b"alice")));
    assert_eq!(combine(&[by_header(false)], &request()), None);
    assert_eq!(combine(&[by_query(false)], &alice), Some(hash(b"1")));
    assert_eq!(combine(&[HashPolicy::Query("other".into(), false)], &alice), None);
    assert_eq!(combine(&[HashPolicy::SourceIp(false)], &alice), Some(hash(b"192.0.2.7")));
    let host = HashPolicy::Header(HeaderName::from_static("host"), false);
    assert_eq!(combine(&[host], &alice), Some(hash(b"shop.example")));
    assert_eq!(combine(&[by_cookie(None, "")], &alice), Some(hash(b"alice")));
    assert_eq!(combine(&[by_cookie(None, "")], &request()), None);
    assert_eq!(combine(&[], &alice), None);
}

#[test]
fn hashes_of_several_policies_are_combined_in_order() {
    let alice = request_with(&[("x-user", "alice")]);
    let both = combine(&[by_header(false), by_query(false)], &alice).unwrap();
    assert_eq!(both, hash(b"alice").rotate_left(1) ^ hash(b"1"));
    assert_eq!(
        combine(&[HashPolicy::Query("other".into(), false), by_header(false)], &alice),
        Some(hash(b"alice"))
    );
}

#[test]
fn a_terminal_policy_ends_the_list_if_it_has_a_value() {
    let alice = request_with(&[("x-user", "alice")]);
    assert_eq!(combine(&[by_header(true), by_query(false)], &alice), Some(hash(b"alice")));
    assert_eq!(combine(&[by_header(true), by_query(false)], &request()), Some(hash(b"1")));
}

fn by_cookie(ttl: Option<Duration>, path: &str) -> HashPolicy {
    HashPolicy::Cookie { name: "user".into(), path: path.into(), ttl, terminal: false }
}

#[test]
fn a_cookie_that_is_missing_is_set() {
    let set = |ttl: Duration, path: &str| {
        let (value, text) = HashPolicy::combine(&[by_cookie(Some(ttl), path)], &request(), &connection());
        let text = text.unwrap();
        let (value_set, rest) = text.strip_prefix("user=\"").unwrap().split_once('"').unwrap();
        assert_eq!(value, Some(hash(value_set.as_bytes())));
        assert_eq!(value_set.len(), 16);
        rest.to_owned()
    };
    assert_eq!(set(Duration::from_secs(9), "/a"), "; Max-Age=9; Path=/a; HttpOnly");
    assert_eq!(set(Duration::ZERO, ""), "; HttpOnly");
    let there = request_with(&[("cookie", "user=alice")]);
    let policies = [by_cookie(Some(Duration::ZERO), "")];
    assert_eq!(HashPolicy::combine(&policies, &there, &connection()), (Some(hash(b"alice")), None));
}

#[test]
fn methods_that_change_nothing_or_can_be_repeated_are_idempotent() {
    for (method, wanted) in [
        (Method::GET, true),
        (Method::HEAD, true),
        (Method::OPTIONS, true),
        (Method::PUT, true),
        (Method::DELETE, true),
        (Method::TRACE, true),
        (Method::POST, false),
        (Method::PATCH, false),
        (Method::CONNECT, false),
    ] {
        assert_eq!(is_idempotent(&method), wanted, "{method}");
    }
}

#[test]
fn a_cookie_is_found_among_all_fields() {
    let mut request = request_with(&[("cookie", "a=1"), ("cookie", "b=2; user=bob")]);
    request.headers.append("cookie", HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(cookie(&request, "user"), Some("bob"));
    assert_eq!(cookie(&request, "use"), None);
}
