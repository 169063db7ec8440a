//! Protocol switches (websocket): after the 101 both connections are bytes only (RFC 9110, 7.8).

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;

use super::respond::Responder;
use super::state::RequestState;
use crate::io::relay::{RelayEnd, relay};
use crate::message::{Body, Flags, ResponseHead};
use crate::upstream::exchange::Exchange;

/// Sends the 101 and copies bytes until both sides are done. After it the downstream connection is of no more use.
pub(crate) async fn switch(
    state: &mut RequestState<'_>,
    head: &ResponseHead,
    exchange: Exchange,
    body: Body,
    responder: &mut Responder,
) {
    let Body::Boxed(upstream) = body else { return };
    let Some(connection) = upstream.into_raw() else { return };
    let _exchange = exchange;
    if responder.start(head, None).is_err() {
        return;
    }
    let Responder::H1(h1) = responder else { return };
    let client: Rc<RefCell<_>> = h1.io.clone();
    h1.keep_alive = false;
    state.scope.stats().downstream_cx_upgrades_total.inc();
    if poll_fn(|cx| client.borrow_mut().poll_flush(cx)).await.is_err() {
        return;
    }
    let scope = state.scope;
    let idle = scope.hcm.stream_idle_timeout;
    let drain = &scope.connection.drain;
    let (relayed, end) = relay(&client, &connection.io, idle, drain, scope.worker.shared.drain_time).await;
    state.info.bytes_received = relayed.received;
    state.info.bytes_sent = relayed.sent;
    match end {
        RelayEnd::Downstream => state.info.flags.insert(Flags::DOWNSTREAM_CONNECTION_TERMINATION),
        RelayEnd::Upstream => state.info.flags.insert(Flags::UPSTREAM_CONNECTION_TERMINATION),
        RelayEnd::Idle => state.info.flags.insert(Flags::STREAM_IDLE_TIMEOUT),
        RelayEnd::Finished | RelayEnd::Drained => {}
    }
}
