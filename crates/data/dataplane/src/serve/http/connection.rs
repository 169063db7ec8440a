//! Picks the codec of a downstream connection; timers.

use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::AsyncReadExt as _;
use tokio::time::Sleep;

use super::{h1_server, h2_server};
use crate::config::connection_manager::{Codec, Hcm};
use crate::net::stream::Stream;
use crate::net::{ConnectionInfo, Worker};
use crate::telemetry::metrics::HttpStats;
use crate::tls::ALPN_OWN;

/// First bytes of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One timer that is moved instead of made anew: it is armed for the earliest deadline that was ever asked for and
/// re-armed when it fires early.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when `deadline` has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let deadline = tokio::time::Instant::from_std(deadline);
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.is_elapsed() || sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if tokio::time::Instant::now() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

/// Counts a connection as active while it lives.
struct Active<'a>(&'a HttpStats);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.downstream_cx_active.dec();
        self.0.downstream_cx_destroy.inc();
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, hcm: Arc<Hcm>, info: Rc<ConnectionInfo>, mut stream: Stream) {
    let stats = hcm.stats.clone();
    let stats = stats.of(worker.id);
    stats.downstream_cx_total.inc();
    stats.downstream_cx_active.inc();
    let _active = Active(stats);
    if info.tls.is_some() {
        stats.downstream_cx_ssl_total.inc();
    }
    let alpn = info.tls.as_ref().and_then(|tls| tls.alpn.as_deref());
    let mut first = bytes::BytesMut::new();
    let http2 = match (hcm.codec, alpn) {
        (Codec::Http1, _) => false,
        (Codec::Http2, _) => true,
        (Codec::Auto, Some(name)) if name == ALPN_OWN || name == b"h2" => true,
        (Codec::Auto, Some(b"http/1.1" | b"http/1.0")) => false,
        (Codec::Auto, _) => {
            // No ALPN says it: the first bytes do.
            let limit = hcm.idle_timeout.unwrap_or(hcm.head_timeout);
            loop {
                let seen = first.len().min(PREFACE.len());
                if first[..seen] != PREFACE[..seen] {
                    break false;
                }
                if seen == PREFACE.len() {
                    break true;
                }
                match tokio::time::timeout(limit, stream.read_buf(&mut first)).await {
                    Ok(Ok(count)) if count > 0 => {}
                    _ => return,
                }
            }
        }
    };
    if http2 {
        stats.downstream_cx_http2_total.inc();
        // Much larger than its HTTP/1 brother, and the task of either is as large as the larger one.
        Box::pin(h2_server::serve(worker, hcm, info, Prefixed { first, stream })).await;
    } else {
        stats.downstream_cx_http1_total.inc();
        h1_server::serve(worker, hcm, info, stream, first).await;
    }
}

/// A stream whose first bytes were read already.
#[derive(Debug)]
pub(crate) struct Prefixed {
    first: bytes::BytesMut,
    stream: Stream,
}

impl tokio::io::AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.first.is_empty() {
            let take = self.first.len().min(buf.remaining());
            let piece = self.first.split_to(take);
            buf.put_slice(&piece);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
