//! Downstream HTTP/1 connections.

use std::cell::RefCell;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::Method;
use portolan_h1::{BodyDecoder, Reject, RequestHead, RequestParser, Target, Version};
use tokio::io::AsyncWrite as _;

use super::incoming::Incoming;
use super::manager;
use super::respond::Responder;
use super::state::Scope;
use crate::io::buffered::BufferedIo;
use crate::io::stream::Stream;
use crate::io::timer::Alarm;
use crate::io::timer::now;
use crate::listener::Hcm;
use crate::message::{Body, ConnectionInfo, Protocol};
use crate::serve::worker::Worker;

/// How long a closing connection is read on, so that the client gets the answer before a reset (Envoy's
/// `delayed_close_timeout`).
const LINGER: Duration = Duration::from_secs(1);

enum Head {
    Request(Box<RequestHead>),
    Refused(Reject),
    /// The client ended, or waited too long without a byte.
    Closed,
    /// The head came too slowly.
    TooSlow,
}

/// Serves one connection.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    hcm: Arc<Hcm>,
    info: Rc<ConnectionInfo>,
    stream: Stream,
    first: BytesMut,
) {
    let scope = Scope { worker, hcm, connection: info };
    let io = Rc::new(RefCell::new(BufferedIo::new(stream)));
    // Read to see which protocol it is; these bytes count too.
    io.borrow_mut().rx_bytes = first.len() as u64;
    io.borrow_mut().input = first;
    {
        let mut serving = std::pin::pin!(serve_requests(&scope, &io));
        let drain = &scope.connection.drain;
        let cut = async {
            drain.cancelled().await;
            tokio::time::sleep(scope.worker.shared.drain_time).await;
        };
        tokio::select! {
            biased;
            () = &mut serving => {}
            () = cut => {
                // The request that is under way ends as if its client had left, and is logged.
                io.borrow_mut().abort();
                serving.await;
            }
        }
    }
    let stats = scope.stats();
    {
        let io = io.borrow();
        stats.downstream_cx_rx_bytes_total.add(io.rx_bytes);
        stats.downstream_cx_tx_bytes_total.add(io.tx_bytes);
    }
    linger(&io).await;
}

/// Serves one request after the other, until the connection is of no more use.
async fn serve_requests(scope: &Scope, io: &Rc<RefCell<BufferedIo>>) {
    let mut parser = RequestParser::new(scope.hcm.limits);
    let mut alarm = Alarm::default();
    let mut served = 0u32;
    loop {
        match read_head(scope, io, &mut parser, &mut alarm).await {
            Head::Request(head) => {
                served += 1;
                // On the heap while it lasts: an idle connection must not hold the kilobytes that a request's state needs.
                if !Box::pin(serve_one(scope, io, head, served, &mut alarm)).await {
                    return;
                }
            }
            Head::Refused(reject) => {
                return Box::pin(manager::refuse(scope, io, reject, &mut alarm)).await;
            }
            Head::TooSlow => {
                scope.stats().downstream_rq_timeout.inc();
                return Box::pin(manager::refuse_slow(scope, io, &mut alarm)).await;
            }
            Head::Closed => return,
        }
        io.borrow_mut().park();
    }
}

async fn read_head(
    scope: &Scope,
    io: &Rc<RefCell<BufferedIo>>,
    parser: &mut RequestParser,
    alarm: &mut Alarm,
) -> Head {
    let hcm = &scope.hcm;
    let start = now();
    let mut first_byte: Option<Instant> = None;
    let drain = &scope.connection.drain;
    let mut drained = std::pin::pin!(drain.cancelled());
    poll_fn(|cx| {
        let mut io = io.borrow_mut();
        loop {
            if !io.input.is_empty() {
                first_byte.get_or_insert_with(now);
                match parser.parse(&mut io.input) {
                    Ok(Some(head)) => return Poll::Ready(Head::Request(Box::new(head))),
                    Ok(None) => {}
                    Err(reject) => return Poll::Ready(Head::Refused(reject)),
                }
            }
            if io.eof {
                return Poll::Ready(Head::Closed);
            }
            match io.poll_fill(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Head::Closed),
                Poll::Pending => break,
            }
        }
        let deadline = match first_byte {
            Some(at) => Some(at + hcm.head_timeout),
            None => hcm.idle_timeout.map(|limit| start + limit),
        };
        if alarm.poll(cx, deadline).is_ready() {
            if first_byte.is_some() {
                return Poll::Ready(Head::TooSlow);
            }
            scope.stats().downstream_cx_idle_timeout.inc();
            return Poll::Ready(Head::Closed);
        }
        // An idle connection of a draining listener has nothing to wait for.
        if first_byte.is_none() && drained.as_mut().poll(cx).is_ready() {
            scope.stats().downstream_cx_drain_close.inc();
            return Poll::Ready(Head::Closed);
        }
        Poll::Pending
    })
    .await
}

/// Serves one request; false when the connection must close.
async fn serve_one(
    scope: &Scope,
    io: &Rc<RefCell<BufferedIo>>,
    head: Box<RequestHead>,
    served: u32,
    alarm: &mut Alarm,
) -> bool {
    let hcm = &scope.hcm;
    let head = *head;
    let protocol = match head.version {
        Version::Http10 => Protocol::Http10,
        Version::Http11 => Protocol::Http11,
    };
    let drain = scope.connection.drain.is_cancelled();
    let spent = hcm.max_requests > 0 && served >= hcm.max_requests;
    let keep_alive = head.keep_alive && !drain && !spent;
    if drain {
        scope.stats().downstream_cx_drain_close.inc();
    }
    let decoder = Rc::new(RefCell::new(BodyDecoder::new(head.framing)));
    let is_head = head.method == Method::HEAD;
    let mut responder = Responder::h1(
        io.clone(),
        decoder.clone(),
        protocol,
        is_head,
        keep_alive,
        hcm.header_case,
        hcm.trailers,
    );
    let body = Body::H1Server(io.clone(), decoder.clone(), hcm.trailers);
    let path = match head.target {
        Target::Path(path) => path,
        Target::Asterisk => "*".to_owned(),
        Target::Authority(_) => String::new(),
    };
    let incoming = Incoming {
        method: head.method,
        authority: head.authority,
        path,
        headers: head.headers,
        protocol,
        expect_continue: head.expect_continue,
    };
    scope.stats().downstream_rq_http1_total.inc();
    let finished = manager::handle(scope, incoming, body, &mut responder, alarm).await;
    let Responder::H1(responder) = responder else { return false };
    finished && responder.keep_alive && decoder.borrow().is_done() && !io.borrow().eof
}

/// Says that nothing more comes and reads what the client still sends for a moment.
async fn linger(io: &Rc<RefCell<BufferedIo>>) {
    let closing = poll_fn(|cx| {
        let mut io = io.borrow_mut();
        if io.poll_flush(cx).is_pending() {
            return Poll::Pending;
        }
        if Pin::new(&mut io.stream).poll_shutdown(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(())
    });
    if tokio::time::timeout(LINGER, closing).await.is_err() {
        return;
    }
    let reading = poll_fn(|cx| {
        let mut io = io.borrow_mut();
        loop {
            if io.eof {
                return Poll::Ready(());
            }
            io.input.clear();
            match io.poll_fill(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
            }
        }
    });
    let _ = tokio::time::timeout(LINGER, reading).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;
    use tokio::task::{JoinHandle, LocalSet, spawn_local};

    use super::super::testing::{DRAIN_TIME, pair, scope};
    use super::*;
    use crate::pb::hcm::HttpConnectionManager;

    const LIMIT: Duration = Duration::from_secs(7);

    /// A connection that is served, the client's end of it, and what it is served with.
    fn served(change: impl FnOnce(&mut HttpConnectionManager)) -> (Scope, UnixStream, JoinHandle<()>) {
        let scope = scope(change);
        let (stream, client) = pair();
        let (worker, hcm, info) = (scope.worker.clone(), scope.hcm.clone(), scope.connection.clone());
        let task = spawn_local(serve(worker, hcm, info, stream, BytesMut::new()));
        (scope, client, task)
    }

    fn seconds(limit: Duration) -> Option<portolan_envoy_api::pb::google::protobuf::Duration> {
        Some(portolan_envoy_api::pb::google::protobuf::Duration {
            seconds: limit.as_secs().cast_signed(),
            nanos: 0,
        })
    }

    /// What the client reads to the end, and how long that took.
    async fn rest(client: &mut UnixStream) -> (String, Duration) {
        let start = tokio::time::Instant::now();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        (text, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_after_the_idle_timeout() {
        let test = async {
            let (scope, mut client, _task) = served(|hcm| {
                hcm.common_http_protocol_options.get_or_insert_default().idle_timeout = seconds(LIMIT);
            });
            let (text, after) = rest(&mut client).await;
            assert_eq!((text.as_str(), after.as_secs()), ("", LIMIT.as_secs()));
            assert_eq!(scope.stats().downstream_cx_idle_timeout.get(), 1);
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_idle_timeout_begins_anew_with_each_request() {
        let test = async {
            let (_scope, mut client, _task) = served(|hcm| {
                hcm.common_http_protocol_options.get_or_insert_default().idle_timeout = seconds(LIMIT);
            });
            for _ in 0..3 {
                tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
                client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
                let read = client.read(&mut [0; 1024]).await.unwrap();
                assert_ne!(read, 0);
            }
            let (text, after) = rest(&mut client).await;
            assert_eq!((text.as_str(), after.as_secs()), ("", LIMIT.as_secs()));
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_too_slowly_is_refused() {
        let test = async {
            let (scope, mut client, _task) = served(|hcm| hcm.request_headers_timeout = seconds(LIMIT));
            client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
            let (text, after) = rest(&mut client).await;
            assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
            assert!(after >= LIMIT && after < LIMIT + Duration::from_secs(3), "{after:?}");
            assert_eq!(scope.stats().downstream_rq_timeout.get(), 1);
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_goes_on_forever_does_not_outlast_its_limit() {
        let test = async {
            let (_scope, mut client, task) = served(|hcm| hcm.request_headers_timeout = seconds(LIMIT));
            client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX: ").await.unwrap();
            let start = tokio::time::Instant::now();
            while !task.is_finished() {
                let _ = client.write_all(b"x").await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            assert!(start.elapsed() < LIMIT + Duration::from_secs(5), "{:?}", start.elapsed());
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_when_the_drain_begins() {
        let test = async {
            let (scope, mut client, _task) = served(|_| {});
            tokio::time::sleep(LIMIT).await;
            scope.connection.drain.cancel();
            let (text, after) = rest(&mut client).await;
            assert_eq!((text.as_str(), after), ("", Duration::ZERO));
            assert_eq!(scope.stats().downstream_cx_drain_close.get(), 1);
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_ends_at_the_deadline_of_the_drain() {
        let test = async {
            let (scope, mut client, _task) =
                served(|hcm| hcm.request_headers_timeout = seconds(2 * DRAIN_TIME));
            client.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
            tokio::time::sleep(LIMIT).await;
            scope.connection.drain.cancel();
            let (text, after) = rest(&mut client).await;
            assert_eq!((text.as_str(), after.as_secs()), ("", DRAIN_TIME.as_secs()));
        };
        LocalSet::new().run_until(test).await;
    }
}
