//! `envoy.filters.network.rbac`: role-based access control of connections.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Compiled, ConnectionView, Denied, Kind, NetworkFilter, configured};
use crate::message::rbac::{Rbac, Subject};
use crate::pb::net_rbac;

pub(super) const KIND: Kind = Kind {
    types: &["envoy.extensions.filters.network.rbac.v3.RBAC"],
    compile: |from, _| {
        let rules = Rbac::compile_network(&configured::<net_rbac::Rbac>(from)?)?;
        Ok(Compiled::Filter(Arc::new(Filter(rules))))
    },
};

#[derive(Debug)]
struct Filter(Rbac);

impl NetworkFilter for Filter {
    fn on_connection(&self, x: &mut ConnectionView<'_>) -> Result<(), Denied> {
        let connection = x.connection;
        let metadata = HashMap::new();
        let subject =
            Subject { connection, request: None, remote: connection.remote.ip(), metadata: &metadata };
        match self.0.decide(&subject) {
            Some(decision) if !decision.allowed => Err(Denied(decision.details())),
            _ => Ok(()),
        }
    }
}
