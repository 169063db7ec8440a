//! What a filter is to one request: a state machine that is told what happens and says what is to be done.
//!
//! A filter does nothing itself: no clock, no socket, no task. It is told of the request's head, of pieces of bodies,
//! of answers to what it asked for; it looks at the request through a [`View`], says by a [`Flow`] whether things go
//! on, and asks for everything else by an [`Effect`]. The connection manager carries the effects out.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};

use super::held::Held;
use crate::message::{ConnectionFacts, Flags, LocalReply, Request, ResponseHead};
use crate::pb;
use crate::peer::{LocalNode, PeerMetadata, Peers};
use crate::value::Direction;

/// The state of one filter for one request. Every method has a default that lets everything pass.
pub trait StreamFilter: std::fmt::Debug {
    /// Once, when the head of the request has come here. `end`: no body and no trailers follow. After `Pause` the next
    /// filters do not see the request until this one says `Continue`, at a piece of the body or at an event.
    fn on_request(&mut self, _x: &mut View<'_>, _end: bool) -> Flow {
        Flow::Continue
    }

    /// For each piece of the request's body, once [`View::read_request`] was called: `body` is what this filter held
    /// back until now, and the new piece. After `Continue` all of it goes on, changed or not; after `Pause` it stays,
    /// within [`super::chain::MAX_HELD`]. The last call has `body.is_end()`.
    fn on_request_body(&mut self, _x: &mut View<'_>, _body: &mut Held) -> Flow {
        Flow::Continue
    }

    /// Once, when the head of the response has come here, from the last filter to the first; also for answers of our
    /// own, for which nothing waits: they go on even after `Pause`.
    fn on_response(&mut self, _x: &mut View<'_>, _head: &mut ResponseHead, _end: bool) -> Flow {
        Flow::Continue
    }

    /// For each piece of the response's body, once [`View::read_response`] was called; like
    /// [`StreamFilter::on_request_body`].
    fn on_response_body(&mut self, _x: &mut View<'_>, _body: &mut Held) -> Flow {
        Flow::Continue
    }

    /// Something that was asked for happened. `Continue` ends a pause; `Pause` leaves things as they are.
    fn on_event(&mut self, _x: &mut View<'_>, _event: Event) -> Flow {
        Flow::Pause
    }

    /// Once, when everything is over and the response's status, sizes and flags are known. What is asked for here is
    /// counted and recorded; nothing is waited for any more.
    fn on_end(&mut self, _x: &mut View<'_>) {}
}

/// Whether things go on.
#[derive(Debug)]
pub enum Flow {
    /// The next filters see it.
    Continue,
    /// The next filters wait.
    Pause,
    /// The request is answered by us. Once a response has begun it is cut instead.
    Reply(Box<LocalReply>),
}

/// What a filter is told besides the message.
#[derive(Debug)]
pub enum Event {
    /// The time that [`View::wake_after`] named has passed.
    Wake(u32),
    /// The answer to [`View::call_out`], or why there is none.
    Answer(u32, Result<Answer, CalloutFail>),
}

/// The answer to a [`Callout`].
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields; for gRPC also those of its trailers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why a [`Callout`] got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CalloutFail {
    /// There is no cluster of that name.
    #[error("there is no such cluster")]
    NoCluster,
    /// No host could be reached, or the connection broke.
    #[error("the cluster has no usable host, or the connection broke")]
    Upstream,
    /// It took longer than [`Callout::timeout`].
    #[error("the answer did not come in time")]
    Timeout,
    /// It is larger than the proxy keeps.
    #[error("the answer is too large")]
    TooLarge,
}

/// A request of the filter's own to a cluster of the proxy.
#[derive(Debug, Clone)]
pub struct Callout {
    /// The cluster that is asked.
    pub cluster: String,
    /// Its method.
    pub method: Method,
    /// Its authority.
    pub authority: String,
    /// Its path with query.
    pub path: String,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Time for everything.
    pub timeout: Duration,
}

/// Which workload a peer's metadata are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerSide {
    /// The client.
    Downstream,
    /// The host.
    Upstream,
}

/// What is to be done for a filter. `at` names the filter to whom the outcome is told.
#[derive(Debug)]
pub enum Effect {
    /// Count once.
    Count(Counter),
    /// Set a response flag.
    Flag(Flags),
    /// Remember who a peer is.
    Peer(PeerSide, Rc<PeerMetadata>),
    /// Count the request in Istio's standard metrics.
    StandardMetrics,
    /// Choose the route anew.
    ClearRoute,
    /// Tell the filter when time has passed.
    Wake {
        /// Whom to tell.
        at: Token,
        /// How long from now.
        after: Duration,
    },
    /// Send a request and tell the filter of the answer.
    CallOut {
        /// Whom to tell.
        at: Token,
        /// What to send.
        callout: Box<Callout>,
    },
}

/// A statistic of a filter, by the name that it has behind `http.<stat_prefix>.`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter(pub(crate) &'static str);

/// A filter of a chain and the number by which it knows what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub(super) link: usize,
    pub(super) id: u32,
}

impl Token {
    /// The filter's own number.
    pub fn id(self) -> u32 {
        self.id
    }
}

/// Dynamic metadata by namespace.
pub type Metadata = HashMap<String, pb::Struct>;

/// The request as filters see it.
#[derive(Debug)]
pub struct View<'a> {
    /// Changes count until the head has passed the last filter.
    pub request: &'a mut Request,
    /// Dynamic metadata; what a filter sets others may read.
    pub metadata: &'a mut Metadata,
    /// What is known of the connection.
    pub connection: &'a ConnectionFacts,
    /// Client address after `x-forwarded-for` was taken into account.
    pub remote: std::net::IpAddr,
    /// The cluster that the route chose.
    pub cluster: Option<&'a str>,
    /// Of the listener's traffic.
    pub direction: Direction,
    /// Who this proxy is.
    pub local: &'a LocalNode,
    /// Whom this worker has met.
    pub peers: &'a Peers,
    /// What was asked for, in order. The caller of the chain carries it out.
    pub effects: Vec<Effect>,
    pub(super) link: usize,
    pub(super) reads: [bool; 2],
    pub(super) leaves_request: bool,
}

impl<'a> View<'a> {
    /// Shows a request to filters.
    pub fn new(
        request: &'a mut Request,
        metadata: &'a mut Metadata,
        connection: &'a ConnectionFacts,
        remote: std::net::IpAddr,
        cluster: Option<&'a str>,
        direction: Direction,
        (local, peers): (&'a LocalNode, &'a Peers),
    ) -> Self {
        View {
            request,
            metadata,
            connection,
            remote,
            cluster,
            direction,
            local,
            peers,
            effects: Vec::new(),
            link: 0,
            reads: [false; 2],
            leaves_request: false,
        }
    }

    /// From now on this filter gets the pieces of the request's body.
    pub fn read_request(&mut self) {
        self.reads[0] = true;
    }

    /// From now on this filter gets nothing more of the request's body: what it holds goes on unchanged when it says
    /// `Continue`, and until then the client is not read any further.
    pub fn leave_request(&mut self) {
        self.leaves_request = true;
    }

    /// The route is chosen anew, by what the request is now. Filters stay those that the old route chose.
    pub fn clear_route(&mut self) {
        self.effects.push(Effect::ClearRoute);
    }

    /// From now on this filter gets the pieces of the response's body.
    pub fn read_response(&mut self) {
        self.reads[1] = true;
    }

    /// Asks to be told when `after` has passed. `id` is the filter's own number for it.
    pub fn wake_after(&mut self, id: u32, after: Duration) {
        let at = Token { link: self.link, id };
        self.effects.push(Effect::Wake { at, after });
    }

    /// Sends a request and asks to be told of the answer. `id` is the filter's own number for it.
    pub fn call_out(&mut self, id: u32, callout: Callout) {
        let at = Token { link: self.link, id };
        self.effects.push(Effect::CallOut { at, callout: Box::new(callout) });
    }

    /// Counts once in a statistic of the connection manager.
    pub fn count(&mut self, counter: Counter) {
        self.effects.push(Effect::Count(counter));
    }

    /// Sets a response flag.
    pub fn flag(&mut self, flag: Flags) {
        self.effects.push(Effect::Flag(flag));
    }

    /// Sets one string of the dynamic metadata.
    pub fn set_metadata(&mut self, namespace: &str, key: &str, value: String) {
        let fields = &mut self.metadata.entry(namespace.to_owned()).or_default().fields;
        fields.insert(key.to_owned(), pb::Value { kind: Some(pb::Kind::StringValue(value)) });
    }
}
