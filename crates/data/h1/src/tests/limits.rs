//! Every limit at its last good value and one beyond.

use super::*;

const HEAD: &str = "GET / HTTP/1.1\r\nHost: x\r\n";

/// A head of so many bytes.
fn head_of(start: &str, length: usize) -> Vec<u8> {
    format!("{start}X: {}\r\n\r\n", "a".repeat(length - start.len() - 7)).into_bytes()
}

#[test]
fn a_head_has_at_most_60_kibibytes() {
    const STATUS: &str = "HTTP/1.1 204 No Content\r\n";
    assert!(request(&head_of(HEAD, 61_440)).is_ok_and(|head| head.is_some()));
    assert_eq!(request(&head_of(HEAD, 61_441)), Err(Reject::HeadTooLarge));
    assert!(response(&head_of(STATUS, 61_440)).is_ok_and(|head| head.is_some()));
    assert_eq!(response(&head_of(STATUS, 61_441)), Err(Reject::HeadTooLarge));
}

#[test]
fn a_head_that_does_not_end_is_waited_for_up_to_the_limit() {
    let of = |length: usize| head_of(HEAD, length + 4)[..length].to_vec();
    assert_eq!(request(&of(61_440)), Ok(None));
    assert_eq!(request(&of(61_441)), Err(Reject::HeadTooLarge));
}

fn with_fields(count: usize) -> Vec<u8> {
    format!("{HEAD}{}\r\n", "A: b\r\n".repeat(count - 1)).into_bytes()
}

#[test]
fn a_head_has_at_most_100_fields() {
    assert!(request(&with_fields(100)).is_ok());
    assert_eq!(request(&with_fields(101)), Err(Reject::TooManyHeaders));
    let status = |count: usize| format!("HTTP/1.1 204 No\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert!(response(status(100).as_bytes()).is_ok());
    assert_eq!(response(status(101).as_bytes()), Err(Reject::TooManyHeaders));
}

#[test]
fn no_configuration_allows_more_than_256_fields() {
    let limits = Limits { headers: 1000, ..Limits::default() };
    let parse = |count: usize| {
        RequestParser::new(limits).parse(&mut BytesMut::from(with_fields(count).as_slice())).map(|_| ())
    };
    assert_eq!(parse(256), Ok(()));
    assert_eq!(parse(257), Err(Reject::TooManyHeaders));
}

#[test]
fn at_most_4_empty_lines_come_before_each_request() {
    let of = |count: usize| format!("{}{HEAD}\r\n", "\r\n".repeat(count));
    assert!(request(of(4).as_bytes()).is_ok_and(|head| head.is_some()));
    assert_eq!(request(of(5).as_bytes()), Err(Reject::StartLine));
    let (mut parser, mut buf) = (RequestParser::default(), BytesMut::from(of(4).repeat(2).as_bytes()));
    assert!(parser.parse(&mut buf).is_ok_and(|head| head.is_some()));
    assert!(parser.parse(&mut buf).is_ok_and(|head| head.is_some()), "each has its own");
}

#[test]
fn a_method_has_at_most_32_bytes() {
    let of = |length: usize| format!("{} / HTTP/1.1\r\nHost: x\r\n\r\n", "M".repeat(length));
    assert!(request(of(32).as_bytes()).is_ok_and(|head| head.is_some()));
    assert_eq!(request(of(33).as_bytes()), Err(Reject::Method));
    assert_eq!(request("M".repeat(32).as_bytes()), Ok(None), "the blank may still come");
    assert_eq!(request("M".repeat(33).as_bytes()), Err(Reject::Method), "refused before the line ends");
}

#[test]
fn a_chunk_line_has_at_most_4_kibibytes() {
    let of = |length: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(length - 2));
    assert!(chunked(of(4096).as_bytes()).is_ok_and(|body| body.is_some()));
    assert_eq!(chunked(of(4097).as_bytes()), Err(BodyError::ChunkLineTooLarge));
    let open = |length: usize| format!("1;{}", "x".repeat(length - 2));
    assert_eq!(chunked(open(4096).as_bytes()), Ok(None));
    assert_eq!(chunked(open(4097).as_bytes()), Err(BodyError::ChunkLineTooLarge));
}

#[test]
fn extensions_of_one_body_have_at_most_16_kibibytes() {
    // Four lines as long as they may be, and one with what is left.
    let full = format!("1;{}\r\na\r\n", "x".repeat(4094)).repeat(4);
    let of = |last: usize| format!("{full}1;{}\r\na\r\n0\r\n\r\n", "x".repeat(last - 1));
    assert!(chunked(of(4).as_bytes()).is_ok_and(|body| body.is_some()));
    assert_eq!(chunked(of(5).as_bytes()), Err(BodyError::ChunkLineTooLarge));
}

#[test]
fn a_chunk_size_has_at_most_15_digits() {
    assert!(chunked(b"000000000000001\r\na\r\n0\r\n\r\n").is_ok_and(|body| body.is_some()));
    assert_eq!(chunked(b"0000000000000001\r\na\r\n0\r\n\r\n"), Err(BodyError::ChunkSize));
    assert_eq!(chunked(b"fffffffffffffff"), Ok(None));
    assert_eq!(chunked(b"ffffffffffffffff"), Err(BodyError::ChunkSize), "refused before the line ends");
    assert_eq!(chunked(b"fffffffffffffff\r\na"), Ok(None), "the largest size is waited for");
}

#[test]
fn a_trailer_section_has_at_most_16_kibibytes() {
    let of = |length: usize| format!("0\r\nX: {}\r\n\r\n", "a".repeat(length - 7));
    assert!(chunked(of(16_384).as_bytes()).is_ok_and(|body| body.is_some()));
    assert_eq!(chunked(of(16_385).as_bytes()), Err(BodyError::TrailerTooLarge));
}

#[test]
fn a_trailer_section_has_at_most_64_fields() {
    let of = |count: usize| format!("0\r\n{}\r\n", "A: b\r\n".repeat(count));
    assert!(chunked(of(64).as_bytes()).is_ok_and(|body| body.is_some()));
    assert_eq!(chunked(of(65).as_bytes()), Err(BodyError::TrailerTooLarge));
}

#[test]
fn a_content_length_has_at_most_18_digits() {
    let of = |digits: &str| {
        request(format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {digits}\r\n\r\n").as_bytes())
            .map(|head| head.unwrap().framing)
    };
    assert_eq!(of("999999999999999999"), Ok(BodyFraming::Length(999_999_999_999_999_999)));
    assert_eq!(of("1234567890"), Ok(BodyFraming::Length(1_234_567_890)));
    assert_eq!(of("000000000000000000"), Ok(BodyFraming::None));
    assert_eq!(of("0000000000000000001"), Err(Reject::ContentLength));
}
