//! `envoy.filters.http.fault`: delays and aborts that are injected on purpose.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::StatusCode;

use super::stream::{Counter, Event, Flow, StreamFilter, View};
use super::{HttpFilter, Kind, Overrides, configured, overridden};
use crate::message::matchers::HeaderMatch;
use crate::message::{Flags, LocalReply, Request};
use crate::pb::{common_fault, fault};
use crate::value::{At as _, Invalid, PerMillion, Valid, drawn, duration, fraction};

pub(super) const KIND: Kind = Kind {
    types: &["envoy.extensions.filters.http.fault.v3.HTTPFault"],
    compile: |from| Ok(Arc::new(Filter(Arc::new(Fault::compile(&configured(from)?)?)))),
    override_types: &["envoy.extensions.filters.http.fault.v3.HTTPFault"],
    compile_override: |from| Ok(Arc::new(Override(Arc::new(Fault::compile(&overridden(from)?)?)))),
    counters: &[ABORTED, DELAYED],
};

const ABORTED: Counter = Counter("fault_aborts_injected");
const DELAYED: Counter = Counter("fault_delays_injected");

#[derive(Debug)]
struct Filter(Arc<Fault>);

#[derive(Debug)]
struct Override(Arc<Fault>);

impl HttpFilter for Filter {
    fn start(&self, own: &Overrides<'_>) -> Option<Box<dyn StreamFilter>> {
        let fault = own.first::<Override>().map_or_else(|| self.0.clone(), |own| own.0.clone());
        let off = fault.delay.is_none() && fault.abort.is_none();
        (!off).then(|| Box::new(Inject { fault, drawn: None }) as _)
    }
}

/// One request.
#[derive(Debug)]
struct Inject {
    fault: Arc<Fault>,
    drawn: Option<Injected>,
}

impl StreamFilter for Inject {
    fn on_request(&mut self, x: &mut View<'_>, _end: bool) -> Flow {
        let mut drawn = self.fault.draw(x.request, x.cluster);
        let delay = drawn.delay.take();
        let drawn = self.drawn.insert(drawn);
        match delay {
            None => drawn.finish(x),
            Some(delay) => {
                x.count(DELAYED);
                x.flag(Flags::DELAY_INJECTED);
                x.wake_after(0, delay);
                Flow::Pause
            }
        }
    }

    fn on_event(&mut self, x: &mut View<'_>, _event: Event) -> Flow {
        self.drawn.as_mut().map_or(Flow::Continue, |drawn| drawn.finish(x))
    }
}

impl Injected {
    /// What follows the delay.
    fn finish(&mut self, x: &mut View<'_>) -> Flow {
        self.held = None;
        let Some(abort) = self.abort else { return Flow::Continue };
        x.count(ABORTED);
        let mut reply = match abort {
            Abort::Http(status) => LocalReply::new(status, "fault_filter_abort"),
            Abort::Grpc(_) => LocalReply::new(StatusCode::OK, "fault_filter_abort"),
        };
        if let Abort::Grpc(code) = abort {
            reply.grpc = Some(code);
        }
        Flow::Reply(Box::new(reply.body("fault filter abort").flag(Flags::FAULT_INJECTED)))
    }
}

/// A compiled fault.
#[derive(Debug, Default)]
struct Fault {
    delay: Option<(PerMillion, DelayKind)>,
    abort: Option<(PerMillion, AbortKind)>,
    headers: Vec<HeaderMatch>,
    upstream_cluster: String,
    max_active: Option<u64>,
    active: Arc<AtomicU64>,
}

#[derive(Debug)]
enum DelayKind {
    Fixed(Duration),
    Header,
}

#[derive(Debug)]
enum AbortKind {
    Http(StatusCode),
    Grpc(u32),
    Header,
}

/// What happens to one request.
#[derive(Debug, Default)]
struct Injected {
    delay: Option<Duration>,
    abort: Option<Abort>,
    /// Counts the fault as active.
    held: Option<Active>,
}

/// A fault that counts as active while it lives.
#[derive(Debug)]
struct Active(Arc<AtomicU64>);

impl Active {
    fn take(counter: &Arc<AtomicU64>, limit: u64) -> Option<Active> {
        let active = Active(counter.clone());
        (counter.fetch_add(1, Relaxed) < limit).then_some(active)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// An answer instead of the service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Abort {
    Http(StatusCode),
    Grpc(u32),
}

impl Fault {
    fn compile(from: &fault::HttpFault) -> Valid<Fault> {
        use common_fault::fault_delay::FaultDelaySecifier as D;
        use fault::fault_abort::ErrorType as E;
        if !from.downstream_nodes.is_empty() {
            return Err(Invalid::new("downstream_nodes is not supported"));
        }
        if from.response_rate_limit.is_some() {
            return Err(Invalid::new("response_rate_limit is not supported"));
        }
        let delay = match &from.delay {
            None => None,
            Some(delay) => {
                let kind = match &delay.fault_delay_secifier {
                    Some(D::FixedDelay(fixed)) => {
                        DelayKind::Fixed(duration(Some(fixed)).at("delay")?.unwrap_or_default())
                    }
                    Some(D::HeaderDelay(_)) => DelayKind::Header,
                    None => return Err(Invalid::new("delay: neither fixed_delay nor header_delay")),
                };
                Some((fraction(delay.percentage.as_ref()), kind))
            }
        };
        let abort = match &from.abort {
            None => None,
            Some(abort) => {
                let kind = match abort.error_type {
                    Some(E::HttpStatus(code)) => AbortKind::Http(
                        u16::try_from(code)
                            .ok()
                            .filter(|code| (200..600).contains(code))
                            .and_then(|code| StatusCode::from_u16(code).ok())
                            .ok_or_else(|| Invalid(format!("abort: {code} is no usable status")))?,
                    ),
                    Some(E::GrpcStatus(code)) => AbortKind::Grpc(code),
                    Some(E::HeaderAbort(_)) => AbortKind::Header,
                    None => return Err(Invalid::new("abort: no error type")),
                };
                Some((fraction(abort.percentage.as_ref()), kind))
            }
        };
        Ok(Fault {
            delay,
            abort,
            headers: HeaderMatch::compile_all(&from.headers)?,
            upstream_cluster: from.upstream_cluster.clone(),
            max_active: from.max_active_faults.as_ref().map(|max| u64::from(max.value)),
            active: Arc::default(),
        })
    }

    /// Draws the faults of one request.
    fn draw(&self, request: &Request, cluster: Option<&str>) -> Injected {
        if self.delay.is_none() && self.abort.is_none() {
            return Injected::default();
        }
        let fits_cluster =
            self.upstream_cluster.is_empty() || cluster == Some(self.upstream_cluster.as_str());
        if !fits_cluster || !self.headers.iter().all(|header| header.matches(request)) {
            return Injected::default();
        }
        let number = |name: &str| request.headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
        let delay = self.delay.as_ref().filter(|(share, _)| drawn(*share)).and_then(|(_, kind)| match kind {
            DelayKind::Fixed(length) => Some(*length),
            DelayKind::Header => number("x-envoy-fault-delay-request").map(Duration::from_millis),
        });
        let abort = self.abort.as_ref().filter(|(share, _)| drawn(*share)).and_then(|(_, kind)| match kind {
            AbortKind::Http(status) => Some(Abort::Http(*status)),
            AbortKind::Grpc(code) => Some(Abort::Grpc(*code)),
            AbortKind::Header => number("x-envoy-fault-abort-request")
                .and_then(|code| u16::try_from(code).ok())
                .filter(|code| (200..600).contains(code))
                .and_then(|code| StatusCode::from_u16(code).ok())
                .map(Abort::Http),
        });
        if delay.is_none() && abort.is_none() {
            return Injected::default();
        }
        match Active::take(&self.active, self.max_active.unwrap_or(u64::MAX)) {
            None => Injected::default(),
            held => Injected { delay: delay.filter(|length| !length.is_zero()), abort, held },
        }
    }
}
