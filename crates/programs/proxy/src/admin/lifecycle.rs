//! `/drain_listeners`, `/healthcheck/*`, `/quitquitquit`.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;

use super::AdminState;
use portolan_agent::serve::{param, query, text};
use portolan_dataplane::config::DrainKind;

pub(super) fn drain_listeners(state: &AdminState, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let query = query(request.uri());
    let kind = if param(&query, "inboundonly").is_some() { DrainKind::InboundOnly } else { DrainKind::All };
    tracing::info!(?kind, "draining listeners, asked for on the admin endpoint");
    state.store.drain(kind);
    text(StatusCode::OK, "OK\n")
}

pub(super) fn healthcheck_fail(state: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    state.health_failed.store(true, Ordering::Relaxed);
    text(StatusCode::OK, "OK\n")
}

pub(super) fn healthcheck_ok(state: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    state.health_failed.store(false, Ordering::Relaxed);
    text(StatusCode::OK, "OK\n")
}

pub(super) fn quit(state: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    tracing::info!("asked to quit on the admin endpoint");
    state.quit.cancel();
    text(StatusCode::OK, "OK\n")
}
