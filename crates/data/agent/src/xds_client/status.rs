//! What the xDS client tells readiness, statistics and admin endpoints.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use portolan_dataplane::config::ResourceKind;

/// Counters of one resource type, named after Envoy's `update_*` statistics.
#[derive(Debug, Default)]
pub struct TypeStatus {
    /// Responses that were taken over whole.
    pub update_success: AtomicU64,
    /// Responses that were NACKed.
    pub update_rejected: AtomicU64,
}

/// Shared state of one client. Written by the client's task, read by anyone.
#[derive(Debug)]
pub struct XdsStatus {
    /// Types that must have arrived before the proxy counts as configured.
    expected: Vec<ResourceKind>,
    connected: AtomicBool,
    /// Streams that could not be opened or broke.
    pub connection_failures: AtomicU64,
    /// Streams that were opened.
    pub connections: AtomicU64,
    clusters: TypeStatus,
    endpoints: TypeStatus,
    listeners: TypeStatus,
    routes: TypeStatus,
    virtual_hosts: TypeStatus,
    secrets: TypeStatus,
}

impl Default for XdsStatus {
    /// Listeners and clusters are expected.
    fn default() -> Self {
        Self::expecting(vec![ResourceKind::Cluster, ResourceKind::Listener])
    }
}

impl XdsStatus {
    /// A status that counts as configured when all of `expected` have arrived once.
    pub fn expecting(expected: Vec<ResourceKind>) -> Self {
        XdsStatus {
            expected,
            connected: AtomicBool::new(false),
            connection_failures: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            clusters: TypeStatus::default(),
            endpoints: TypeStatus::default(),
            listeners: TypeStatus::default(),
            routes: TypeStatus::default(),
            virtual_hosts: TypeStatus::default(),
            secrets: TypeStatus::default(),
        }
    }

    /// The counters of one type.
    pub fn of(&self, kind: ResourceKind) -> &TypeStatus {
        match kind {
            ResourceKind::Cluster => &self.clusters,
            ResourceKind::Endpoints => &self.endpoints,
            ResourceKind::Listener => &self.listeners,
            ResourceKind::Routes => &self.routes,
            ResourceKind::VirtualHost => &self.virtual_hosts,
            ResourceKind::Secret => &self.secrets,
        }
    }

    /// Whether a stream is open now.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Whether the expected types have arrived at least once: the first half of readiness.
    /// A response that was rejected counts too: its good part is in force, and one bad resource must not keep
    /// the proxy from serving the others.
    pub fn is_configured(&self) -> bool {
        self.expected.iter().all(|kind| {
            let status = self.of(*kind);
            status.update_success.load(Ordering::Relaxed) + status.update_rejected.load(Ordering::Relaxed) > 0
        })
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
        if connected {
            self.connections.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count(&self, kind: ResourceKind, accepted: bool) {
        let status = self.of(kind);
        let counter = if accepted { &status.update_success } else { &status.update_rejected };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The same facts under Envoy's statistic names: name, value, whether it is a gauge.
    pub fn stats(&self) -> Vec<(String, u64, bool)> {
        let mut out = vec![
            ("control_plane.connected_state".to_owned(), u64::from(self.is_connected()), true),
            ("control_plane.connections_total".to_owned(), self.connections.load(Ordering::Relaxed), false),
            (
                "control_plane.connection_failures_total".to_owned(),
                self.connection_failures.load(Ordering::Relaxed),
                false,
            ),
        ];
        for (prefix, kind) in [
            ("cluster_manager.cds", ResourceKind::Cluster),
            ("eds", ResourceKind::Endpoints),
            ("listener_manager.lds", ResourceKind::Listener),
            ("rds", ResourceKind::Routes),
            ("vhds", ResourceKind::VirtualHost),
            ("sds", ResourceKind::Secret),
        ] {
            let status = self.of(kind);
            out.push((
                format!("{prefix}.update_success"),
                status.update_success.load(Ordering::Relaxed),
                false,
            ));
            out.push((
                format!("{prefix}.update_rejected"),
                status.update_rejected.load(Ordering::Relaxed),
                false,
            ));
        }
        out
    }
}
