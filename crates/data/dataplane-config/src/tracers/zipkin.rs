//! `envoy.tracers.zipkin`: B3 fields, and reports as JSON of Zipkin's API version 2.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Map, Value, json};

use super::b3;
use super::span::{Endpoint, Span, SpanContext, SpanKind};
use super::{Collector, Kind, Random, Role, Tracer};
use crate::filters::stream::Callout;
use crate::pb::{Any, trace};
use crate::value::{Invalid, Valid, bool_or, unpack};

/// How long a collector may take: Envoy's `tracing.zipkin.request_timeout`.
const TIMEOUT: Duration = Duration::from_secs(5);
const NAME: &str = "zipkin";

pub(super) const TRACER: Kind = Kind {
    message: "envoy.config.trace.v3.ZipkinConfig",
    name: NAME,
    compile: |config| Ok(Arc::new(Zipkin::compile(config)?)),
};

#[derive(Debug)]
struct Zipkin {
    collector: Collector,
    /// New traces have ids of 128 bits.
    wide: bool,
    /// A server uses the span of its client.
    shared: bool,
}

impl Zipkin {
    fn compile(config: &Any) -> Valid<Zipkin> {
        use trace::zipkin_config::{CollectorEndpointVersion as V, TraceContextOption as C};
        let from: trace::ZipkinConfig = unpack(config)?;
        let refused = [
            (from.collector_service.is_some(), "collector_service"),
            (from.split_spans_for_request, "split_spans_for_request"),
            (from.timestamp_trace_ids, "timestamp_trace_ids"),
        ];
        if let Some((_, field)) = refused.iter().find(|(set, _)| *set) {
            return Err(Invalid(format!("{field} is not supported")));
        }
        if from.trace_context_option != C::UseB3 as i32 {
            return Err(Invalid::new("trace_context_option: only USE_B3 is supported"));
        }
        if from.collector_endpoint_version != V::HttpJson as i32 {
            return Err(Invalid::new("collector_endpoint_version: only HTTP_JSON is supported"));
        }
        for (value, field) in
            [(&from.collector_cluster, "collector_cluster"), (&from.collector_endpoint, "collector_endpoint")]
        {
            if value.is_empty() {
                return Err(Invalid(format!("missing {field}")));
            }
        }
        let authority = match from.collector_hostname.as_str() {
            "" => from.collector_cluster.clone(),
            name => name.to_owned(),
        };
        Ok(Zipkin {
            collector: Collector {
                cluster: from.collector_cluster,
                authority,
                path: from.collector_endpoint,
            },
            wide: from.trace_id_128bit,
            shared: bool_or(from.shared_span_context.as_ref(), true),
        })
    }
}

impl Tracer for Zipkin {
    fn name(&self) -> &'static str {
        NAME
    }

    fn collector(&self) -> &Collector {
        &self.collector
    }

    fn begin(
        &self,
        headers: &HeaderMap,
        traced: bool,
        role: Role,
        random: &mut Random<'_>,
    ) -> Option<SpanContext> {
        let b3::Incoming { ids, sampled, carrier } = b3::extract(headers)?;
        let kind = if role.egress && !role.hop { SpanKind::Client } else { SpanKind::Server };
        let shared = self.shared && kind == SpanKind::Server;
        let (trace, span, parent) = match ids {
            None => {
                let span = random();
                let high = if self.wide { random() } else { 0 };
                (u128::from(high) << 64 | u128::from(span), span, None)
            }
            Some(ids) if shared => (ids.trace, ids.span, ids.parent),
            Some(ids) => (ids.trace, random(), Some(ids.span)),
        };
        Some(SpanContext { trace, span, parent, sampled: sampled.unwrap_or(traced), kind, shared, carrier })
    }

    fn child(&self, parent: &SpanContext, random: &mut Random<'_>) -> SpanContext {
        SpanContext {
            span: random(),
            parent: Some(parent.span),
            kind: SpanKind::Client,
            shared: false,
            ..parent.clone()
        }
    }

    fn inject(&self, context: &SpanContext, headers: &mut HeaderMap) {
        b3::inject(context, headers);
    }

    fn report(&self, spans: &[Span], local: &Endpoint) -> Callout {
        let body: Value = spans.iter().map(|span| json_of(span, local)).collect();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Callout {
            cluster: self.collector.cluster.clone(),
            method: Method::POST,
            authority: self.collector.authority.clone(),
            path: self.collector.path.clone(),
            headers,
            body: body.to_string().into(),
            timeout: TIMEOUT,
        }
    }
}

fn json_of(span: &Span, local: &Endpoint) -> Value {
    let context = &span.context;
    // The end as an event of the first version of the API, which Envoy reports besides the duration.
    let (kind, end) = match context.kind {
        SpanKind::Client => ("CLIENT", "cr"),
        SpanKind::Server => ("SERVER", "ss"),
    };
    let mut out = json!({
        "traceId": b3::trace_hex(context.trace),
        "id": b3::hex(context.span),
        "kind": kind,
        "timestamp": span.start,
        "duration": span.duration,
        "localEndpoint": endpoint(local),
        "annotations": [{"timestamp": span.start.saturating_add(span.duration), "value": end}],
        "tags": span.tags.iter().collect::<std::collections::BTreeMap<_, _>>(),
    });
    let mut set = |name: &str, value: Value| {
        if let Some(fields) = out.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    };
    if let Some(parent) = context.parent {
        set("parentId", b3::hex(parent).into());
    }
    if !span.name.is_empty() {
        set("name", span.name.as_str().into());
    }
    if context.shared {
        set("shared", true.into());
    }
    out
}

fn endpoint(local: &Endpoint) -> Value {
    let family = if local.address.is_ipv4() { "ipv4" } else { "ipv6" };
    let mut out = Map::new();
    out.insert(family.to_owned(), local.address.to_string().into());
    // Of a proxy that has many ports none is the one of its service.
    out.insert("port".to_owned(), 0.into());
    if !local.service.is_empty() {
        out.insert("serviceName".to_owned(), local.service.as_str().into());
    }
    out.into()
}
