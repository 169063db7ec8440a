//! For tests without a runtime: a plain HTTP/1.1 client and backends on threads of their own. Texts go over the wire as
//! they are written, so that a test shows, and sees, every byte.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::PATIENCE;
use crate::wait::LOOK;

/// Looks again and again until `check` returns something. `what` is said when it never does.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        #[expect(clippy::disallowed_methods, reason = "a pause between two looks, on a test's own thread")]
        std::thread::sleep(LOOK);
    }
}

/// A connection on which a read fails that takes too long.
pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes and reads until the peer closes.
pub fn exchange(to: SocketAddr, request: &str) -> String {
    let mut stream = connect(to);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// GET on a connection of its own, and all of the answer. `fields` are further header lines, each with its line end.
pub fn get(to: SocketAddr, path: &str, fields: &str) -> String {
    exchange(to, &format!("GET {path} HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n{fields}\r\n"))
}

/// The status of an answer.
pub fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
}

/// What follows the head of a message, as it came.
pub fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// Reads one HTTP/1 message, whose body ends by its length, by an empty chunk, or with the head; `None` at the end of
/// the connection.
pub fn read_message(stream: &mut TcpStream) -> Option<String> {
    let mut message = Vec::new();
    read_until(stream, &mut message, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&message).to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    if let Some(length) = field("content-length:") {
        let mut body = vec![0; length.trim().parse().unwrap()];
        stream.read_exact(&mut body).ok()?;
        message.extend(body);
    } else if field("transfer-encoding:").is_some() {
        read_until(stream, &mut message, b"0\r\n\r\n")?;
    }
    Some(String::from_utf8_lossy(&message).into_owned())
}

/// Byte by byte, so that nothing of the next message is taken.
fn read_until(stream: &mut TcpStream, message: &mut Vec<u8>, end: &[u8]) -> Option<()> {
    let mut byte = [0; 1];
    while !message.ends_with(end) {
        stream.read_exact(&mut byte).ok()?;
        message.push(byte[0]);
    }
    Some(())
}

/// A response with `content-length`.
pub fn respond(code: u16, text: &str) -> String {
    format!("HTTP/1.1 {code} X\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

/// An HTTP/1 backend that answers each request by a function and records all of them. Serves until the process ends.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
}

impl Backend {
    /// `answer` gets a request and its number, from 1 on; an empty answer closes the connection.
    pub fn new(answer: impl Fn(&str, usize) -> String + Send + Sync + 'static) -> Backend {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let answer = Arc::new(answer);
        let (all, count) = (requests.clone(), connections.clone());
        std::thread::spawn(move || {
            for stream in socket.incoming() {
                let Ok(mut stream) = stream else { return };
                count.fetch_add(1, Relaxed);
                let (all, answer) = (all.clone(), answer.clone());
                std::thread::spawn(move || {
                    while let Some(request) = read_message(&mut stream) {
                        let number = {
                            let mut all = all.lock().unwrap();
                            all.push(request.clone());
                            all.len()
                        };
                        let text = answer(&request, number);
                        if text.is_empty() || stream.write_all(text.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Backend { address, requests, connections }
    }

    /// Says 200 and `text` to everything.
    pub fn ok(text: &'static str) -> Backend {
        Backend::new(move |_, _| respond(200, text))
    }

    /// Never answers.
    pub fn silent() -> Backend {
        Backend::new(|_, _| {
            loop {
                std::thread::park();
            }
        })
    }

    /// The newest request; empty before the first.
    pub fn last(&self) -> String {
        self.requests.lock().unwrap().last().cloned().unwrap_or_default()
    }

    /// Requests so far.
    pub fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_looked_at_until_it_holds() {
        let mut looks = 0;
        let found = eventually("the third look", || {
            looks += 1;
            (looks == 3).then_some("found")
        });
        assert_eq!(found, "found");
    }

    #[test]
    fn messages_end_where_they_say() {
        let backend = Backend::new(|request, number| respond(200, &format!("{number} {}", body(request))));
        let mut stream = connect(backend.address);
        let requests = [
            "POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nab",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
        ];
        stream.write_all(requests.concat().as_bytes()).unwrap();
        for expected in ["1 ab", "2 1\r\nx\r\n0\r\n\r\n", "3 "] {
            let answer = read_message(&mut stream).unwrap();
            assert_eq!((status(&answer), body(&answer)), (200, expected));
        }
        assert_eq!((backend.count(), backend.connections()), (3, 1));
        assert_eq!(backend.last(), requests[2]);
    }

    #[test]
    fn an_empty_answer_ends_the_connection() {
        let backend = Backend::new(|_, _| String::new());
        assert_eq!(get(backend.address, "/", ""), "");
    }
}
