//! Tracers: how requests are put into traces, and where their spans are reported.
//!
//! A tracer is a file here and a line in [`TRACERS`]. It reads and writes the fields by which a trace is carried on, and
//! makes the request that reports spans; what it is told stands in [`span`], which requests are traced in [`sampling`].
//! Pure: random numbers and times are passed in, and the data plane sends the reports.

mod b3;
pub mod sampling;
pub mod settings;
pub mod span;
pub mod tags;
#[cfg(test)]
mod tests;
mod zipkin;

use std::fmt;
use std::sync::Arc;

use http::HeaderMap;

use self::span::{Endpoint, Span, SpanContext};
use crate::filters::stream::Callout;
use crate::pb::{Any, trace};
use crate::value::{At as _, Invalid, Valid, type_of};

/// A kind of tracer: the message that configures it, the name that its statistics have behind `tracing.`, and how the
/// message is read.
struct Kind {
    message: &'static str,
    name: &'static str,
    compile: fn(&Any) -> Valid<Arc<dyn Tracer>>,
}

/// The tracers that there are.
const TRACERS: [Kind; 1] = [zipkin::TRACER];

/// Where random numbers come from.
pub type Random<'a> = dyn FnMut() -> u64 + 'a;

/// Where spans go: what has the same collector is reported together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// The cluster that is asked.
    pub cluster: String,
    /// Its authority.
    pub authority: String,
    /// Path of the reports.
    pub path: String,
}

/// How the proxy takes part in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// The traffic leaves the application: its span is the client's.
    pub egress: bool,
    /// The proxy is a hop of its own, with a server's span for the request and a client's for each attempt at a host.
    pub hop: bool,
}

/// A tracer as it is configured, shared by all workers.
pub trait Tracer: fmt::Debug + Send + Sync {
    /// Its name in statistics (`tracing.<name>.`).
    fn name(&self) -> &'static str;

    /// Where it reports to.
    fn collector(&self) -> &Collector;

    /// Begins the span of a request with these fields. `traced`: what sampling says; fields that say otherwise count
    /// more. `None` when the fields make no sense: the request has no span then and passes as it is.
    fn begin(
        &self,
        headers: &HeaderMap,
        traced: bool,
        role: Role,
        random: &mut Random<'_>,
    ) -> Option<SpanContext>;

    /// Begins the span of an attempt at a host.
    fn child(&self, parent: &SpanContext, random: &mut Random<'_>) -> SpanContext;

    /// Writes the fields that tell the next hop of a span.
    fn inject(&self, context: &SpanContext, headers: &mut HeaderMap);

    /// The request that reports these spans.
    fn report(&self, spans: &[Span], local: &Endpoint) -> Callout;
}

/// The tracer of a provider: of `HttpConnectionManager.tracing.provider`, or of the bootstrap's `tracing.http`.
///
/// # Errors
/// When it is not usable, with the field and the reason.
pub fn compile(provider: &trace::tracing::Http) -> Valid<Arc<dyn Tracer>> {
    let Some(trace::tracing::http::ConfigType::TypedConfig(config)) = &provider.config_type else {
        return Err(Invalid::new("missing typed_config"));
    };
    let message = type_of(config);
    let kind = TRACERS.iter().find(|kind| kind.message == message);
    let kind = kind.ok_or_else(|| Invalid(format!("unsupported tracer {message}")))?;
    (kind.compile)(config).at("typed_config")
}

/// The names that tracers have in statistics.
pub fn names() -> impl Iterator<Item = &'static str> {
    TRACERS.iter().map(|kind| kind.name)
}
