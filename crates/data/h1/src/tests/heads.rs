use super::*;

fn target(method: &str, target: &str) -> Result<(Target, Option<String>, Option<String>), Reject> {
    let input = format!("{method} {target} HTTP/1.1\r\nHost: h\r\n\r\n");
    request(input.as_bytes()).map(|head| head.unwrap()).map(|head| (head.target, head.scheme, head.authority))
}

#[test]
fn targets_of_each_form() {
    let text = |text: &str| Some(text.to_owned());
    let path = |path: &str| Target::Path(path.to_owned());
    assert_eq!(target("GET", "/"), Ok((path("/"), None, text("h"))));
    assert_eq!(target("GET", "/a?b"), Ok((path("/a?b"), None, text("h"))));
    assert_eq!(target("GET", "http://a"), Ok((path("/"), text("http"), text("a"))));
    assert_eq!(target("GET", "HTTPS://a:1/b?c"), Ok((path("/b?c"), text("https"), text("a:1"))));
    assert_eq!(target("GET", "http://a?b"), Ok((path("/?b"), text("http"), text("a"))));
    assert_eq!(target("OPTIONS", "*"), Ok((Target::Asterisk, None, text("h"))));
    assert_eq!(target("OPTIONS", "http://a"), Ok((Target::Asterisk, text("http"), text("a"))));
    assert_eq!(target("CONNECT", "a:1"), Ok((Target::Authority("a:1".into()), None, text("a:1"))));
    assert_eq!(
        target("CONNECT", "[::1]:1"),
        Ok((Target::Authority("[::1]:1".into()), None, text("[::1]:1")))
    );
}

#[test]
fn targets_that_their_method_does_not_allow() {
    for (method, bad, reason) in [
        ("GET", "*", Reject::Target),
        ("GET", "a", Reject::Target),
        ("GET", "a:1", Reject::Target),
        ("GET", "http:/a", Reject::Target),
        ("GET", "ws://a/", Reject::Target),
        ("GET", "http:///a", Reject::Host),
        ("GET", "http://", Reject::Host),
        ("GET", "http://u@a/", Reject::Host),
        ("OPTIONS", "**", Reject::Target),
        ("CONNECT", "/", Reject::Target),
        ("CONNECT", "a", Reject::Target),
        ("CONNECT", "a:", Reject::Target),
        ("CONNECT", "[::1]", Reject::Target),
        ("CONNECT", "u@a:1", Reject::Target),
        ("CONNECT", "http://a:1", Reject::Target),
    ] {
        assert_eq!(target(method, bad), Err(reason), "{method} {bad}");
    }
}

#[test]
fn bytes_of_targets() {
    for byte in 0x21..0x7f_u8 {
        let byte = char::from(byte);
        let expected_path = !matches!(byte, '#' | '<' | '>' | '`');
        assert_eq!(target("GET", &format!("/{byte}")).is_ok(), expected_path, "{byte} in a path");
        let expected_query = !matches!(byte, '#' | '<' | '>' | '"');
        assert_eq!(target("GET", &format!("/?{byte}")).is_ok(), expected_query, "{byte} in a query");
    }
    for byte in [0x00, 0x1f, 0x20, 0x7f, 0x80, 0xff_u8] {
        let input = [&b"GET /"[..], &[byte], b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        assert!(request(&input).is_err(), "{byte:#x}");
    }
}

#[test]
fn bytes_of_methods() {
    for byte in 0x21..0x7f_u8 {
        let byte = char::from(byte);
        let token = byte.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(byte);
        let input = format!("M{byte} / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(request(input.as_bytes()).is_ok(), token, "{byte}");
    }
    assert_eq!(request(b" / HTTP/1.1\r\nHost: h\r\n\r\n"), Err(Reject::Method), "no method");
    for cut in ["GE\r", "GE\r\n", "GE\n"] {
        assert_eq!(request(cut.as_bytes()), Err(Reject::Method), "{cut:?}");
    }
}

#[test]
fn a_body_of_connect_is_refused() {
    for fields in ["Content-Length: 1\r\n", "Transfer-Encoding: chunked\r\n"] {
        let input = format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n{fields}\r\n");
        assert_eq!(request(input.as_bytes()), Err(Reject::ContentLength), "{fields:?}");
    }
    assert!(request(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 0\r\n\r\n").is_ok());
}

#[test]
fn versions() {
    assert_eq!(request(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().version, Version::Http10);
    assert_eq!(request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap().unwrap().version, Version::Http11);
    assert_eq!(response(b"HTTP/1.0 204 No\r\n\r\n").unwrap().unwrap().version, Version::Http10);
    assert_eq!(response(b"HTTP/1.1 204 No\r\n\r\n").unwrap().unwrap().version, Version::Http11);
    assert_eq!(Version::Http10.to_http(), http::Version::HTTP_10);
    assert_eq!(Version::Http11.to_http(), http::Version::HTTP_11);
}

#[test]
fn values_of_fields() {
    let of = |value: &[u8]| {
        let input = [&b"GET / HTTP/1.1\r\nHost: x\r\nX:"[..], value, b"\r\n\r\n"].concat();
        request(&input).map(|head| head.unwrap().headers["x"].as_bytes().to_vec())
    };
    assert_eq!(of(b" \t a\tb \t"), Ok(b"a\tb".to_vec()));
    assert_eq!(of(b""), Ok(Vec::new()));
    assert_eq!(of(b"\xff"), Ok(vec![0xff]), "bytes of old encodings pass as they are");
    for byte in (0..0x20).chain([0x7f]).filter(|byte| !matches!(byte, b'\t' | b'\r' | b'\n')) {
        assert_eq!(of(&[b'a', byte, b'b']), Err(Reject::HeaderValue), "{byte:#x}");
    }
}

#[test]
fn folded_lines_are_refused_in_either_head() {
    for blank in [' ', '\t'] {
        let fields = format!("X: a\r\n{blank}b\r\n\r\n");
        let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}");
        assert_eq!(request(head.as_bytes()), Err(Reject::ObsFold));
        assert_eq!(response(format!("HTTP/1.1 204 No\r\n{fields}").as_bytes()), Err(Reject::ObsFold));
        let head = format!("GET / HTTP/1.1\r\n{blank}Host: x\r\n\r\n");
        assert_eq!(request(head.as_bytes()), Err(Reject::ObsFold), "before the first field");
    }
}

#[test]
fn heads_do_not_depend_on_reads() {
    let input = b"\r\nPOST /a HTTP/1.1\r\nHost: x\r\nX: \"\r\n\r\nrest";
    let (mut parser, mut buf) = (RequestParser::default(), BytesMut::new());
    let mut found = None;
    for (at, byte) in input.iter().enumerate() {
        buf.extend_from_slice(&[*byte]);
        if let Some(head) = parser.parse(&mut buf).unwrap() {
            assert_eq!(at + 1, input.len() - 4, "with the last byte of the head");
            found = Some(head);
        }
    }
    assert_eq!(found, request(input).unwrap());
    assert_eq!(&buf[..], b"rest");
}

#[test]
fn a_head_is_in_progress_once_more_than_line_ends_came() {
    for (input, expected) in
        [("", false), ("\r", false), ("\r\n\r\n", false), ("G", true), ("GET / HTTP/1.1\r\n", true)]
    {
        let mut buf = BytesMut::from(input.as_bytes());
        let mut parser = RequestParser::default();
        assert_eq!(parser.parse(&mut buf), Ok(None));
        assert_eq!(parser.in_progress(&buf), expected, "{input:?}");
    }
}

#[test]
fn line_ends() {
    for (input, reason) in [
        ("GET / HTTP/1.1\nHost: x\r\n\r\n", Reject::BareLf),
        ("GET / HTTP/1.1\r\nHost: x\n\r\n", Reject::BareLf),
        ("GET / HTTP/1.1\r\nHost: x\r\n\n", Reject::BareLf),
        ("GET / HTTP/1.1\rHost: x\r\n\r\n", Reject::BareCr),
        ("GET / HTTP/1.1\r\nHost: x\r\r\n\r\n", Reject::BareCr),
        ("\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::BareLf),
        ("\rGET / HTTP/1.1\r\nHost: x\r\n\r\n", Reject::BareCr),
    ] {
        assert_eq!(request(input.as_bytes()), Err(reason), "{input:?}");
    }
}

#[test]
fn responses_begin_like_responses() {
    for start in ["H", "HTTP/", "HTTP/1.", "HTTP/1.1 200 O"] {
        assert_eq!(response(start.as_bytes()), Ok(None), "{start}");
    }
    for start in ["h", "HTTX", "HTTP/2", "\r\n", "ICY 200"] {
        assert_eq!(response(start.as_bytes()), Err(Reject::StartLine), "{start}");
    }
}

#[test]
fn status_codes_are_100_to_599() {
    let of = |code: &str| {
        response(format!("HTTP/1.1 {code} x\r\nContent-Length: 1\r\n\r\n").as_bytes())
            .map(|head| head.unwrap().status.as_u16())
    };
    for code in [100, 200, 599] {
        assert_eq!(of(&code.to_string()), Ok(code));
    }
    for code in ["600", "999", "099"] {
        assert_eq!(of(code), Err(Reject::Status), "{code}");
    }
}

#[test]
fn which_responses_have_a_body() {
    let framing = |method: Method, status: &str, field: &str| {
        let input = format!("HTTP/1.1 {status} x\r\n{field}\r\n");
        let mut buf = BytesMut::from(input.as_bytes());
        ResponseParser::new(Limits::default()).parse(&mut buf, &method).unwrap().unwrap().framing
    };
    const FIVE: &str = "Content-Length: 5\r\n";
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    for (method, status, field, expected) in [
        (Method::GET, "200", FIVE, BodyFraming::Length(5)),
        (Method::GET, "200", CHUNKED, BodyFraming::Chunked),
        (Method::GET, "200", "", BodyFraming::UntilClose),
        (Method::GET, "200", "Content-Length: 0\r\n", BodyFraming::None),
        (Method::GET, "500", FIVE, BodyFraming::Length(5)),
        (Method::HEAD, "200", FIVE, BodyFraming::None),
        (Method::HEAD, "200", CHUNKED, BodyFraming::None),
        (Method::HEAD, "200", "", BodyFraming::None),
        (Method::CONNECT, "200", FIVE, BodyFraming::None),
        (Method::CONNECT, "299", "", BodyFraming::None),
        (Method::CONNECT, "407", FIVE, BodyFraming::Length(5)),
        (Method::GET, "100", "", BodyFraming::None),
        (Method::GET, "199", FIVE, BodyFraming::None),
        (Method::GET, "204", FIVE, BodyFraming::None),
        (Method::GET, "205", FIVE, BodyFraming::Length(5)),
        (Method::GET, "304", FIVE, BodyFraming::None),
    ] {
        assert_eq!(framing(method.clone(), status, field), expected, "{method} {status} {field:?}");
    }
}
