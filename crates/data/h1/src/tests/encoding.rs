use http::header::HeaderName;
use http::{HeaderValue, StatusCode};

use super::*;

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

fn text(dst: BytesMut) -> String {
    String::from_utf8(dst.to_vec()).unwrap()
}

fn encoded_request(fields: &[(&'static str, &'static str)], length: BodyLength, case: HeaderCase) -> String {
    let mut dst = BytesMut::new();
    encode_request_head(&mut dst, &Method::POST, "/a", &headers(fields), length, case).unwrap();
    text(dst)
}

fn encoded_response(fields: &[(&'static str, &'static str)], length: BodyLength) -> String {
    let mut dst = BytesMut::new();
    encode_response_head(&mut dst, StatusCode::OK, &headers(fields), length, HeaderCase::Lower);
    text(dst)
}

#[test]
fn the_framing_field_is_that_of_the_body() {
    let given = [("content-length", "7"), ("transfer-encoding", "gzip"), ("x-a", "b")];
    for (length, fields) in [
        (BodyLength::None, "x-a: b\r\n"),
        (BodyLength::UntilClose, "x-a: b\r\n"),
        (BodyLength::Known(0), "x-a: b\r\ncontent-length: 0\r\n"),
        (BodyLength::Known(120), "x-a: b\r\ncontent-length: 120\r\n"),
        (BodyLength::Known(u64::MAX), "x-a: b\r\ncontent-length: 18446744073709551615\r\n"),
        (BodyLength::Chunked, "x-a: b\r\ntransfer-encoding: chunked\r\n"),
        (BodyLength::AsIs, "content-length: 7\r\nx-a: b\r\n"),
    ] {
        assert_eq!(
            encoded_response(&given, length),
            format!("HTTP/1.1 200 OK\r\n{fields}\r\n"),
            "{length:?}"
        );
        let request = encoded_request(&given, length, HeaderCase::Lower);
        assert_eq!(request, format!("POST /a HTTP/1.1\r\n{fields}\r\n"), "{length:?}");
    }
}

#[test]
fn host_comes_first_in_a_request_and_once() {
    let fields = [("x-a", "b"), ("host", "h")];
    assert_eq!(
        encoded_request(&fields, BodyLength::None, HeaderCase::Lower),
        "POST /a HTTP/1.1\r\nhost: h\r\nx-a: b\r\n\r\n"
    );
    assert_eq!(encoded_response(&fields, BodyLength::None), "HTTP/1.1 200 OK\r\nx-a: b\r\nhost: h\r\n\r\n");
}

#[test]
fn names_in_proper_words() {
    let fields = [("content-md5", "a"), ("x-1b-c", "b"), ("a_b", "c"), ("etag", "d")];
    assert_eq!(
        encoded_request(&fields, BodyLength::None, HeaderCase::ProperWords),
        "POST /a HTTP/1.1\r\nContent-Md5: a\r\nX-1b-C: b\r\nA_B: c\r\nEtag: d\r\n\r\n"
    );
}

#[test]
fn reasons_of_the_status_registry() {
    for (code, line) in [(404, "HTTP/1.1 404 Not Found\r\n\r\n"), (599, "HTTP/1.1 599 Unknown\r\n\r\n")] {
        let mut dst = BytesMut::new();
        let status = StatusCode::from_u16(code).unwrap();
        encode_response_head(&mut dst, status, &HeaderMap::new(), BodyLength::None, HeaderCase::Lower);
        assert_eq!(text(dst), line);
    }
}

#[test]
fn targets_have_visible_bytes_only() {
    let encode = |target: &str| {
        let (mut dst, none) = (BytesMut::new(), HeaderMap::new());
        encode_request_head(&mut dst, &Method::GET, target, &none, BodyLength::None, HeaderCase::Lower)
    };
    for good in ["/", "!", "~", "*", "a:1", "http://a/", &"/".repeat(1000)] {
        assert_eq!(encode(good), Ok(()), "{good}");
    }
    for bad in ["", " ", "/a b", "/\r\nx", "/\x7f", "/\u{e9}", "/\0"] {
        assert_eq!(encode(bad), Err(EncodeError), "{bad:?}");
    }
}

#[test]
fn chunk_sizes_in_hex() {
    for (length, line) in [
        (0, ""),
        (1, "1\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (0xabcdef, "abcdef\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        let mut dst = BytesMut::new();
        encode_chunk_head(&mut dst, length);
        assert_eq!(text(dst), line);
    }
}

#[test]
fn the_last_chunk_carries_the_trailers_that_may_be_sent() {
    let last = |trailers: Option<&HeaderMap>| {
        let mut dst = BytesMut::new();
        encode_last_chunk(&mut dst, trailers, HeaderCase::Lower);
        text(dst)
    };
    assert_eq!(last(None), "0\r\n\r\n");
    assert_eq!(last(Some(&HeaderMap::new())), "0\r\n\r\n");
    let trailers = headers(&[("grpc-status", "0"), ("content-length", "5"), ("x-a", "b")]);
    assert_eq!(last(Some(&trailers)), "0\r\ngrpc-status: 0\r\nx-a: b\r\n\r\n");
}
