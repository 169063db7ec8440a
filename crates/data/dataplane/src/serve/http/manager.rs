//! The life of a request, read top down: normalised, routed, filtered, forwarded or answered, logged.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use portolan_h1::Reject;

use super::filtering::Stop;
use super::forward::{Outcome, Target, forward, note_gone, reset_reply};
use super::forwarded::{self, Client};
use super::incoming::Incoming;
use super::normalize::{normalize, strip_hop_by_hop};
use super::respond::Responder;
use super::state::{Downstream, RequestState, Scope, weighted_of};
use crate::io::Frame;
use crate::io::buffered::BufferedIo;
use crate::io::timer::Alarm;
use crate::io::timer::now;
use crate::listener::ServerHeader;
use crate::message::{Body, Flags, LocalReply, Protocol, Request, ResponseHead};
use crate::route::action::RouteAction;
use crate::route::{Action, Matched};
use crate::stats::metrics::HttpStats;
use crate::telemetry::StreamInfo;
use crate::telemetry::access_log;
use crate::telemetry::format::Context;
use crate::upstream::fail::UpstreamFail;

/// Counts a request as active while it lives.
struct Active<'a>(&'a HttpStats);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.downstream_rq_active.dec();
    }
}

/// Serves one request. False when the response could not be finished, so that the connection must close.
pub(crate) async fn handle(
    scope: &Scope,
    incoming: Incoming,
    body: Body,
    responder: &mut Responder,
    alarm: &mut Alarm,
) -> bool {
    let start = now();
    let stats = scope.stats();
    stats.downstream_rq_total.inc();
    stats.downstream_rq_active.inc();
    let _active = Active(stats);
    let protocol = incoming.protocol;
    let mut info = StreamInfo::new(scope.connection.clone(), start);
    info.protocol = Some(protocol);
    let mut request = match normalize(&scope.hcm, &scope.connection, incoming) {
        Ok(request) => request,
        Err(refused) => {
            let (reply, request) = *refused;
            stats.downstream_cx_protocol_error.inc();
            let client = Client { remote: info.remote, internal: false };
            let mut state = RequestState::new(scope, request, info, client);
            state.unread = reply.flags.contains(Flags::DOWNSTREAM_PROTOCOL_ERROR);
            if !reply.status.is_redirection() {
                responder.close_after();
            }
            return state.answer(reply, responder, alarm).await;
        }
    };
    let client = forwarded::apply(&scope.hcm, &scope.connection, &mut request);
    info.remote = client.remote;
    let mut state = RequestState::new(scope, request, info, client);
    state.deadline = scope.hcm.max_stream_duration.map(|limit| start + limit);
    if body.is_end() {
        state.info.request_end = Some(start);
    }
    state.find_route();
    state.begin_trace();
    let filtered = state.filter_request(body, &mut Downstream { responder, alarm }).await;
    match filtered {
        Ok(body) => state.act(body, responder, alarm).await,
        Err(stop) => state.stop(stop, responder, alarm).await,
    }
}

/// Answers a head that the codec refused.
pub(crate) async fn refuse(scope: &Scope, io: &Rc<RefCell<BufferedIo>>, reject: Reject, alarm: &mut Alarm) {
    let stats = scope.stats();
    stats.downstream_cx_protocol_error.inc();
    let status = StatusCode::from_u16(reject.status()).unwrap_or(StatusCode::BAD_REQUEST);
    if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
        stats.downstream_rq_too_large.inc();
    }
    answer_unread(scope, io, LocalReply::new(status, reject.details()).refusal(), alarm).await;
}

/// Answers a client that sends its head too slowly.
pub(crate) async fn refuse_slow(scope: &Scope, io: &Rc<RefCell<BufferedIo>>, alarm: &mut Alarm) {
    let reply =
        LocalReply::new(StatusCode::REQUEST_TIMEOUT, "request_header_timeout").body("request header timeout");
    answer_unread(scope, io, reply, alarm).await;
}

async fn answer_unread(scope: &Scope, io: &Rc<RefCell<BufferedIo>>, reply: LocalReply, alarm: &mut Alarm) {
    let stats = scope.stats();
    stats.downstream_rq_total.inc();
    let mut info = StreamInfo::new(scope.connection.clone(), now());
    info.protocol = Some(Protocol::Http11);
    let client = Client { remote: info.remote, internal: false };
    let request = Request {
        method: Method::GET,
        scheme: "http",
        authority: String::new(),
        path: String::new(),
        headers: HeaderMap::new(),
        protocol: Protocol::Http11,
        upgrade: None,
        is_grpc: false,
        expect_continue: false,
    };
    let mut state = RequestState::new(scope, request, info, client);
    state.unread = true;
    let decoder = Rc::new(RefCell::new(portolan_h1::BodyDecoder::new(portolan_h1::BodyFraming::None)));
    let (case, trailers) = (scope.hcm.header_case, scope.hcm.trailers);
    let mut responder = Responder::h1(io.clone(), decoder, Protocol::Http11, false, false, case, trailers);
    state.answer(reply, &mut responder, alarm).await;
}

impl RequestState<'_> {
    async fn act(&mut self, body: Body, responder: &mut Responder, alarm: &mut Alarm) -> bool {
        let stats = self.scope.stats();
        let Some(matched) = self.matched.clone() else {
            stats.no_route.inc();
            let reply = LocalReply::new(StatusCode::NOT_FOUND, "route_not_found").flag(Flags::NO_ROUTE);
            return self.answer(reply, responder, alarm).await;
        };
        let (upgrade, listener) = (self.request.upgrade.as_deref(), &self.scope.hcm.upgrades);
        let may_upgrade = match &matched.route.action {
            Action::Forward(action) => action.allows_upgrade(upgrade, listener),
            _ => upgrade.is_none_or(|upgrade| listener.iter().any(|name| name == upgrade)),
        };
        if !may_upgrade {
            responder.close_after();
            let reply = LocalReply::new(StatusCode::FORBIDDEN, "upgrade_failed");
            return self.answer(reply, responder, alarm).await;
        }
        match &matched.route.action {
            Action::Forward(action) => self.forward(&matched, action, body, responder, alarm).await,
            Action::Redirect(redirect) => {
                let location = redirect.location(&self.request, &matched.route.path);
                let reply = LocalReply::redirect(redirect.status, &location, "direct_response");
                self.answer(reply, responder, alarm).await
            }
            Action::Https => {
                let location = format!("https://{}{}", self.request.authority, self.request.path);
                let reply = LocalReply::redirect(StatusCode::MOVED_PERMANENTLY, &location, "direct_response");
                self.answer(reply, responder, alarm).await
            }
            Action::Direct { status, body } => {
                let reply = LocalReply::new(*status, "direct_response").body(body.clone());
                self.answer(reply, responder, alarm).await
            }
            Action::None => {
                let reply = LocalReply::new(StatusCode::NOT_FOUND, "route_not_found").flag(Flags::NO_ROUTE);
                self.answer(reply, responder, alarm).await
            }
        }
    }

    async fn forward(
        &mut self,
        matched: &Matched,
        action: &RouteAction,
        body: Body,
        responder: &mut Responder,
        alarm: &mut Alarm,
    ) -> bool {
        let Some(name) = self.info.cluster_name.clone() else {
            let reply = LocalReply::new(action.not_found, "cluster_not_found").flag(Flags::NO_CLUSTER);
            return self.answer(reply, responder, alarm).await;
        };
        let Some((cluster, own)) = self.scope.worker.cluster(&name) else {
            self.scope.stats().no_cluster.inc();
            let reply = LocalReply::new(action.not_found, "cluster_not_found").flag(Flags::NO_CLUSTER);
            return self.answer(reply, responder, alarm).await;
        };
        self.info.cluster = Some(cluster.clone());
        let target = Target { cluster: &cluster, own: &own, high_priority: action.high_priority };
        let mut down = Downstream { responder, alarm };
        match forward(self, matched, action, target, body, &mut down).await {
            Outcome::Answer(reply) => self.answer(*reply, responder, alarm).await,
            Outcome::Gone => {
                self.finish(None, None);
                false
            }
            Outcome::Response(mut response) => {
                response.begin(self, down.responder);
                let switches = response.switches();
                let (head, body) = response.parts_mut();
                if !switches {
                    strip_hop_by_hop(&mut head.headers);
                }
                if let Err(stop) = self.filter_response(head, body, &mut down).await {
                    return self.stop(stop, responder, alarm).await;
                }
                self.finish_head(response.parts_mut().0, switches);
                let sent = response.send(self, &mut down).await;
                self.finish(Some(&sent.head), sent.trailers.as_ref());
                sent.whole
            }
        }
    }

    /// Ends a request that a filter or a deadline stopped.
    async fn stop(&mut self, stop: Stop, responder: &mut Responder, alarm: &mut Alarm) -> bool {
        match stop {
            Stop::Reply(reply) => self.answer(*reply, responder, alarm).await,
            Stop::Gone => {
                note_gone(self, responder);
                self.finish(None, None);
                false
            }
            Stop::Cut => {
                let reply = reset_reply(UpstreamFail::Closed);
                self.answer(reply, responder, alarm).await
            }
        }
    }

    /// Sends an answer of our own.
    pub(crate) async fn answer(
        &mut self,
        reply: LocalReply,
        responder: &mut Responder,
        alarm: &mut Alarm,
    ) -> bool {
        self.info.flags.insert(reply.flags);
        self.info.details = reply.details.clone();
        // After a broken request, and where a client may send bytes of a tunnel that it did not get, what follows is
        // not to be taken for a request.
        if reply.status == StatusCode::BAD_REQUEST || self.request.method == Method::CONNECT {
            responder.close_after();
        }
        let (mut head, body, grpc) = reply.into_response(Some(&self.request));
        self.info.grpc_status = grpc.or(self.info.grpc_status);
        self.info.response_code = head.status.as_u16();
        strip_hop_by_hop(&mut head.headers);
        self.filter_answer(&mut head);
        self.finish_head(&mut head, false);
        if grpc.is_some() {
            // Whatever the route sets: without it no gRPC client reads the status.
            head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        }
        if self.request.method == Method::HEAD && !body.is_empty() {
            head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let length = body.len() as u64;
        let mut done = responder.start(&head, Some(length)).is_ok();
        if done {
            done = send_body(responder, body, alarm).await;
        }
        self.info.bytes_sent = if done && self.request.method != Method::HEAD { length } else { 0 };
        self.finish(Some(&head), None);
        done
    }

    /// What is done to every response head before it goes out.
    pub(crate) fn finish_head(&mut self, head: &mut ResponseHead, upgrade: bool) {
        let scope = self.scope;
        let hcm = &scope.hcm;
        self.trace_response(head);
        if let Some(matched) = self.matched.clone() {
            self.mutate_response(&matched, head);
            if matched.host.attempt_count_to_client && self.info.attempts > 0 {
                head.headers.insert("x-envoy-attempt-count", HeaderValue::from(self.info.attempts));
            }
        }
        if let Some(cookie) = self.set_cookie.take().and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
            head.headers.append(header::SET_COOKIE, cookie);
        }
        if hcm.return_request_id
            && let Some(id) = self.request.headers.get("x-request-id")
        {
            head.headers.insert("x-request-id", id.clone());
        }
        match hcm.server_header {
            ServerHeader::AppendIfAbsent if head.headers.contains_key(header::SERVER) => {}
            ServerHeader::PassThrough => {}
            _ => {
                head.headers.insert(header::SERVER, hcm.server_name.clone());
            }
        }
        if let Some(via) = &hcm.via {
            head.headers.append(header::VIA, via.clone());
        }
        if !head.headers.contains_key(header::DATE)
            && !upgrade
            && let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(SystemTime::now()))
        {
            head.headers.insert(header::DATE, date);
        }
    }

    fn mutate_response(&self, matched: &Matched, head: &mut ResponseHead) {
        if matches!(matched.route.action, Action::Https) {
            return;
        }
        let weighted = weighted_of(matched, self.weighted).map(|weighted| &weighted.mutations);
        let levels = [
            weighted,
            Some(&matched.route.mutations),
            Some(&matched.host.mutations),
            Some(&matched.table.mutations),
        ];
        // Nearly no route has any: then nothing is copied.
        if levels.iter().flatten().all(|level| level.response.is_empty()) {
            return;
        }
        let snapshot = head.clone();
        let context = Context {
            info: &self.info,
            request: Some(&self.request),
            response: Some(&snapshot),
            trailers: None,
            now: now(),
        };
        let apply = |mutations: &crate::route::mutation::Mutations, head: &mut ResponseHead| {
            if !mutations.response.is_empty() {
                mutations.response.apply(&mut head.headers, Some(&context));
            }
        };
        if matched.table.most_specific_wins {
            levels.into_iter().rev().flatten().for_each(|level| apply(level, head));
        } else {
            levels.into_iter().flatten().for_each(|level| apply(level, head));
        }
    }

    /// Statistics and logs at the end.
    pub(crate) fn finish(&mut self, head: Option<&ResponseHead>, trailers: Option<&HeaderMap>) {
        let stats = self.scope.stats();
        match self.info.response_code / 100 {
            1 => stats.downstream_rq_1xx.inc(),
            2 => stats.downstream_rq_2xx.inc(),
            3 => stats.downstream_rq_3xx.inc(),
            4 => stats.downstream_rq_4xx.inc(),
            5 => stats.downstream_rq_5xx.inc(),
            _ => {}
        }
        if self.info.response_code != 0 {
            stats.downstream_rq_completed.inc();
        }
        if self.request.is_grpc {
            let text = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
            let code: Option<u32> =
                trailers.and_then(text).or_else(|| head.and_then(|head| text(&head.headers)));
            self.info.grpc_status = self.info.grpc_status.or(code);
        }
        self.end_filters();
        let context = Context {
            info: &self.info,
            request: (!self.unread).then_some(&self.request),
            response: head,
            trailers,
            now: now(),
        };
        access_log::log(&self.scope.hcm.access_log, &context, &self.scope.worker.logs);
        self.end_trace(head, trailers);
    }
}

/// How long a client may take to read an answer of our own.
const ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

async fn send_body(responder: &mut Responder, body: Bytes, alarm: &mut Alarm) -> bool {
    let mut frames = vec![Frame::End];
    if !body.is_empty() {
        frames.push(Frame::Data(body));
    }
    let deadline = now() + ANSWER_TIMEOUT;
    poll_fn(|cx| {
        loop {
            match responder.poll_ready(cx) {
                Poll::Pending => {
                    return if alarm.poll(cx, Some(deadline)).is_ready() {
                        Poll::Ready(false)
                    } else {
                        Poll::Pending
                    };
                }
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Ready(Ok(())) => {}
            }
            match frames.pop() {
                None => return Poll::Ready(true),
                Some(frame) => {
                    if responder.send(frame).is_err() {
                        return Poll::Ready(false);
                    }
                }
            }
        }
    })
    .await
}
