//! `istio.alpn`: there is nothing to do for a request. The TLS context of a cluster offers what Istio's filter would
//! have set, by the protocol of the exchange.

use std::sync::Arc;

use super::stream::StreamFilter;
use super::{HttpFilter, Kind, Overrides};

pub(super) const KIND: Kind = Kind {
    types: &["istio.alpn"],
    compile: |_| Ok(Arc::new(Filter)),
    override_types: &[],
    compile_override: |_| Ok(Arc::new(())),
    counters: &[],
};

#[derive(Debug)]
struct Filter;

impl HttpFilter for Filter {
    fn start(&self, _own: &Overrides<'_>) -> Option<Box<dyn StreamFilter>> {
        None
    }
}
