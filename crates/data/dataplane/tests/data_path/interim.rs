//! Heads before the response.
#![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

use std::io::Write;

use crate::support::*;

const HINTS: [&str; 2] = ["</a.css>; rel=preload", "</b.css>; rel=preload"];

/// All heads up to the final one.
fn heads(at: std::net::SocketAddr) -> Vec<String> {
    let mut stream = connect(at);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut heads = Vec::new();
    loop {
        let head = read_message(&mut stream).unwrap();
        let last = status(&head) >= 200;
        heads.push(head);
        if last {
            return heads;
        }
    }
}

fn assert_hints(heads: &[String]) {
    let codes: Vec<u16> = heads.iter().map(|head| status(head)).collect();
    assert_eq!(codes, [103, 103, 200], "{heads:?}");
    for (head, hint) in heads.iter().zip(HINTS) {
        assert!(head.contains(&format!("link: {hint}\r\n")), "{hint} in {head}");
    }
}

#[test]
fn every_early_hint_of_http1_is_passed_on() {
    let backend = Backend::new(|_, _| {
        let hints = HINTS.map(|hint| format!("HTTP/1.1 103 Early Hints\r\nLink: {hint}\r\n\r\n")).concat();
        format!("{hints}{}", respond(200, "x"))
    });
    let plane = Plane::new();
    assert_hints(&heads(plane.simple(&[backend.address])));
}

#[test]
fn every_early_hint_of_http2_is_passed_on() {
    let backend = http2_backend(|mut respond| async move {
        for hint in HINTS {
            let mut head = http::Response::new(());
            *head.status_mut() = http::StatusCode::EARLY_HINTS;
            head.headers_mut().insert("link", hint.parse().unwrap());
            respond.send_informational(head).unwrap();
        }
        let _ = respond.send_response(http::Response::new(()), true);
    });
    let plane = Plane::new();
    let mut cluster = static_cluster("backend", &[backend]);
    #[allow(deprecated, reason = "the shortest way to ask for HTTP/2")]
    {
        cluster.http2_protocol_options = Some(core::Http2ProtocolOptions::default());
    }
    plane.cluster(&cluster);
    let manager = manager(table("r", vec![forward("/", to_cluster("backend"))]));
    assert_hints(&heads(plane.listen(&listener("l", vec![chain(any(&manager))]))));
}
