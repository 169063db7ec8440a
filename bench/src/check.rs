//! Whether what is about to be measured does what the scenario says. A proxy that is fast because it leaves something out
//! would otherwise look good.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::configuration::{BODY, CLIENT_IDENTITY, HOST};
use crate::error::BenchError;
use crate::scenario::{Hop, Topology};

/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Longest answer that is read: an admin page.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// `GET path`: status, and everything after the head as it came (chunks are not put together).
pub(crate) async fn http(port: u16, path: &str, host: &str) -> Option<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    };
    timeout(ANSWER_WITHIN, exchange).await.ok()?
}

/// Asks what must be answered, and what must be refused. `admin` belongs to the first proxy.
pub(crate) async fn behaviour(
    topology: Topology,
    entry: u16,
    admin: u16,
    implementation: &'static str,
    scenario: &'static str,
) -> Result<(), BenchError> {
    let wrong = |what: String| BenchError::Behaviour { implementation, scenario, what };
    let expect = async |path: &str, status: u16, text: &str| match http(entry, path, HOST).await {
        Some((got, body)) if got == status && body.contains(text) => Ok(()),
        Some((got, body)) => {
            let body: String = body.chars().take(400).collect();
            Err(wrong(format!("GET {path}: expected {status} with {text:?}, got {got}: {body}")))
        }
        None => Err(wrong(format!("GET {path}: no answer"))),
    };
    expect("/", 200, BODY).await?;
    let Topology::Pair { hop, .. } = topology else { return Ok(()) };
    expect("/xfcc", 200, &format!("URI={CLIENT_IDENTITY}")).await?;
    expect("/private/page", 403, "").await?;
    expect("/page.bak", 403, "").await?;
    let protocol = match hop {
        Hop::Http1 => "http1",
        Hop::Http2 => "http2",
        Hop::Mesh => return Ok(()),
    };
    let counter = format!("cluster.outbound|80||{HOST}.upstream_cx_{protocol}_total: ");
    let (_, stats) =
        http(admin, "/stats", "localhost").await.ok_or_else(|| wrong("admin: no /stats".to_owned()))?;
    let counted = stats.lines().find_map(|line| line.strip_prefix(&counter)?.trim().parse::<u64>().ok());
    match counted {
        Some(1..) => Ok(()),
        _ => Err(wrong(format!("{counter}expected at least 1, got {counted:?}"))),
    }
}
