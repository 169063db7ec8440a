//! A body that runs through filters while it is sent on.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::state::RequestState;
use super::waiting::Waiting;
use crate::filters::chain::{Chain, Side};
use crate::filters::held::Held;
use crate::filters::stream::{Effect, Metadata, View};
use crate::io::timer::{Alarm, now};
use crate::io::{BodyFail, Frame};
use crate::message::body::{BodySource, RawConnection};
use crate::message::{Body, ConnectionInfo, Request};
use crate::serve::worker::Worker;
use crate::value::Direction;

/// The rest of a body whose head has passed the filters.
#[derive(Debug)]
pub(super) struct FilteredBody {
    side: Side,
    chain: Rc<RefCell<Chain>>,
    rest: Body,
    /// `rest` was read to its end.
    read: bool,
    passed: Held,
    waiting: Waiting,
    alarm: Alarm,
    scene: Scene,
}

/// The request as it was when its head left: filters may look at it, and change nothing any more.
#[derive(Debug)]
struct Scene {
    request: Request,
    metadata: Metadata,
    connection: Rc<ConnectionInfo>,
    remote: std::net::IpAddr,
    cluster: Option<std::sync::Arc<str>>,
    direction: Direction,
    worker: Rc<Worker>,
    hcm: std::sync::Arc<crate::listener::Hcm>,
}

impl FilteredBody {
    pub(super) fn new(
        side: Side,
        chain: Rc<RefCell<Chain>>,
        state: &RequestState<'_>,
        waiting: Waiting,
        passed: Held,
        rest: Body,
        read: bool,
    ) -> Self {
        let scope = state.scope;
        let scene = Scene {
            request: state.request.clone(),
            metadata: state.info.metadata.clone(),
            connection: scope.connection.clone(),
            remote: state.info.remote.ip(),
            cluster: state.info.cluster_name.clone(),
            direction: scope.hcm.direction,
            worker: scope.worker.clone(),
            hcm: scope.hcm.clone(),
        };
        FilteredBody { side, chain, rest, read, passed, waiting, alarm: Alarm::default(), scene }
    }

    /// Tells the filters something. An answer of our own comes too late here: the body breaks off.
    fn tell<E>(
        &mut self,
        what: impl FnOnce(&mut Chain, &mut View<'_>) -> Result<(), E>,
    ) -> Result<(), BodyFail> {
        let Scene { request, metadata, connection, remote, cluster, direction, worker, hcm } =
            &mut self.scene;
        let cluster = cluster.as_deref();
        let mut x = View::new(
            request,
            metadata,
            connection,
            *remote,
            cluster,
            *direction,
            (&worker.node.node.local, &worker.node.peers),
        );
        let told = what(&mut self.chain.borrow_mut(), &mut x);
        for effect in x.effects {
            match effect {
                Effect::Count(counter) => hcm.filter_stats.of(worker.id).count(counter),
                Effect::Wake { at, after } => self.waiting.wake(at, after),
                Effect::CallOut { at, callout } => self.waiting.call(at, *callout, worker),
                // They belong to the head.
                Effect::Flag(_) | Effect::Peer(..) | Effect::StandardMetrics | Effect::ClearRoute => {}
            }
        }
        told.map_err(|_| BodyFail::StreamReset)
    }
}

impl BodySource for FilteredBody {
    fn is_end(&self) -> bool {
        false
    }

    fn remaining(&self) -> Option<u64> {
        None
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, BodyFail>> {
        loop {
            if let Some(data) = self.passed.pop() {
                return Poll::Ready(Ok(Frame::Data(data)));
            }
            if self.passed.is_end() {
                let trailers = self.passed.trailers_mut().take();
                return Poll::Ready(Ok(trailers.map_or(Frame::End, Frame::Trailers)));
            }
            let happened = match self.waiting.poll_calls(cx) {
                Some(happened) => Some(happened),
                None if self.alarm.poll(cx, self.waiting.next_wake()).is_ready() => self.waiting.woken(now()),
                None => None,
            };
            let side = self.side;
            if let Some(happened) = happened {
                self.tell(|chain, x| chain.event(x, happened.at, happened.event, None))?;
            } else if self.read {
                // All was read: a filter holds it back until something happens.
                self.passed = self.chain.borrow_mut().take(side);
                if self.passed.is_empty() {
                    return Poll::Pending;
                }
                continue;
            } else {
                let piece = match ready!(self.rest.poll_frame(cx))? {
                    Frame::Data(data) => Held::data(data),
                    Frame::Trailers(trailers) => Held::end(Some(trailers)),
                    Frame::End => Held::end(None),
                };
                self.read = piece.is_end();
                self.tell(|chain, x| chain.body(side, x, piece, None))?;
            }
            self.passed = self.chain.borrow_mut().take(side);
        }
    }

    fn into_raw(self: Box<Self>) -> Option<RawConnection> {
        None
    }
}
