//! Protocol switches (websocket): after the 101 both connections are bytes only (spec/dataplane.md 16).

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;

use super::manager::Stream;
use super::respond::Responder;
use crate::io::relay::{RelayEnd, relay};
use crate::message::{Body, Flags, ResponseHead};
use crate::upstream::exchange::Exchange;

/// Sends the 101 and copies bytes until both sides are done. Always ends the downstream connection.
pub(crate) async fn switch(
    stream: &mut Stream<'_>,
    head: &ResponseHead,
    exchange: Exchange,
    body: Body,
    _request: Body,
    responder: &mut Responder,
) -> bool {
    let Body::H1Client(upstream) = body else { return false };
    let Some(connection) = upstream.into_raw() else { return false };
    let _exchange = exchange;
    if responder.start(head, None).is_err() {
        return false;
    }
    let Responder::H1(h1) = responder else { return false };
    let client: Rc<RefCell<_>> = h1.io.clone();
    h1.keep_alive = false;
    stream.scope.stats().downstream_cx_upgrades_total.inc();
    if poll_fn(|cx| client.borrow_mut().poll_flush(cx)).await.is_err() {
        return false;
    }
    let scope = stream.scope;
    let idle = scope.hcm.stream_idle_timeout;
    let drain = &scope.connection.drain;
    let (relayed, end) = relay(&client, &connection.io, idle, drain, scope.worker.shared.drain_time).await;
    stream.info.bytes_received = relayed.received;
    stream.info.bytes_sent = relayed.sent;
    match end {
        RelayEnd::Downstream => stream.info.flags.insert(Flags::DOWNSTREAM_CONNECTION_TERMINATION),
        RelayEnd::Upstream => stream.info.flags.insert(Flags::UPSTREAM_CONNECTION_TERMINATION),
        RelayEnd::Idle => stream.info.flags.insert(Flags::STREAM_IDLE_TIMEOUT),
        RelayEnd::Finished | RelayEnd::Drained => {}
    }
    stream.finish(Some(head), None);
    false
}
