//! The compiled configuration that workers run on.

use std::collections::HashMap;
use std::sync::Arc;

use crate::listener::Listener;
use crate::listener::bind::Bound;
use crate::route::RouteTable;
use crate::upstream::Cluster;

/// One consistent, immutable state of the whole configuration.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    /// Grows by one with every snapshot.
    pub generation: u64,
    pub(crate) listeners: HashMap<Arc<str>, ActiveListener>,
    pub(crate) routes: HashMap<Arc<str>, Arc<RouteTable>>,
    pub(crate) clusters: HashMap<Arc<str>, Arc<Cluster>>,
}

/// A listener in use.
#[derive(Debug, Clone)]
pub(crate) struct ActiveListener {
    pub(crate) listener: Arc<Listener>,
    /// `None`: not bound, gets connections from others only; or draining.
    pub(crate) bound: Option<Arc<Bound>>,
}
