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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{connection, message};

    fn asked(permission: serde_json::Value) -> Result<(), Denied> {
        let policy = json!({"permissions": [permission], "principals": [{"any": true}]});
        let from = message(json!({"stat_prefix": "tcp", "rules": {"policies": {"p": policy}}}));
        let filter = Filter(Rbac::compile_network(&from).unwrap());
        filter.on_connection(&mut ConnectionView { connection: &connection(), cluster: None, counts: false })
    }

    #[test]
    fn a_connection_that_is_not_let_in_is_closed_with_a_reason() {
        assert_eq!(asked(json!({"destination_port": 8080})), Ok(()));
        let reason = "rbac_access_denied_matched_policy[none]".to_owned();
        assert_eq!(asked(json!({"destination_port": 8081})), Err(Denied(reason)));
    }

    #[test]
    fn without_rules_every_connection_is_let_in() {
        let filter = Filter(Rbac::default());
        let mut view = ConnectionView { connection: &connection(), cluster: None, counts: false };
        assert_eq!(filter.on_connection(&mut view), Ok(()));
    }
}
