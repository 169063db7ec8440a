//! `envoy.filters.network.sni_cluster`: the SNI is the cluster's name.

use std::sync::Arc;

use super::{Compiled, ConnectionView, Denied, Kind, NetworkFilter};

pub(super) const KIND: Kind = Kind {
    types: &["envoy.extensions.filters.network.sni_cluster.v3.SniCluster"],
    compile: |_, _| Ok(Compiled::Filter(Arc::new(Filter))),
};

#[derive(Debug)]
struct Filter;

impl NetworkFilter for Filter {
    fn on_connection(&self, x: &mut ConnectionView<'_>) -> Result<(), Denied> {
        x.cluster = x.connection.sni.as_deref().map(Arc::from);
        Ok(())
    }
}
