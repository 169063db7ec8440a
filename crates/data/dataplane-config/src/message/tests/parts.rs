//! What requests, connections and our own answers show of themselves.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::super::*;
use crate::pb::core;
use crate::testing::{connection, connection_of, request, request_with};

#[test]
fn a_port_is_cut_off_and_nothing_else() {
    for (authority, host) in [
        ("a.example:80", "a.example"),
        ("a.example", "a.example"),
        ("a.example:", "a.example"),
        ("a.example:http", "a.example:http"),
        (":80", ":80"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("[::1", "[::1"),
    ] {
        assert_eq!(without_port(authority), host, "{authority}");
    }
}

#[test]
fn a_peer_is_one_that_showed_a_certificate() {
    assert!(connection().peer().is_none() && !connection().is_mtls());
    let of = connection_of(&["spiffe://a/b"], &[]);
    assert_eq!(of.peer().unwrap().facts.uris, ["spiffe://a/b"]);
    assert!(of.is_mtls());
}

#[test]
fn protocols_are_written_as_in_requests() {
    let texts = [Protocol::Http10, Protocol::Http11, Protocol::Http2].map(Protocol::as_str);
    assert_eq!(texts, ["HTTP/1.0", "HTTP/1.1", "HTTP/2"]);
}

#[test]
fn a_path_has_a_query_or_none() {
    let of = |path: &str| Request { path: path.into(), ..request() };
    let with = of("/a?b?c");
    assert_eq!((with.path_only(), with.query()), ("/a", Some("b?c")));
    let without = of("/a");
    assert_eq!((without.path_only(), without.query()), ("/a", None));
}

#[test]
fn fields_and_pseudo_fields_are_read_by_name() {
    let mut request = request();
    request.set(HeaderName::from_static("x-a"), "1");
    request.set(HeaderName::from_static("x-a"), "bad\nvalue");
    for (name, value) in [
        (":method", Some("POST")),
        (":authority", Some("shop.example")),
        ("host", Some("shop.example")),
        (":path", Some("/cart?item=1")),
        (":scheme", Some("https")),
        ("x-a", Some("1")),
        ("x-b", None),
    ] {
        assert_eq!(request.get(name), value, "{name}");
    }
    request.path.clear();
    assert_eq!(request.get(":path"), None);
}

#[test]
fn grpc_is_known_by_its_content_type() {
    for (value, wanted) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;x=y", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        assert_eq!(is_grpc(&request_with(&[("content-type", value)]).headers), wanted, "{value}");
    }
    assert!(!is_grpc(&HeaderMap::new()));
}

#[test]
fn trailers_pass_if_they_are_enabled() {
    let of = |enable_trailers| {
        Trailers::of(Some(&core::Http1ProtocolOptions { enable_trailers, ..Default::default() }))
    };
    assert_eq!((of(true), of(false), Trailers::of(None)), (Trailers::Pass, Trailers::Drop, Trailers::Drop));
}

#[test]
fn an_answer_has_the_type_of_its_body() {
    let answer = |reply: LocalReply| reply.into_response(Some(&request()));
    let (head, body, grpc) = answer(LocalReply::new(StatusCode::NOT_FOUND, "x").body("text"));
    assert_eq!((head.status, &body[..], grpc), (StatusCode::NOT_FOUND, b"text".as_slice(), None));
    assert_eq!(head.headers[header::CONTENT_TYPE], "text/plain");
    let html = (header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    let (head, ..) = answer(LocalReply::new(StatusCode::OK, "x").body("text").header(html.0, html.1));
    assert_eq!(head.headers[header::CONTENT_TYPE], "text/html");
    let (head, ..) = answer(LocalReply::new(StatusCode::OK, "x"));
    assert!(!head.headers.contains_key(header::CONTENT_TYPE));
}

#[test]
fn callers_of_grpc_get_a_status_of_their_own() {
    let grpc = Request { is_grpc: true, ..request() };
    for (status, code) in
        [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14), (418, 2)]
    {
        let reply = LocalReply::new(StatusCode::from_u16(status).unwrap(), "x");
        let (head, body, told) = reply.into_response(Some(&grpc));
        assert_eq!((head.status, body.len(), told), (StatusCode::OK, 0, Some(code)), "{status}");
        assert_eq!(head.headers["grpc-status"], code.to_string());
        assert_eq!(head.headers[header::CONTENT_TYPE], "application/grpc");
        assert!(!head.headers.contains_key("grpc-message"));
    }
    let mut reply = LocalReply::new(StatusCode::OK, "x").body("100 % \u{e9}");
    reply.grpc = Some(5);
    let (head, _, told) = reply.into_response(Some(&grpc));
    assert_eq!((told, &head.headers["grpc-message"]), (Some(5), &HeaderValue::from_static("100 %25 %C3%A9")));
}

#[test]
fn a_refusal_says_its_reason_and_whose_fault_it_is() {
    let reply = LocalReply::new(StatusCode::BAD_REQUEST, "x").refusal();
    assert_eq!((&reply.body[..], reply.flags), (b"Bad Request".as_slice(), Flags::DOWNSTREAM_PROTOCOL_ERROR));
}

#[test]
fn a_redirect_names_its_location_or_is_refused() {
    let to = |location: &str| LocalReply::redirect(StatusCode::FOUND, location, "x");
    assert_eq!(to("/a").headers[header::LOCATION], "/a");
    assert_eq!(to("/a").status, StatusCode::FOUND);
    let bad = to("/a\nb");
    assert_eq!((bad.status, bad.headers.len()), (StatusCode::BAD_REQUEST, 0));
}
