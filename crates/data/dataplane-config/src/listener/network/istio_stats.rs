//! `istio.stats` on connections: each is counted in Istio's standard TCP metrics.

use std::sync::Arc;

use super::{Compiled, ConnectionView, Denied, Kind, NetworkFilter};

pub(super) const KIND: Kind =
    Kind { types: &["istio.stats"], compile: |_, _| Ok(Compiled::Filter(Arc::new(Filter))) };

#[derive(Debug)]
struct Filter;

impl NetworkFilter for Filter {
    fn on_connection(&self, x: &mut ConnectionView<'_>) -> Result<(), Denied> {
        x.counts = true;
        Ok(())
    }
}
