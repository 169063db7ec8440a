//! What is known of one request while it lives, and of the connection that it came on.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderValue};

use super::forwarded::Client;
use super::respond::Responder;
use super::waiting::Waiting;
use crate::filters::chain::Chain;
use crate::io::timer::{Alarm, now};
use crate::listener::Hcm;
use crate::message::{ConnectionInfo, Request, ResponseHead};
use crate::route::action::WeightedCluster;
use crate::route::{Action, Matched};
use crate::serve::worker::Worker;
use crate::stats::metrics::HttpStats;
use crate::telemetry::StreamInfo;
use crate::telemetry::format::Context;
use crate::tracers::Tracer;
use crate::tracers::span::SpanContext;

/// What a connection's requests have in common.
pub(crate) struct Scope {
    pub(crate) worker: Rc<Worker>,
    pub(crate) hcm: Arc<Hcm>,
    pub(crate) connection: Rc<ConnectionInfo>,
}

impl Scope {
    pub(crate) fn stats(&self) -> &HttpStats {
        self.hcm.stats.of(self.worker.id)
    }
}

/// The state of one request.
pub(crate) struct RequestState<'a> {
    pub(crate) scope: &'a Scope,
    pub(crate) request: Request,
    pub(crate) info: StreamInfo,
    pub(crate) client: Client,
    pub(crate) matched: Option<Matched>,
    /// Index of the chosen weighted cluster.
    pub(crate) weighted: Option<usize>,
    pub(super) filters: Filters,
    /// A sticky-session cookie to be set.
    pub(crate) set_cookie: Option<String>,
    pub(crate) deadline: Option<Instant>,
    /// `None`: nothing is traced here.
    pub(super) trace: Option<Box<Trace>>,
    /// There is no request that logs could show.
    pub(super) unread: bool,
}

/// The filters of one request, and what they still wait for.
#[derive(Debug, Default)]
pub(super) struct Filters {
    /// `None`: not begun. Shared with bodies that run through the filters.
    pub(super) chain: Option<Rc<RefCell<Chain>>>,
    pub(super) waiting: Waiting,
    /// Count the request in Istio's standard metrics.
    pub(super) standard_metrics: bool,
}

/// The trace of one request.
pub(super) struct Trace {
    /// `None`: nobody reports, or the request's fields made no sense.
    pub(super) span: Option<(Arc<dyn Tracer>, SpanContext)>,
    /// What the span is called.
    pub(super) name: String,
    /// The route's name for it, while nobody else gave another.
    pub(super) decorated: Option<HeaderValue>,
    /// Where each attempt at a host has a span of its own: that of the last one.
    pub(super) attempt: Option<Attempt>,
}

/// The span of an attempt at a host.
pub(super) struct Attempt {
    pub(super) context: SpanContext,
    pub(super) start: Instant,
    pub(super) start_time: SystemTime,
    /// What its answer said, as far as spans tell of it.
    pub(super) answer: Option<ResponseHead>,
    pub(super) retries: u32,
}

/// The side that asked: where the response goes, and the one timer of its task.
pub(crate) struct Downstream<'a> {
    pub(crate) responder: &'a mut Responder,
    pub(crate) alarm: &'a mut Alarm,
}

impl<'a> RequestState<'a> {
    pub(super) fn new(scope: &'a Scope, request: Request, info: StreamInfo, client: Client) -> Self {
        RequestState {
            scope,
            request,
            info,
            client,
            matched: None,
            weighted: None,
            filters: Filters::default(),
            set_cookie: None,
            deadline: None,
            trace: None,
            unread: false,
        }
    }

    /// Request header changes of all levels.
    pub(crate) fn mutate_request(&mut self, matched: &Matched, headers: &mut HeaderMap) {
        let context = Context {
            info: &self.info,
            request: Some(&self.request),
            response: None,
            trailers: None,
            now: now(),
        };
        let weighted = weighted_of(matched, self.weighted).map(|weighted| &weighted.mutations);
        let levels = [
            weighted,
            Some(&matched.route.mutations),
            Some(&matched.host.mutations),
            Some(&matched.table.mutations),
        ];
        let mut apply = |mutations: &crate::route::mutation::Mutations| {
            if !mutations.request.is_empty() {
                mutations.request.apply(headers, Some(&context));
            }
        };
        if matched.table.most_specific_wins {
            levels.into_iter().rev().flatten().for_each(&mut apply);
        } else {
            levels.into_iter().flatten().for_each(&mut apply);
        }
    }
}

/// The weighted cluster that was chosen.
pub(crate) fn weighted_of(matched: &Matched, index: Option<usize>) -> Option<&WeightedCluster> {
    match &matched.route.action {
        Action::Forward(action) => action.cluster.at(index?),
        _ => None,
    }
}
