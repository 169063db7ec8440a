//! Names outside the cluster: asked of the machine's resolver, from the machine's own network namespace.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::Instant;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long one server may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// After a time-out of all servers questions fail at once for this long, so that programs on a machine without
/// a network do not hang in every look-up.
const HOLD_OFF: Duration = Duration::from_secs(5);
/// Servers that are used, as in the C library.
const MAX_SERVERS: usize = 3;
/// Questions that wait for an answer at the same time.
const MAX_PENDING: usize = 128;
/// Largest answer over UDP (the usual EDNS size is far smaller).
const MAX_UDP: usize = 4096;

/// Forwards questions.
pub(crate) struct Forwarder {
    servers: Vec<SocketAddr>,
    pending: Semaphore,
    broken_until: Mutex<Option<Instant>>,
}

impl Forwarder {
    /// Uses the servers of the machine's /etc/resolv.conf.
    pub(crate) fn of_machine() -> Forwarder {
        Forwarder::new(servers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default()))
    }

    pub(crate) fn new(servers: Vec<SocketAddr>) -> Forwarder {
        Forwarder { servers, pending: Semaphore::new(MAX_PENDING), broken_until: Mutex::new(None) }
    }

    /// The answer as it came, or `None`: SERVFAIL.
    pub(crate) async fn ask(&self, question: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let _permit = self.pending.try_acquire().ok()?;
        if self.broken_until.lock().is_some_and(|until| Instant::now() < until) {
            return None;
        }
        for server in &self.servers {
            let answer = async {
                if tcp { over_tcp(*server, question).await } else { over_udp(*server, question).await }
            };
            match tokio::time::timeout(TIMEOUT, answer).await {
                Ok(Ok(answer)) => {
                    *self.broken_until.lock() = None;
                    return Some(answer);
                }
                Ok(Err(error)) => tracing::debug!(%server, %error, "forwarding a DNS question"),
                Err(_) => tracing::debug!(%server, "no answer to a forwarded DNS question"),
            }
        }
        *self.broken_until.lock() = Some(Instant::now() + HOLD_OFF);
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
    let mut buffer = vec![0; MAX_UDP];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer.get(..2) == question.get(..2) && length >= 12 {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(std::io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(question).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn servers(resolv_conf: &str) -> Vec<SocketAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok())
        .take(MAX_SERVERS)
        .map(|ip| SocketAddr::new(ip, 53))
        .collect()
}
