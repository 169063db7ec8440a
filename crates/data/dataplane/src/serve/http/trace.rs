//! A request's place in a trace: decided when its route is known, told to the hosts, reported at its end.

use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::report::report;
use super::state::{Attempt, RequestState, Trace};
use crate::io::timer::now;
use crate::message::{Request, ResponseHead};
use crate::telemetry::format::Context;
use crate::telemetry::spans::{GRPC_MESSAGE, GRPC_STATUS, attempt_tags, micros, request_tags};
use crate::tracers::Role;
use crate::tracers::sampling::Reason;
use crate::tracers::settings::{RouteTracing, Tracing};
use crate::tracers::span::{Span, bounded};
use crate::value::Direction;

/// How the two ends of a call agree on what it is called.
const OPERATION: HeaderName = HeaderName::from_static("x-envoy-decorator-operation");

impl RequestState<'_> {
    fn tracing(&self) -> Option<&Tracing> {
        self.scope.hcm.tracing.as_deref()
    }

    fn route_tracing(&self) -> Option<&RouteTracing> {
        self.matched.as_ref()?.route.tracing.as_deref()
    }

    fn is_egress(&self) -> bool {
        self.scope.hcm.direction == Direction::Outbound
    }

    /// Decides whether the request is traced, and begins its span.
    pub(super) fn begin_trace(&mut self) {
        let scope = self.scope;
        let Some(tracing) = scope.hcm.tracing.as_deref() else { return };
        let mut random = || fastrand::u64(..);
        let sampling = self.route_tracing().and_then(|route| route.sampling).unwrap_or(tracing.sampling);
        let reason = sampling.decide(&mut self.request.headers, &mut random);
        let stats = scope.stats();
        match reason {
            Reason::NotTraceable => stats.tracing_not_traceable.inc(),
            Reason::Sampled => stats.tracing_random_sampling.inc(),
            Reason::Forced => stats.tracing_service_forced.inc(),
            Reason::Client => stats.tracing_client_enabled.inc(),
        }
        let role = Role { egress: self.is_egress(), hop: tracing.spawn_upstream };
        let tracer = tracing.tracer.as_ref().or(scope.worker.shared.tracing.default.as_ref());
        let span = tracer.and_then(|tracer| {
            let traced = reason != Reason::NotTraceable;
            let context = tracer.begin(&self.request.headers, traced, role, &mut random)?;
            Some((tracer.clone(), context))
        });
        let route = self.route_tracing();
        let tell = route.is_some_and(|route| route.tell_operation);
        let operation = route.and_then(|route| route.operation.clone());
        let mut decorated = operation.as_deref().and_then(|name| HeaderValue::from_str(name).ok());
        let mut name = operation.map(|operation| operation.to_string());
        let headers = &mut self.request.headers;
        if self.scope.hcm.direction == Direction::Outbound {
            if let Some(decorated) = decorated.as_ref().filter(|_| tell) {
                headers.insert(OPERATION, decorated.clone());
            }
        } else if let Some(given) = headers.remove(OPERATION).filter(|given| !given.is_empty()) {
            name = Some(String::from_utf8_lossy(given.as_bytes()).into_owned());
            decorated = None;
        }
        let name = name.unwrap_or_else(|| self.request.authority.clone());
        let decorated = decorated.filter(|_| tell);
        self.trace = Some(Box::new(Trace { span, name, decorated, attempt: None }));
    }

    /// Tells the host of an attempt of the trace: in what goes up, and in what logs show.
    pub(super) fn trace_attempt(&mut self, outgoing: &mut HeaderMap) {
        if self.trace.is_none() {
            return;
        }
        self.end_attempt(None);
        let Some(tracing) = self.scope.hcm.tracing.as_deref() else { return };
        let Some(trace) = &mut self.trace else { return };
        let Some((tracer, context)) = &trace.span else { return };
        let context = if tracing.spawn_upstream {
            let attempt = trace.attempt.insert(Attempt {
                context: tracer.child(context, &mut || fastrand::u64(..)),
                start: now(),
                start_time: SystemTime::now(),
                answer: None,
                retries: self.info.attempts.saturating_sub(1),
            });
            &attempt.context
        } else {
            context
        };
        if tracing.propagate {
            tracer.inject(context, outgoing);
            tracer.inject(context, &mut self.request.headers);
        }
    }

    /// The host of the attempt answered.
    pub(super) fn trace_answer(&mut self, head: &ResponseHead) {
        let Some(attempt) = self.trace.as_mut().and_then(|trace| trace.attempt.as_mut()) else { return };
        let answer = attempt.answer.insert(ResponseHead::new(head.status));
        for name in [GRPC_STATUS, GRPC_MESSAGE] {
            if let Some(value) = head.headers.get(&name) {
                answer.headers.insert(name, value.clone());
            }
        }
    }

    /// Agrees with the other side on the name of the call.
    pub(super) fn trace_response(&mut self, head: &mut ResponseHead) {
        let egress = self.is_egress();
        let Some(trace) = &mut self.trace else { return };
        if !egress {
            if let Some(decorated) = trace.decorated.take() {
                head.headers.insert(OPERATION, decorated);
            }
        } else if let Some(given) = head.headers.remove(OPERATION).filter(|given| !given.is_empty()) {
            trace.name = String::from_utf8_lossy(given.as_bytes()).into_owned();
        }
    }

    /// Reports the span of the last attempt, if it has one.
    fn end_attempt(&mut self, trailers: Option<&HeaderMap>) {
        let Some(trace) = &mut self.trace else { return };
        let (Some(attempt), Some((tracer, _))) = (trace.attempt.take(), trace.span.clone()) else { return };
        let Some(tracing) = self.tracing().filter(|_| attempt.context.sampled) else { return };
        let context = self.context(attempt.answer.as_ref(), trailers);
        let tags = attempt_tags(tracing, self.route_tracing(), &context, attempt.retries);
        let cluster = self.info.cluster_name.as_deref().unwrap_or_default();
        let span = Span {
            context: attempt.context,
            name: bounded(format!("router {cluster} egress")),
            start: micros(attempt.start_time),
            duration: duration(attempt.start, context.now),
            tags,
        };
        report(&self.scope.worker, &tracer, span);
    }

    /// Reports the span of the request.
    pub(super) fn end_trace(&mut self, head: Option<&ResponseHead>, trailers: Option<&HeaderMap>) {
        self.end_attempt(trailers);
        let Some(trace) = self.trace.take() else { return };
        let Some((tracer, context)) = trace.span.filter(|(_, context)| context.sampled) else { return };
        let Some(tracing) = self.tracing() else { return };
        let shown = self.context(head, trailers);
        let tags = request_tags(&self.scope.worker.shared.tracing, tracing, self.route_tracing(), &shown);
        let span = Span {
            context,
            name: bounded(trace.name),
            start: micros(self.info.start_time),
            duration: duration(self.info.start, shown.now),
            tags,
        };
        report(&self.scope.worker, &tracer, span);
    }

    fn context<'a>(
        &'a self,
        response: Option<&'a ResponseHead>,
        trailers: Option<&'a HeaderMap>,
    ) -> Context<'a> {
        let request: Option<&Request> = (!self.unread).then_some(&self.request);
        Context { info: &self.info, request, response, trailers, now: now() }
    }
}

fn duration(from: Instant, to: Instant) -> u64 {
    u64::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u64::MAX)
}
