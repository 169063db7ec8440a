//! Leads a request and its response through the filters: tells them what happened, waits for what they asked for, and
//! carries out the rest. What a filter decides, and which filters there are, is not known here.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{StatusCode, header};

use super::filtered_body::FilteredBody;
use super::state::{Downstream, RequestState, Scope, weighted_of};
use super::waiting::{Happened, Waiting};
use crate::filters::chain::{Chain, Side};
use crate::filters::held::Held;
use crate::filters::stream::{Effect, PeerSide, View};
use crate::io::timer::now;
use crate::io::{BodyFail, Frame};
use crate::message::{Body, LocalReply, Request, ResponseHead};
use crate::telemetry::{StreamInfo, istio};

/// Why a message does not go on.
pub(super) enum Stop {
    /// An answer of our own is due.
    Reply(Box<LocalReply>),
    /// The client left.
    Gone,
    /// The host ended its response too early.
    Cut,
}

fn view<'v>(scope: &'v Scope, request: &'v mut Request, info: &'v mut StreamInfo) -> View<'v> {
    let StreamInfo { metadata, connection, remote, cluster_name, .. } = info;
    let node = (&scope.worker.node.node.local, &scope.worker.node.peers);
    View::new(request, metadata, connection, remote.ip(), cluster_name.as_deref(), scope.hcm.direction, node)
}

impl RequestState<'_> {
    /// Chooses the filters that take part, once.
    fn chain(&mut self) -> Rc<RefCell<Chain>> {
        if let Some(chain) = &self.filters.chain {
            return chain.clone();
        }
        let chain = match &self.matched {
            None => self.scope.hcm.filters.start(&[]),
            Some(matched) => {
                let (route, host) = (&matched.route.per_filter, &matched.host.per_filter);
                match weighted_of(matched, self.weighted) {
                    Some(weighted) => self.scope.hcm.filters.start(&[&weighted.per_filter, route, host]),
                    None => self.scope.hcm.filters.start(&[route, host]),
                }
            }
        };
        self.filters.chain.insert(Rc::new(RefCell::new(chain))).clone()
    }

    /// Tells the filters something and does what they ask for.
    fn tell<T>(&mut self, what: impl FnOnce(&mut Chain, &mut View<'_>) -> T) -> T {
        let chain = self.chain();
        let mut x = view(self.scope, &mut self.request, &mut self.info);
        let told = what(&mut chain.borrow_mut(), &mut x);
        let effects = x.effects;
        if !effects.is_empty() {
            effects.into_iter().for_each(|effect| self.carry_out(effect));
        }
        told
    }

    fn carry_out(&mut self, effect: Effect) {
        let scope = self.scope;
        match effect {
            Effect::Count(counter) => scope.hcm.filter_stats.of(scope.worker.id).count(counter),
            Effect::Flag(flag) => self.info.flags.insert(flag),
            Effect::Peer(PeerSide::Downstream, peer) => self.info.downstream_peer = Some(peer),
            Effect::Peer(PeerSide::Upstream, peer) => self.info.upstream_peer = Some(peer),
            Effect::StandardMetrics => self.filters.standard_metrics = true,
            Effect::ClearRoute => self.find_route(),
            Effect::Wake { at, after } => self.filters.waiting.wake(at, after),
            Effect::CallOut { at, callout } => self.filters.waiting.call(at, *callout, &scope.worker),
        }
    }

    /// Leads the request through its filters. Returns the body as it goes on.
    pub(super) async fn filter_request(
        &mut self,
        body: Body,
        down: &mut Downstream<'_>,
    ) -> Result<Body, Stop> {
        let end = body.is_end();
        self.tell(|chain, x| chain.request(x, end)).map_err(Stop::Reply)?;
        let chain = self.chain();
        let idle = {
            let chain = chain.borrow();
            chain.has_passed(Side::Request) && !chain.reads(Side::Request)
        };
        if idle || end && chain.borrow().has_passed(Side::Request) {
            return Ok(body);
        }
        // Few requests wait for a filter, and the task of every connection is as large as its largest part.
        let body = Box::pin(self.wait(Side::Request, body, None, down)).await?;
        if chain.borrow().reads(Side::Request) {
            // Filters may have changed it.
            self.request.headers.remove(header::CONTENT_LENGTH);
        }
        Ok(body)
    }

    /// Leads a host's response through the filters. Its body is changed in place.
    pub(super) async fn filter_response(
        &mut self,
        head: &mut ResponseHead,
        body: &mut Body,
        down: &mut Downstream<'_>,
    ) -> Result<(), Stop> {
        let end = body.is_end();
        self.tell(|chain, x| chain.response(x, head, end)).map_err(Stop::Reply)?;
        let chain = self.chain();
        let idle = {
            let chain = chain.borrow();
            chain.has_passed(Side::Response) && !chain.reads(Side::Response)
        };
        if idle || end && chain.borrow().has_passed(Side::Response) {
            return Ok(());
        }
        let rest = std::mem::take(body);
        *body = Box::pin(self.wait(Side::Response, rest, Some(head), down)).await?;
        if chain.borrow().reads(Side::Response) {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        Ok(())
    }

    /// Shows the filters the head of an answer of our own.
    pub(super) fn filter_answer(&mut self, head: &mut ResponseHead) {
        self.tell(|chain, x| chain.local_response(x, head));
    }

    /// Tells the filters that everything is over.
    pub(super) fn end_filters(&mut self) {
        self.filters.waiting = Waiting::default();
        self.tell(Chain::end);
        if self.filters.standard_metrics {
            let worker = &self.scope.worker;
            let direction = self.scope.hcm.direction;
            istio::record_request(&worker.istio, &worker.node, direction, &self.info, &self.request);
        }
    }

    /// A client that waits for `100 Continue` sends its body only then.
    fn ask_for_body(&mut self, down: &mut Downstream<'_>) {
        if self.request.expect_continue && !self.scope.hcm.proxy_100_continue {
            self.request.expect_continue = false;
            down.responder.interim(&ResponseHead::new(StatusCode::CONTINUE));
        }
    }

    /// Waits until the head has passed all filters. The client's leave and the stream's deadline end the wait.
    async fn wait(
        &mut self,
        side: Side,
        mut body: Body,
        mut head: Option<&mut ResponseHead>,
        down: &mut Downstream<'_>,
    ) -> Result<Body, Stop> {
        let chain = self.chain();
        let mut ended = body.is_end();
        let mut read = 0u64;
        while !chain.borrow().has_passed(side) {
            let reads = !ended && chain.borrow().reads(side);
            let deadline = self.deadline;
            if reads && side == Side::Request {
                self.ask_for_body(down);
            }
            let next = poll_fn(|cx| {
                next(&mut self.filters.waiting, reads.then_some(&mut body), side, deadline, down, cx)
            })
            .await;
            let told = match next {
                Next::Gone => return Err(Stop::Gone),
                Next::Cut => return Err(Stop::Cut),
                Next::BadRequest(error) => return Err(Stop::Reply(Box::new(bad_request(error)))),
                Next::MaxDuration => return Err(Stop::Reply(Box::new(max_duration()))),
                Next::Happened(Happened { at, event }) => {
                    self.tell(|chain, x| chain.event(x, at, event, head.as_deref_mut()))
                }
                Next::Piece(piece) => {
                    ended |= piece.is_end();
                    read += piece.len() as u64;
                    if ended && side == Side::Request {
                        self.info.request_end.get_or_insert_with(now);
                    }
                    self.tell(|chain, x| chain.body(side, x, piece, head.as_deref_mut()))
                }
            };
            if side == Side::Request && told.is_err() {
                self.info.bytes_received = read;
            }
            told.map_err(Stop::Reply)?;
        }
        let passed = chain.borrow_mut().take(side);
        if chain.borrow().reads(side) && !passed.is_end() {
            let waiting = std::mem::take(&mut self.filters.waiting);
            return Ok(Body::Boxed(Box::new(FilteredBody::new(
                side, chain, self, waiting, passed, body, ended,
            ))));
        }
        Ok(joined(passed, body, ended))
    }
}

/// What passed the filters, then the rest.
fn joined(passed: Held, rest: Body, ended: bool) -> Body {
    let complete = passed.is_end();
    let (pieces, trailers) = passed.into_parts();
    let rest = match (complete, trailers) {
        (true, Some(trailers)) => Body::Trailers(trailers),
        (true, None) => Body::Empty,
        (false, _) if ended => Body::Empty,
        (false, _) => rest,
    };
    if pieces.is_empty() { rest } else { Body::Replay(pieces, Box::new(rest)) }
}

/// What a wait comes to.
enum Next {
    Happened(Happened),
    Piece(Held),
    MaxDuration,
    Gone,
    Cut,
    BadRequest(portolan_h1::BodyError),
}

fn next(
    waiting: &mut Waiting,
    body: Option<&mut Body>,
    side: Side,
    deadline: Option<Instant>,
    down: &mut Downstream<'_>,
    cx: &mut Context<'_>,
) -> Poll<Next> {
    if let Some(happened) = waiting.poll_calls(cx) {
        return Poll::Ready(Next::Happened(happened));
    }
    if let Some(body) = body
        && let Poll::Ready(frame) = body.poll_frame(cx)
    {
        return Poll::Ready(match frame {
            Ok(Frame::Data(data)) => Next::Piece(Held::data(data)),
            Ok(Frame::Trailers(trailers)) => Next::Piece(Held::end(Some(trailers))),
            Ok(Frame::End) => Next::Piece(Held::end(None)),
            Err(BodyFail::Protocol(error))
                if side == Side::Request && error != portolan_h1::BodyError::UnexpectedEof =>
            {
                Next::BadRequest(error)
            }
            Err(_) if side == Side::Request => Next::Gone,
            Err(_) => Next::Cut,
        });
    }
    if matches!(down.responder.poll_ready(cx), Poll::Ready(Err(_))) || down.responder.poll_gone(cx).is_ready()
    {
        return Poll::Ready(Next::Gone);
    }
    let wake = waiting.next_wake();
    let first = [wake, deadline].into_iter().flatten().min();
    if down.alarm.poll(cx, first).is_pending() {
        return Poll::Pending;
    }
    match waiting.woken(now()) {
        Some(happened) => Poll::Ready(Next::Happened(happened)),
        None => Poll::Ready(Next::MaxDuration),
    }
}

fn bad_request(error: portolan_h1::BodyError) -> LocalReply {
    LocalReply::new(StatusCode::BAD_REQUEST, error.details()).refusal()
}

fn max_duration() -> LocalReply {
    let mut reply = LocalReply::new(StatusCode::REQUEST_TIMEOUT, "max_duration_timeout")
        .body("downstream duration timeout");
    reply.grpc = Some(super::forward::GRPC_DEADLINE_EXCEEDED);
    reply
}
