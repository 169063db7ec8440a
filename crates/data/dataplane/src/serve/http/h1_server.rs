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
use super::manager::{self, Scope};
use super::respond::Responder;
use crate::io::buffered::BufferedIo;
use crate::io::stream::Stream;
use crate::io::timer::Alarm;
use crate::io::timer::now;
use crate::listener::connection_manager::Hcm;
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
    let mut parser = RequestParser::new(scope.hcm.limits);
    let mut alarm = Alarm::default();
    let mut served = 0u32;
    loop {
        match read_head(&scope, &io, &mut parser, &mut alarm).await {
            Head::Request(head) => {
                served += 1;
                if !serve_one(&scope, &io, *head, served, &mut alarm).await {
                    break;
                }
            }
            Head::Refused(reject) => {
                Box::pin(manager::refuse(&scope, &io, reject, &mut alarm)).await;
                break;
            }
            Head::TooSlow => {
                scope.stats().downstream_rq_timeout.inc();
                Box::pin(manager::refuse_slow(&scope, &io, &mut alarm)).await;
                break;
            }
            Head::Closed => break,
        }
        io.borrow_mut().park();
    }
    let stats = scope.stats();
    {
        let io = io.borrow();
        stats.downstream_cx_rx_bytes_total.add(io.rx_bytes);
        stats.downstream_cx_tx_bytes_total.add(io.tx_bytes);
    }
    linger(&io).await;
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
    head: RequestHead,
    served: u32,
    alarm: &mut Alarm,
) -> bool {
    let hcm = &scope.hcm;
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
    // On the heap while it lasts: an idle connection must not hold the kilobytes that a request's state needs.
    let finished = Box::pin(manager::handle(scope, incoming, body, &mut responder, alarm)).await;
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
