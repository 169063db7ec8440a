//! What connection managers and routes say of tracing, compiled.

use std::sync::Arc;

use super::sampling::Sampling;
use super::tags::CustomTag;
use super::{Tracer, compile};
use crate::pb::{hcm, route};
use crate::value::{At as _, Invalid, Loader, Valid, bool_or, u32_or};

/// Bytes of a path in `http.url` unless configured otherwise, as with Envoy.
const DEFAULT_PATH_TAG: u32 = 256;

/// `tracing` of a connection manager.
#[derive(Debug)]
pub struct Tracing {
    /// `None`: the bootstrap's, if it has one. Without any nothing is reported, but sampling is decided and noted.
    pub tracer: Option<Arc<dyn Tracer>>,
    /// Which requests.
    pub sampling: Sampling,
    /// Bytes of a path in `http.url`.
    pub max_path: usize,
    /// What else spans say.
    pub tags: Vec<CustomTag>,
    /// The proxy is a hop of its own.
    pub spawn_upstream: bool,
    /// Whether hosts are told of the trace.
    pub propagate: bool,
}

impl Tracing {
    /// Compiles the message.
    pub fn compile(from: &hcm::http_connection_manager::Tracing, load: Loader) -> Valid<Tracing> {
        operations(&from.operation, &from.upstream_operation)?;
        Ok(Tracing {
            tracer: from.provider.as_ref().map(compile).transpose().at("provider")?,
            sampling: Sampling::of_manager(from),
            max_path: u32_or(from.max_path_tag_length.as_ref(), DEFAULT_PATH_TAG) as usize,
            tags: CustomTag::compile_all(&from.custom_tags, load)?,
            spawn_upstream: bool_or(from.spawn_upstream_span.as_ref(), false),
            propagate: !from.no_context_propagation,
        })
    }
}

/// `tracing` and `decorator` of a route.
#[derive(Debug)]
pub struct RouteTracing {
    /// In the place of the connection manager's.
    pub sampling: Option<Sampling>,
    /// Before those of the connection manager.
    pub tags: Vec<CustomTag>,
    /// Name of the spans.
    pub operation: Option<Arc<str>>,
    /// Whether the other side is told the name.
    pub tell_operation: bool,
}

impl RouteTracing {
    /// Compiles what a route says; `None` if that is nothing.
    pub fn compile(from: &route::Route, load: Loader) -> Valid<Option<Box<RouteTracing>>> {
        if from.tracing.is_none() && from.decorator.is_none() {
            return Ok(None);
        }
        let (sampling, tags) = match &from.tracing {
            None => (None, Vec::new()),
            Some(tracing) => {
                operations(&tracing.operation, &tracing.upstream_operation).at("tracing")?;
                let tags = CustomTag::compile_all(&tracing.custom_tags, load).at("tracing")?;
                (Some(Sampling::of_route(tracing)), tags)
            }
        };
        let operation = from.decorator.as_ref().map(|decorator| decorator.operation.as_str());
        Ok(Some(Box::new(RouteTracing {
            sampling,
            tags,
            operation: operation.filter(|operation| !operation.is_empty()).map(Into::into),
            tell_operation: from.decorator.as_ref().is_none_or(|one| bool_or(one.propagate.as_ref(), true)),
        })))
    }
}

fn operations(operation: &str, upstream: &str) -> Valid<()> {
    for (format, field) in [(operation, "operation"), (upstream, "upstream_operation")] {
        if !format.is_empty() {
            return Err(Invalid(format!("{field} is not supported")));
        }
    }
    Ok(())
}
