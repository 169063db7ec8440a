use http::HeaderValue;
use http::header::{self, HeaderName};

use super::*;

fn connection(values: &[&'static [u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::CONNECTION, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

#[test]
fn tokens_of_all_fields_in_order() {
    let headers = connection(&[b"a, B ,,\tc", b"", b"\xff, d"]);
    assert_eq!(connection_tokens(&headers).collect::<Vec<_>>(), ["a", "B", "c", "d"]);
    for (token, listed) in [("a", true), ("A", true), ("b", true), ("d", true), ("", false), ("ab", false)] {
        assert_eq!(connection_has(&headers, token), listed, "{token}");
    }
    assert!(!connection_has(&HeaderMap::new(), "close"));
}

#[test]
fn a_connection_is_kept_as_its_version_says() {
    for (version, field, kept) in [
        ("1.1", "", true),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: upgrade, Close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: close\r\n", false),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Connection: upgrade\r\n", false),
    ] {
        let head = format!("GET / HTTP/{version}\r\nHost: x\r\n{field}\r\n");
        assert_eq!(request(head.as_bytes()).unwrap().unwrap().keep_alive, kept, "{version} {field:?}");
        let head = format!("HTTP/{version} 204 No\r\n{field}\r\n");
        assert_eq!(response(head.as_bytes()).unwrap().unwrap().keep_alive, kept, "{version} {field:?}");
    }
}

#[test]
fn a_response_that_ends_with_the_connection_keeps_none() {
    assert!(!response(b"HTTP/1.1 200 OK\r\n\r\n").unwrap().unwrap().keep_alive);
    assert!(response(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap().unwrap().keep_alive);
}

#[test]
fn trailers_that_frame_route_or_authorise_are_forbidden() {
    for name in [
        "transfer-encoding",
        "content-length",
        "host",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "max-forwards",
        "cache-control",
        "pragma",
        "range",
        "authorization",
        "proxy-authenticate",
        "proxy-authorization",
        "www-authenticate",
        "cookie",
        "set-cookie",
        "content-encoding",
        "content-type",
        "content-range",
        "age",
        "date",
        "location",
        "keep-alive",
        "proxy-connection",
        "x-forwarded-for",
        "x-forwarded-client-cert",
        "x-envoy-original-path",
    ] {
        assert!(is_forbidden_trailer(&HeaderName::from_static(name)), "{name}");
    }
    for name in ["grpc-status", "x-checksum", "x-forwarded", "x-envoy", "etag", "my-x-envoy-a"] {
        assert!(!is_forbidden_trailer(&HeaderName::from_static(name)), "{name}");
    }
}

#[test]
fn a_request_waits_for_100_continue_when_it_says_so() {
    for (version, expect, waits) in [
        ("1.1", "Expect: 100-continue\r\n", true),
        ("1.1", "Expect: 100-Continue\r\n", true),
        ("1.1", "Expect: something\r\n", false),
        ("1.1", "", false),
        ("1.0", "Expect: 100-continue\r\n", false),
    ] {
        let head = format!("POST / HTTP/{version}\r\nHost: x\r\n{expect}\r\n");
        assert_eq!(request(head.as_bytes()).unwrap().unwrap().expect_continue, waits, "{version} {expect:?}");
    }
}
