//! Valid messages, and ways to damage them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::corpus;

/// Bytes that parsers disagree about.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\n\n",
    b"\r\n ",
    b"\r\n\t",
    b" ",
    b"\t",
    b"\0",
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xa0",
    b"\xff",
    b":",
    b": ",
    b" :",
    b";",
    b",",
    b"=",
    b"\"",
    b"0",
    b"00000000",
    b"0\r\n\r\n",
    b"1",
    b"3",
    b"a",
    b"f",
    b"ffffffffffffffff",
    b"+",
    b"-",
    b"0x",
    b"_",
    b"#",
    b"?",
    b"/",
    b"*",
    b"@",
    b"[",
    b"]",
    b"%",
    b"<",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/1.2",
    b"Host: y\r\n",
    b"Content-Length: 0\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Transfer-Encoding",
    b"chunked",
    b", chunked",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"close",
    b"Expect: 100-continue\r\n",
    b"GET ",
    b"HEAD ",
    b"CONNECT ",
    b"OPTIONS ",
    b"http://y",
    b" 100 ",
    b" 101 ",
    b" 204 ",
    b" 304 ",
    b"GET / HTTP/1.1\r\nHost: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
];

/// Pipelined requests that must all be accepted, and their number.
pub(crate) fn requests() -> impl Strategy<Value = (usize, Vec<u8>)> {
    vec(request(), 1..4).prop_map(|all| (all.len(), all.concat()))
}

/// Pipelined responses to GET that must all be accepted, and their number.
pub(crate) fn responses() -> impl Strategy<Value = (usize, Vec<u8>)> {
    vec(response(), 1..4).prop_map(|all| (all.len(), all.concat()))
}

/// Something damaged in up to four places: valid requests or responses, or messages of the corpus.
pub(crate) fn damaged(folder: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let valid = match folder {
        "request" => requests().prop_map(|(_, bytes)| bytes).boxed(),
        _ => responses().prop_map(|(_, bytes)| bytes).boxed(),
    };
    let known: Vec<Vec<u8>> = corpus::messages(folder)
        .into_iter()
        .map(|(_, bytes)| bytes)
        .filter(|bytes| bytes.len() < 1000)
        .collect();
    (prop_oneof![3 => valid, 2 => select(known)], vec(damage(), 1..5))
        .prop_map(|(bytes, damages)| damages.iter().fold(bytes, |bytes, damage| damage.apply(bytes)))
}

#[derive(Debug, Clone)]
enum Damage {
    Insert(Index, Vec<u8>),
    Replace(Index, usize, Vec<u8>),
    Delete(Index, usize),
    Duplicate(Index, usize, Index),
    Swap(Index, Index, usize),
    DuplicateLine(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let bytes = || prop_oneof![4 => select(TOKENS).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 1..3)];
    prop_oneof![
        3 => (any::<Index>(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        3 => (any::<Index>(), 1..12usize, bytes()).prop_map(|(at, length, bytes)| Damage::Replace(at, length, bytes)),
        2 => (any::<Index>(), 1..12usize).prop_map(|(at, length)| Damage::Delete(at, length)),
        1 => (any::<Index>(), 1..40usize, any::<Index>()).prop_map(|(at, length, to)| Damage::Duplicate(at, length, to)),
        1 => (any::<Index>(), any::<Index>(), 1..12usize).prop_map(|(at, to, length)| Damage::Swap(at, to, length)),
        1 => any::<Index>().prop_map(Damage::DuplicateLine),
    ]
}

impl Damage {
    fn apply(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let place = |at: &Index| at.index(bytes.len() + 1);
        let range = |at: &Index, length: usize| {
            let start = place(at);
            start..(start + length).min(bytes.len())
        };
        match self {
            Damage::Insert(at, token) => {
                let at = place(at);
                bytes.splice(at..at, token.iter().copied());
            }
            Damage::Replace(at, length, token) => {
                let range = range(at, *length);
                bytes.splice(range, token.iter().copied());
            }
            Damage::Delete(at, length) => {
                let range = range(at, *length);
                bytes.drain(range);
            }
            Damage::Duplicate(at, length, to) => {
                let (copy, to) = (bytes[range(at, *length)].to_vec(), place(to));
                bytes.splice(to..to, copy);
            }
            Damage::Swap(at, to, length) => {
                let (one, other) = (range(at, *length), range(to, *length));
                for (one, other) in one.zip(other) {
                    bytes.swap(one, other);
                }
            }
            Damage::DuplicateLine(at) => {
                let lines: Vec<_> =
                    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                if lines.is_empty() {
                    return bytes;
                }
                let line = at.index(lines.len());
                let before: usize = lines[..line].iter().map(Vec::len).sum();
                bytes.splice(before..before, lines[line].iter().copied());
            }
        }
        bytes
    }
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        4 => ("GET|POST|PUT|DELETE|HEAD|PURGE|[A-Z!#$%&'*+.^_`|~-]{1,8}", path()),
        1 => (Just("OPTIONS".to_owned()), Just("*".to_owned())),
        1 => ("GET|POST", (host(), path()).prop_map(|(host, path)| format!("http://{host}{path}"))),
    ]
    .prop_filter("CONNECT has a form of its own", |(method, _)| method != "CONNECT");
    let version =
        prop_oneof![4 => Just(("HTTP/1.1", "")), 1 => Just(("HTTP/1.0", "connection: keep-alive\r\n"))];
    (start, version, host(), fields(), body()).prop_map(
        |((method, target), (version, keep), host, fields, body)| {
            // Chunks did not exist in HTTP/1.0.
            let body = if version == "HTTP/1.0" && body.chunked { Body::default() } else { body };
            let head =
                format!("{method} {target} {version}\r\nHost: {host}\r\n{keep}{fields}{}\r\n", body.field);
            [head.as_bytes(), &body.bytes].concat()
        },
    )
}

fn response() -> impl Strategy<Value = Vec<u8>> {
    let interim = prop_oneof![
        4 => Just(""),
        1 => Just("HTTP/1.1 100 Continue\r\n\r\n"),
        1 => Just("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    ];
    let status = prop_oneof![4 => 200..=203u16, 1 => 300..=303u16, 1 => 400..=599u16];
    let framed = (status, "( [a-zA-Z ]{0,12})?", fields(), body());
    let framed = framed.prop_map(|(status, reason, fields, body)| {
        let field = if body.field.is_empty() { "Content-Length: 0\r\n" } else { &body.field };
        let head = format!("HTTP/1.1 {status}{reason}\r\n{fields}{field}\r\n");
        [head.as_bytes(), &body.bytes].concat()
    });
    let bodiless = (select(&[204u16, 304][..]), fields())
        .prop_map(|(status, fields)| format!("HTTP/1.1 {status} X\r\n{fields}\r\n").into_bytes());
    (interim, prop_oneof![5 => framed, 1 => bodiless])
        .prop_map(|(interim, response)| [interim.as_bytes(), &response].concat())
}

fn host() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9.-]{0,12}(:[1-9][0-9]{0,3})?|\\[::[0-9a-f]{1,4}\\](:80)?"
}

fn path() -> impl Strategy<Value = String> {
    "/[a-zA-Z0-9/.%~_;,=&+$!*'()@:|{}-]{0,16}(\\?[a-zA-Z0-9/.%=&?`{}-]{0,12})?"
}

fn fields() -> impl Strategy<Value = String> {
    let field = "(X-[A-Z]{1,2}|[a-z!#$%&'*+.^_`|~-]{1,3}|Accept|Cookie):[ \t]{0,2}([!-~]([ -~]{0,12}[!-~])?)?[ \t]{0,2}\r\n";
    let connection = "Connection: (keep-alive|te, x|,)\r\n";
    vec(prop_oneof![5 => field, 1 => connection], 0..5).prop_map(|fields| fields.concat())
}

#[derive(Debug, Clone, Default)]
struct Body {
    field: String,
    bytes: Vec<u8>,
    chunked: bool,
}

fn body() -> impl Strategy<Value = Body> {
    let length = vec(any::<u8>(), 0..40).prop_map(|bytes| Body {
        field: format!("Content-Length: {}\r\n", bytes.len()),
        bytes,
        chunked: false,
    });
    let chunk = (vec(any::<u8>(), 1..20), 0..3usize, "(;[a-z]{1,3}(=[a-z]{1,3}|=\"[ -!#-~]{0,5}\")?){0,2}");
    let chunk = chunk.prop_map(|(data, zeros, extension)| {
        let line = format!("{}{:x}{extension}\r\n", "0".repeat(zeros), data.len());
        [line.as_bytes(), &data, b"\r\n"].concat()
    });
    let trailers = vec("X-T[a-c]: [a-z]{0,5}\r\n", 0..3).prop_map(|trailers| trailers.concat());
    let chunked = (vec(chunk, 0..4), trailers).prop_map(|(chunks, trailers)| Body {
        field: "Transfer-Encoding: chunked\r\n".to_owned(),
        bytes: [chunks.concat().as_slice(), b"0\r\n", trailers.as_bytes(), b"\r\n"].concat(),
        chunked: true,
    });
    prop_oneof![1 => Just(Body::default()), 1 => length, 2 => chunked]
}
