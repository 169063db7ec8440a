//! A packet capture in a node's network namespace: what really goes over the Pods' links.

use std::io::Read as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use portolan_node::network::NetnsHandle;
use socket2::{Domain, Protocol, Socket, Type};

/// ETH_P_ALL in network byte order, as AF_PACKET wants it (packet(7)).
const ALL_PROTOCOLS: i32 = 0x0003_u16.to_be() as i32;
/// Largest frame: virtual links pass whole segments.
const MAX_FRAME: usize = 1 << 16;
/// Frames kept at most; later ones are counted as lost.
const MAX_KEPT: usize = 50_000;
/// Receive buffer of the socket.
const BUFFER: usize = 16 << 20;
/// How often the thread looks whether it should stop.
const POLL: Duration = Duration::from_millis(50);

/// One TCP segment with content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) source: (Ipv4Addr, u16),
    pub(super) destination: (Ipv4Addr, u16),
    pub(super) payload: Vec<u8>,
}

impl Segment {
    /// Is the port on either side?
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.source.1 == port || self.destination.1 == port
    }

    /// Is the address on either side?
    pub(super) fn has_address(&self, address: Ipv4Addr) -> bool {
        self.source.0 == address || self.destination.0 == address
    }

    /// Does it begin with a TLS record (RFC 8446 5.1)?
    pub(super) fn is_tls_record(&self) -> bool {
        matches!(self.payload.as_slice(), [20..=23, 3, 0..=4, ..])
    }

    /// Does it contain the bytes?
    pub(super) fn contains(&self, needle: &[u8]) -> bool {
        self.payload.windows(needle.len()).any(|window| window == needle)
    }
}

/// A capture under way.
pub(super) struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Segment>>,
}

impl Capture {
    /// Starts capturing every frame that any link of the namespace carries.
    pub(super) fn start(netns: &str) -> anyhow::Result<Self> {
        let handle = NetnsHandle::enter(netns).with_context(|| format!("network namespace {netns}"))?;
        let socket = handle
            .run_blocking(|| Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ALL_PROTOCOLS))))?
            .context("opening a packet socket")?;
        socket.set_recv_buffer_size(BUFFER)?;
        socket.set_read_timeout(Some(POLL))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || receive(socket, &stopped))
            .context("starting the capture")?;
        Ok(Self { stop, thread })
    }

    /// Ends the capture and gives what was seen.
    pub(super) async fn finish(self) -> anyhow::Result<Vec<Segment>> {
        // The last packets may still be on their way through the socket.
        tokio::time::sleep(POLL * 2).await;
        self.stop.store(true, Ordering::Relaxed);
        tokio::task::spawn_blocking(move || self.thread.join())
            .await?
            .map_err(|_| anyhow::anyhow!("the capture thread failed"))
    }
}

fn receive(mut socket: Socket, stop: &AtomicBool) -> Vec<Segment> {
    let mut frame = vec![0; MAX_FRAME];
    let mut kept = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        if let Ok(length) = socket.read(&mut frame)
            && let Some(segment) = parse(&frame[..length])
            && kept.len() < MAX_KEPT
        {
            kept.push(segment);
        }
    }
    kept
}

/// The TCP segment in an Ethernet frame with IPv4, if it carries content (RFC 791 3.1, RFC 9293 3.1).
fn parse(frame: &[u8]) -> Option<Segment> {
    let (ethernet, ip) = frame.split_at_checked(14)?;
    if ethernet[12..14] != [0x08, 0x00] {
        return None;
    }
    let header = usize::from(ip.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    // Segments that a link passes whole may say 0 here.
    let ip = if total >= header && total <= ip.len() { &ip[..total] } else { ip };
    if ip.get(9) != Some(&6) {
        return None;
    }
    let address = |at: usize| -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = ip.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    };
    let (source, destination) = (address(12)?, address(16)?);
    let tcp = ip.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    let offset = usize::from(tcp.get(12)? >> 4) * 4;
    let payload = tcp.get(offset..)?;
    if payload.is_empty() {
        return None;
    }
    Some(Segment {
        source: (source, port(0)?),
        destination: (destination, port(2)?),
        payload: payload.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00]);
        let total = u16::try_from(40 + payload.len()).unwrap().to_be_bytes();
        frame.extend([0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x23, 0x78, 0x3c, 0x53, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn segments_are_read_and_others_skipped() {
        let segment = parse(&frame(b"\x17\x03\x03hidden")).unwrap();
        assert_eq!(segment.source, (Ipv4Addr::new(10, 0, 0, 1), 9080));
        assert_eq!(segment.destination, (Ipv4Addr::new(10, 0, 0, 2), 15443));
        assert!(segment.is_tls_record() && segment.has_port(15443) && !segment.contains(b"HTTP"));
        assert_eq!(parse(&frame(b"")), None);
        // Padding of a short frame is not content.
        let mut padded = frame(b"");
        padded.extend([0; 6]);
        assert_eq!(parse(&padded), None);
        for length in 0..54 {
            assert_eq!(parse(&frame(b"x")[..length]), None);
        }
    }
}
