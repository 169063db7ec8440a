//! A downstream connection: what is known of it, and when it has to end.

use std::ops::Deref;

use portolan_dataplane_config::message::ConnectionFacts;
use tokio_util::sync::CancellationToken;

/// A connection that a filter chain took. Reads like its facts.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    pub(crate) facts: ConnectionFacts,
    /// Cancelled when the filter chain that took the connection is replaced or its listener drains.
    pub(crate) drain: CancellationToken,
}

impl Deref for ConnectionInfo {
    type Target = ConnectionFacts;

    fn deref(&self) -> &ConnectionFacts {
        &self.facts
    }
}
