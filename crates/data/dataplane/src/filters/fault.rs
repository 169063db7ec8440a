//! `envoy.filters.http.fault` (spec/dataplane.md 72).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::StatusCode;

use crate::message::Request;
use crate::message::matchers::HeaderMatch;
use crate::pb::{common_fault, fault};
use crate::upstream::breaker::Held;
use crate::value::{At as _, Invalid, PerMillion, Valid, drawn, duration, fraction};

/// A compiled fault.
#[derive(Debug, Default)]
pub(crate) struct Fault {
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
pub(crate) struct Injected {
    pub(crate) delay: Option<Duration>,
    pub(crate) abort: Option<Abort>,
    /// Counts the fault as active.
    _held: Option<Held>,
}

/// An answer instead of the service's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abort {
    Http(StatusCode),
    Grpc(u32),
}

impl Fault {
    pub(crate) fn compile(from: &fault::HttpFault) -> Valid<Fault> {
        use common_fault::fault_delay::FaultDelaySecifier as D;
        use fault::fault_abort::ErrorType as E;
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
    pub(crate) fn draw(&self, request: &Request, cluster: Option<&str>) -> Injected {
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
        match Held::take(&self.active, self.max_active.unwrap_or(u64::MAX)) {
            None => Injected::default(),
            held => Injected { delay: delay.filter(|length| !length.is_zero()), abort, _held: held },
        }
    }
}
