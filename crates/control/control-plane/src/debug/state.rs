//! What the debug pages show.

use std::sync::{Arc, atomic::AtomicBool};

use crate::{
    ads::Connections, auth::Authenticator, metrics::Metrics, publish::Publisher, settings::Settings,
};

/// What the handlers read.
pub struct Debug {
    /// Settings of the mesh.
    pub settings: Arc<Settings>,
    /// The model.
    pub publisher: Arc<Publisher>,
    /// Streams.
    pub connections: Arc<Connections>,
    /// The metrics page.
    pub metrics: Arc<Metrics>,
    /// For callers off loopback.
    pub authenticator: Arc<Authenticator>,
    /// All servers are up.
    pub serving: Arc<AtomicBool>,
    /// No token needed.
    pub open: bool,
}
