//! Questions for other servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::Instant;

use crate::framing;
use crate::limits::{FORWARD_TIMEOUT, MAX_DATAGRAM, MAX_SERVERS};

/// The part of an answer that says which question it belongs to.
const ID_LENGTH: usize = 2;
/// Length of a message's header (RFC 1035 4.1.1); what is shorter is no answer.
const HEADER_LENGTH: usize = 12;

/// Asks one server after the other. How many questions wait at a time is bounded by who asks: [`crate::Server`] does.
#[derive(Debug)]
pub struct Forwarder {
    servers: Vec<SocketAddr>,
    hold_off: Duration,
    /// Until when nobody is asked; written by whoever met silence, read by every question.
    silent_until: Mutex<Option<Instant>>,
}

impl Forwarder {
    /// Asks `servers` in their order, at most [`MAX_SERVERS`] of them.
    pub fn new(mut servers: Vec<SocketAddr>) -> Self {
        servers.truncate(MAX_SERVERS);
        Forwarder { servers, hold_off: Duration::ZERO, silent_until: Mutex::new(None) }
    }

    /// After silence of all servers questions fail at once for this long, so that programs on a machine without a
    /// network do not hang in every look-up.
    pub fn hold_off(mut self, hold_off: Duration) -> Self {
        self.hold_off = hold_off;
        self
    }

    /// The answer as it came; `None` when nobody answers. Takes at most [`FORWARD_TIMEOUT`] per server.
    pub async fn ask(&self, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
        if self.silent_until.lock().is_some_and(|until| Instant::now() < until) {
            return None;
        }
        for server in &self.servers {
            let answer = async {
                if tcp { over_tcp(*server, question).await } else { over_udp(*server, question).await }
            };
            match tokio::time::timeout(FORWARD_TIMEOUT, answer).await {
                Ok(Ok(answer)) => {
                    *self.silent_until.lock() = None;
                    return Some(answer);
                }
                Ok(Err(error)) => tracing::debug!(%server, %error, "forwarding a DNS question"),
                Err(_) => tracing::debug!(%server, "no answer to a forwarded DNS question"),
            }
        }
        *self.silent_until.lock() = Some(Instant::now() + self.hold_off);
        None
    }
}

async fn over_udp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // A fresh port per question and a connected socket: only the server can answer, and it cannot be guessed.
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answers(&buffer[..length], question) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    framing::write(&mut stream, question).await?;
    let answer = framing::read(&mut stream, usize::from(u16::MAX)).await?;
    if answers(&answer, question) {
        Ok(answer)
    } else {
        Err(std::io::Error::other("the server answered another question"))
    }
}

fn answers(answer: &[u8], question: &[u8]) -> bool {
    answer.len() >= HEADER_LENGTH && answer.get(..ID_LENGTH) == question.get(..ID_LENGTH)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const QUESTION: [u8; 16] = [7, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];

    fn answer(id: u8) -> Vec<u8> {
        let mut answer = QUESTION.to_vec();
        answer[0] = id;
        answer
    }

    #[tokio::test]
    async fn only_the_answer_to_the_question_counts() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let forwarder = Forwarder::new(vec![server.local_addr().unwrap()]);
        let (got, ()) = tokio::join!(forwarder.ask(&QUESTION, false), async {
            let mut buffer = [0; 64];
            let (_, peer) = server.recv_from(&mut buffer).await.unwrap();
            for datagram in [vec![7, 7], answer(9), answer(7)] {
                server.send_to(&datagram, peer).await.unwrap();
            }
        });
        assert_eq!(got, Some(answer(7)));
    }

    #[tokio::test]
    async fn over_tcp_the_length_comes_first() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let forwarder = Forwarder::new(vec![server.local_addr().unwrap()]);
        let (got, ()) = tokio::join!(forwarder.ask(&QUESTION, true), async {
            let (mut stream, _) = server.accept().await.unwrap();
            assert_eq!(framing::read(&mut stream, 64).await.unwrap(), QUESTION);
            framing::write(&mut stream, &answer(7)).await.unwrap();
        });
        assert_eq!(got, Some(answer(7)));
    }

    #[tokio::test(start_paused = true)]
    async fn after_silence_questions_fail_at_once_for_the_hold_off() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let hold_off = Duration::from_secs(5);
        let forwarder = Forwarder::new(vec![silent.local_addr().unwrap()]).hold_off(hold_off);
        let asked = async || {
            let started = Instant::now();
            assert_eq!(forwarder.ask(&QUESTION, false).await, None);
            started.elapsed()
        };
        assert!(asked().await >= FORWARD_TIMEOUT);
        assert_eq!(asked().await, Duration::ZERO);
        tokio::time::advance(hold_off).await;
        assert!(asked().await >= FORWARD_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_hold_off_the_next_question_is_asked() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let forwarder = Forwarder::new(vec![silent.local_addr().unwrap()]);
        for _ in 0..2 {
            let started = Instant::now();
            assert_eq!(forwarder.ask(&QUESTION, false).await, None);
            assert!(started.elapsed() >= FORWARD_TIMEOUT);
        }
    }
}
