//! `envoy.filters.listener.http_inspector`: tells HTTP from other plaintext by its first line.

use super::{Inspected, Kind, ListenerFilter, Verdict};

/// First line of HTTP that is waited for at most.
pub(super) const MAX_FIRST_LINE: usize = 8 * 1024;
/// Start of an HTTP/2 connection.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

pub(super) const KIND: Kind = Kind {
    message: "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
    name: "envoy.filters.listener.http_inspector",
    make: || Box::new(HttpInspector),
};

#[derive(Debug)]
struct HttpInspector;

impl ListenerFilter for HttpInspector {
    fn inspect(&self, bytes: &[u8], found: &mut Inspected) -> Verdict {
        if found.is_tls {
            return Verdict::Done;
        }
        match http_version(bytes) {
            Guess::More => Verdict::More,
            Guess::No => Verdict::Done,
            Guess::Is(protocol) => {
                found.protocols = vec![protocol.as_bytes().to_vec()];
                Verdict::Done
            }
        }
    }
}

enum Guess {
    More,
    No,
    Is(&'static str),
}

fn http_version(bytes: &[u8]) -> Guess {
    if bytes.starts_with(H2_PREFACE) {
        return Guess::Is("h2c");
    }
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
        let plausible = match bytes.get(method) {
            None => method <= 32,
            Some(b' ') => {
                method > 0 && bytes[method..].iter().all(|byte| (0x20..0x7f).contains(byte) || *byte == b'\r')
            }
            Some(_) => false,
        };
        return if plausible && bytes.len() < MAX_FIRST_LINE { Guess::More } else { Guess::No };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    if line.ends_with(b" HTTP/1.1") {
        Guess::Is("http/1.1")
    } else if line.ends_with(b" HTTP/1.0") {
        Guess::Is("http/1.0")
    } else {
        Guess::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect(bytes: &[u8]) -> (Verdict, Vec<Vec<u8>>) {
        let mut found = Inspected::default();
        (HttpInspector.inspect(bytes, &mut found), found.protocols)
    }

    #[test]
    fn the_first_line_says_the_version() {
        for (line, protocol) in [
            (&b"GET / HTTP/1.1\r\n"[..], &b"http/1.1"[..]),
            (b"GET / HTTP/1.0\n", b"http/1.0"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"h2c"),
        ] {
            assert_eq!(inspect(line), (Verdict::Done, vec![protocol.to_vec()]), "{line:?}");
        }
    }

    #[test]
    fn half_a_line_that_may_be_http_is_waited_for() {
        for line in [&b""[..], b"PRI * HT", b"GET /path", b"OPTIONS"] {
            assert_eq!(inspect(line), (Verdict::More, Vec::new()), "{line:?}");
        }
    }

    #[test]
    fn what_cannot_be_http_is_not_waited_for() {
        for line in [&b"\x00\x01"[..], b"get / HTTP/1.1", b"SSH-2.0-x\r\n", b"GET \x00", b" GET"] {
            assert_eq!(inspect(line), (Verdict::Done, Vec::new()), "{line:?}");
        }
    }

    #[test]
    fn tls_is_left_alone() {
        let mut found = Inspected { is_tls: true, ..Inspected::default() };
        assert_eq!(HttpInspector.inspect(b"GET", &mut found), Verdict::Done);
    }

    #[test]
    fn a_first_line_has_a_longest_length() {
        let line = |length: usize| format!("GET /{}", "a".repeat(length - 5));
        assert_eq!(inspect(line(MAX_FIRST_LINE - 1).as_bytes()).0, Verdict::More);
        assert_eq!(inspect(line(MAX_FIRST_LINE).as_bytes()).0, Verdict::Done);
    }

    #[test]
    fn the_preface_of_http2_is_waited_for_to_its_end() {
        for end in 0..H2_PREFACE.len() {
            assert_eq!(inspect(&H2_PREFACE[..end]).0, Verdict::More, "{end}");
        }
    }
}
