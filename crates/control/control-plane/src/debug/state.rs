//! What the debug pages show.

use std::sync::{Arc, atomic::AtomicBool};

use tokio::sync::watch;

use crate::{
    ads::{Connections, Resources},
    auth::Authenticator,
    metrics::Metrics,
    push::{Model, Published},
};

/// What the handlers read.
pub struct Debug {
    /// Inputs.
    pub model: Arc<Model>,
    /// Snapshots.
    pub published: watch::Receiver<Published>,
    /// To push on demand.
    pub push: Arc<watch::Sender<Published>>,
    /// Streams.
    pub connections: Arc<Connections>,
    /// For dumps.
    pub resources: Arc<Resources>,
    /// The metrics page.
    pub metrics: Arc<Metrics>,
    /// For callers off loopback.
    pub authenticator: Arc<Authenticator>,
    /// All servers are up.
    pub serving: Arc<AtomicBool>,
    /// No token needed.
    pub open: bool,
}
