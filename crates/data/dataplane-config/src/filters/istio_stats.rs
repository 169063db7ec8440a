//! `istio.stats`: each request is counted in Istio's standard metrics at its end.

use std::sync::Arc;

use super::stream::{Effect, StreamFilter, View};
use super::{HttpFilter, Kind, Overrides};

pub(super) const KIND: Kind = Kind {
    types: &["istio.stats"],
    compile: |_| Ok(Arc::new(Filter)),
    override_types: &[],
    compile_override: |_| Ok(Arc::new(())),
    counters: &[],
};

#[derive(Debug)]
struct Filter;

impl HttpFilter for Filter {
    fn start(&self, _own: &Overrides<'_>) -> Option<Box<dyn StreamFilter>> {
        Some(Box::new(Record))
    }
}

#[derive(Debug)]
struct Record;

impl StreamFilter for Record {
    fn on_end(&mut self, x: &mut View<'_>) {
        x.effects.push(Effect::StandardMetrics);
    }
}
