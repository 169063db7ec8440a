//! What waits for a report, and for how many there is room.

use prost::{Message as _, Name as _};

use super::*;
use crate::pb::{Any, trace};
use crate::tracers::span::{Carrier, SpanContext, SpanKind};

fn tracer(cluster: &str) -> Arc<dyn Tracer> {
    let config = trace::ZipkinConfig {
        collector_cluster: cluster.into(),
        collector_endpoint: "/".into(),
        collector_endpoint_version: 1,
        ..Default::default()
    };
    let config = Any { type_url: trace::ZipkinConfig::type_url(), value: config.encode_to_vec() };
    crate::tracers::compile(&trace::tracing::Http {
        config_type: Some(trace::tracing::http::ConfigType::TypedConfig(config)),
        ..Default::default()
    })
    .unwrap()
}

fn span() -> Span {
    let context = SpanContext {
        trace: 1,
        span: 1,
        parent: None,
        sampled: true,
        kind: SpanKind::Server,
        shared: false,
        carrier: Carrier::Many,
    };
    Span { context, name: String::new(), start: 0, duration: 0, tags: Tags::default() }
}

fn push(spans: &Spans, tracer: &Arc<dyn Tracer>, count: usize) -> Pushed {
    (0..count).map(|_| spans.push(tracer, span())).last().unwrap()
}

#[test]
fn five_spans_of_a_collector_make_a_report() {
    let spans = Spans::default();
    let (one, same, other) = (tracer("a"), tracer("a"), tracer("b"));
    assert_eq!(push(&spans, &one, 4), Pushed::Waits);
    assert_eq!(push(&spans, &other, 1), Pushed::Waits);
    assert_eq!(push(&spans, &same, 1), Pushed::Enough);
    assert_eq!(spans.take(&one).unwrap().len(), 5);
    assert!(spans.take(&one).is_none());
    assert!(!spans.reported(&one));
}

#[test]
fn what_a_slow_collector_does_not_take_is_dropped() {
    let spans = Spans::default();
    let one = tracer("a");
    for _ in 0..MAX_REPORTS {
        assert_eq!(push(&spans, &one, ENOUGH), Pushed::Enough);
        assert!(spans.take(&one).is_some());
    }
    assert_eq!(push(&spans, &one, MAX_WAITING), Pushed::Waits);
    assert!(spans.take(&one).is_none(), "too many are under way");
    assert_eq!(push(&spans, &one, 1), Pushed::Dropped);
    assert!(spans.reported(&one), "the next report can begin");
    assert_eq!(spans.take(&one).unwrap().len(), MAX_WAITING);
    assert_eq!(push(&spans, &one, 1), Pushed::Waits);
}

#[test]
fn collectors_are_forgotten_when_nothing_waits_for_them() {
    let spans = Spans::default();
    let one = tracer("a");
    push(&spans, &one, 1);
    assert_eq!(spans.tracers().len(), 1);
    spans.take(&one).unwrap();
    assert_eq!(spans.tracers().len(), 1, "a report is under way");
    spans.reported(&one);
    assert_eq!(spans.tracers().len(), 1, "forgotten at the end of this look");
    assert!(spans.tracers().is_empty());
}
