//! Picks the codec of a downstream connection.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio_util::sync::CancellationToken;

use super::{h1_server, h2_server};
use crate::io::prefixed::Prefixed;
use crate::io::stream::Stream;
use crate::listener::{Codec, Hcm};
use crate::message::ConnectionInfo;
use crate::serve::worker::Worker;
use crate::stats::metrics::HttpStats;
use crate::tls::ALPN_OWN;

/// First bytes of HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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
    let mut first = BytesMut::new();
    let http2 = match (hcm.codec, alpn) {
        (Codec::Http1, _) => false,
        (Codec::Http2, _) => true,
        (Codec::Auto, Some(name)) if name == ALPN_OWN || name == b"h2" => true,
        (Codec::Auto, Some(b"http/1.1" | b"http/1.0")) => false,
        (Codec::Auto, _) => {
            // No ALPN says it: the first bytes do.
            let limit = hcm.idle_timeout.unwrap_or(hcm.head_timeout);
            match begins_http2(&mut stream, &mut first, limit, &info.drain).await {
                First::Http2 => true,
                First::Other => false,
                First::Nothing => return,
                First::Drained => {
                    stats.downstream_cx_drain_close.inc();
                    return;
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

/// What a connection begins with.
enum First {
    Http2,
    Other,
    /// The client ended before it was clear, or waited too long.
    Nothing,
    /// It had not spoken when its listener began to drain: there is nothing to wait for.
    Drained,
}

/// Reads until the first bytes say whether they are HTTP/2's.
async fn begins_http2(
    stream: &mut Stream,
    first: &mut BytesMut,
    limit: Duration,
    drain: &CancellationToken,
) -> First {
    loop {
        let seen = first.len().min(PREFACE.len());
        if first[..seen] != PREFACE[..seen] {
            return First::Other;
        }
        if seen == PREFACE.len() {
            return First::Http2;
        }
        let reading = tokio::time::timeout(limit, stream.read_buf(first));
        tokio::select! {
            biased;
            read = reading => match read {
                Ok(Ok(count)) if count > 0 => {}
                _ => return First::Nothing,
            },
            () = drain.cancelled(), if seen == 0 => return First::Drained,
        }
    }
}
