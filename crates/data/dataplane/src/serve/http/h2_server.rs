//! Downstream HTTP/2 connections.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request as HttpRequest, header};

use super::incoming::Incoming;
use super::manager;
use super::respond::Responder;
use super::state::Scope;
use crate::io::metered::Metered;
use crate::io::prefixed::Prefixed;
use crate::io::timer::Alarm;
use crate::io::timer::now;
use crate::listener::Hcm;
use crate::message::{Body, ConnectionInfo, Protocol};
use crate::serve::worker::Worker;

/// Receive window of a stream.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Receive window of a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Largest frame accepted.
const MAX_FRAME: u32 = 64 * 1024;
/// Bytes queued in a stream towards a slow client.
const MAX_SEND_BUFFER: usize = 256 * 1024;
/// Streams that a client may reset before we served them (rapid reset).
const MAX_PENDING_RESETS: usize = 50;

/// Serves one connection.
pub(crate) async fn serve(worker: Rc<Worker>, hcm: Arc<Hcm>, info: Rc<ConnectionInfo>, stream: Prefixed) {
    let scope = Rc::new(Scope { worker, hcm, connection: info });
    let hcm = &scope.hcm;
    let (stats, id) = (hcm.stats.clone(), scope.worker.id);
    let stream = Metered::new(stream, move |read, written| {
        stats.of(id).downstream_cx_rx_bytes_total.add(read);
        stats.of(id).downstream_cx_tx_bytes_total.add(written);
    });
    let handshake = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_concurrent_streams(hcm.max_streams)
        .max_header_list_size(u32::try_from(hcm.limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(MAX_SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .handshake::<_, Bytes>(stream);
    let mut connection = match tokio::time::timeout(hcm.head_timeout, handshake).await {
        Ok(Ok(connection)) => connection,
        _ => {
            scope.stats().downstream_cx_protocol_error.inc();
            return;
        }
    };
    let active = Rc::new(Cell::new(0usize));
    let drain = scope.connection.drain.clone();
    let mut drained = std::pin::pin!(drain.cancelled());
    let mut draining = false;
    let mut cut_at: Option<tokio::time::Instant> = None;
    let mut last_active = now();
    let mut streams = 0u32;
    loop {
        if active.get() > 0 {
            last_active = now();
        }
        let idle_until = hcm.idle_timeout.map(|limit| tokio::time::Instant::from_std(last_active + limit));
        let wake = match (idle_until, cut_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    last_active = now();
                    streams += 1;
                    if hcm.max_requests > 0 && streams >= hcm.max_requests && !draining {
                        draining = true;
                        connection.graceful_shutdown();
                    }
                    let (scope, stream) = (scope.clone(), ActiveStream::new(&active));
                    tokio::task::spawn_local(async move {
                        let _stream = stream;
                        serve_stream(&scope, request, respond).await;
                    });
                }
                Some(Err(error)) => {
                    if !error.is_io() {
                        scope.stats().downstream_cx_protocol_error.inc();
                    }
                    return;
                }
                None => return,
            },
            () = &mut drained, if !draining => {
                draining = true;
                scope.stats().downstream_cx_drain_close.inc();
                connection.graceful_shutdown();
                cut_at = Some(tokio::time::Instant::now() + scope.worker.shared.drain_time);
            }
            () = sleep_until(wake) => {
                if cut_at.is_some_and(|at| at <= tokio::time::Instant::now()) {
                    return;
                }
                if active.get() == 0 && hcm.idle_timeout.is_some_and(|limit| now().saturating_duration_since(last_active) >= limit) {
                    scope.stats().downstream_cx_idle_timeout.inc();
                    connection.graceful_shutdown();
                    last_active = now();
                    cut_at.get_or_insert(tokio::time::Instant::now() + scope.worker.shared.drain_time);
                }
            }
        }
    }
}

/// Counts a stream as active while it lives, however its task ends.
struct ActiveStream(Rc<Cell<usize>>);

impl ActiveStream {
    fn new(active: &Rc<Cell<usize>>) -> Self {
        active.set(active.get() + 1);
        ActiveStream(active.clone())
    }
}

impl Drop for ActiveStream {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

async fn sleep_until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Clients may send a cookie in pieces; everything but HTTP/2 wants it whole (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(whole) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        headers.insert(header::COOKIE, whole);
    }
}

async fn serve_stream(scope: &Scope, request: HttpRequest<RecvStream>, respond: SendResponse<Bytes>) {
    let (mut parts, stream) = request.into_parts();
    let host = parts.headers.remove(header::HOST).and_then(|value| value.to_str().ok().map(str::to_owned));
    // `:authority` and `host` that disagree would route one way and be served another.
    let authority = match (parts.uri.authority().map(|authority| authority.as_str().to_owned()), host) {
        (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(&host) => None,
        (Some(authority), _) => Some(authority),
        (None, host) => host,
    };
    join_cookies(&mut parts.headers);
    let incoming = Incoming {
        method: parts.method,
        authority,
        path: parts.uri.path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default(),
        headers: parts.headers,
        protocol: Protocol::Http2,
        expect_continue: false,
    };
    let body = if stream.is_end_stream() { Body::Empty } else { Body::H2(stream) };
    let mut responder = Responder::h2(respond);
    scope.stats().downstream_rq_http2_total.inc();
    manager::handle(scope, incoming, body, &mut responder, &mut Alarm::default()).await;
}

#[cfg(test)]
mod tests {
    use super::super::testing::{pair, scope};
    use super::*;

    #[tokio::test]
    async fn a_stream_whose_task_is_aborted_counts_no_longer() {
        let active = Rc::new(Cell::new(0));
        let local = tokio::task::LocalSet::new();
        let stream = ActiveStream::new(&active);
        let task = local.spawn_local(async move {
            let _stream = stream;
            std::future::pending::<()>().await;
        });
        assert_eq!(active.get(), 1);
        task.abort();
        local.await;
        assert_eq!(active.get(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_after_the_idle_timeout() {
        const LIMIT: std::time::Duration = std::time::Duration::from_secs(7);
        let test = async {
            let scope = scope(|hcm| {
                let idle = portolan_envoy_api::pb::google::protobuf::Duration { seconds: 7, nanos: 0 };
                hcm.common_http_protocol_options.get_or_insert_default().idle_timeout = Some(idle);
            });
            let (stream, client) = pair();
            let (worker, hcm, info) = (scope.worker.clone(), scope.hcm.clone(), scope.connection.clone());
            let stream = Prefixed { first: bytes::BytesMut::new(), stream };
            tokio::task::spawn_local(serve(worker, hcm, info, stream));
            let start = tokio::time::Instant::now();
            let (_send, connection) = h2::client::handshake(client).await.unwrap();
            let _ = connection.await;
            assert_eq!(start.elapsed().as_secs(), LIMIT.as_secs());
            assert_eq!(scope.stats().downstream_cx_idle_timeout.get(), 1);
        };
        tokio::task::LocalSet::new().run_until(test).await;
    }
}
