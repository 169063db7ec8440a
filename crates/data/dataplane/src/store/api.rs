//! The types that cross the boundary between the control half and the data path.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::SystemTime;

use bytes::Bytes;

/// The six resource types that configure the data path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceKind {
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoints,
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`
    Routes,
    /// `envoy.config.route.v3.VirtualHost`, for route configurations that have `vhds`
    VirtualHost,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`
    Secret,
}

impl ResourceKind {
    /// All kinds in the order in which updates should be applied (clusters before what refers to them).
    pub const ALL: [ResourceKind; 6] = [
        ResourceKind::Secret,
        ResourceKind::Cluster,
        ResourceKind::Endpoints,
        ResourceKind::Routes,
        ResourceKind::VirtualHost,
        ResourceKind::Listener,
    ];

    /// The type URL that xDS uses for this kind.
    pub fn type_url(self) -> &'static str {
        match self {
            ResourceKind::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            ResourceKind::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            ResourceKind::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            ResourceKind::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            ResourceKind::VirtualHost => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
            ResourceKind::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        }
    }

    /// The kind of a type URL, or `None` when the data path has no use for it.
    pub fn from_type_url(url: &str) -> Option<ResourceKind> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }
}

/// One new or changed resource, as it came from the wire.
#[derive(Debug, Clone)]
pub struct Upsert {
    /// The resource's name. It must be the name inside the message too, or the resource is rejected. A virtual host is
    /// named `<route configuration>/<virtual host>`; the message may have the second part alone.
    pub name: String,
    /// Version string, kept for `config_dump` only.
    pub version: String,
    /// The encoded protobuf message (`Any.value`).
    pub body: Bytes,
}

/// A set of changes of one kind. Resources that are not mentioned stay as they are (delta semantics); a
/// state-of-the-world client lists what disappeared in `removed`.
#[derive(Debug, Clone)]
pub struct ConfigUpdate {
    /// What the update is about.
    pub kind: ResourceKind,
    /// New and changed resources.
    pub upserts: Vec<Upsert>,
    /// Names of removed resources; unknown names are ignored.
    pub removed: Vec<String>,
    /// True for resources of the bootstrap file: they never drain and are dumped as static.
    pub is_static: bool,
    /// Whether virtual hosts come as well from where this comes from. If not, route configurations that have `vhds` are
    /// refused: they would wait without end.
    pub vhds: bool,
}

impl ConfigUpdate {
    /// An update of `kind` without changes, for filling in.
    pub fn new(kind: ResourceKind) -> Self {
        ConfigUpdate { kind, upserts: Vec::new(), removed: Vec::new(), is_static: false, vhds: true }
    }

    /// Adds one resource.
    pub fn upsert(
        mut self,
        name: impl Into<String>,
        version: impl Into<String>,
        body: impl Into<Bytes>,
    ) -> Self {
        self.upserts.push(Upsert { name: name.into(), version: version.into(), body: body.into() });
        self
    }

    /// Says that no virtual hosts come from where this comes from.
    pub fn without_vhds(mut self) -> Self {
        self.vhds = false;
        self
    }

    /// Marks the resources as coming from the bootstrap file.
    pub fn fixed(mut self) -> Self {
        self.is_static = true;
        self
    }
}

/// Why one resource was not taken over. The text goes into the NACK.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct Rejection {
    /// Name of the resource.
    pub name: String,
    /// What is wrong, and where in the message.
    pub reason: String,
}

/// The names that the accepted listeners and clusters refer to: what a client has to subscribe to by name.
/// CDS and LDS are always wildcard subscriptions and are not listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// RDS route configurations.
    pub routes: BTreeSet<String>,
    /// EDS service names (`eds_config.service_name`, else the cluster's name).
    pub endpoints: BTreeSet<String>,
    /// Whether some route configuration gets virtual hosts as resources of their own: then all of these are subscribed
    /// to (VHDS with a wildcard).
    pub virtual_hosts: bool,
    /// SDS secrets. `default` and `ROOTCA` are normally supplied by the agent itself.
    pub secrets: BTreeSet<String>,
}

/// Which listeners a drain is about (`/drain_listeners`, `/drain_listeners?inboundonly`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainKind {
    /// Only listeners with `traffic_direction: INBOUND`.
    InboundOnly,
    /// Every listener.
    All,
}

/// Life cycle of a listener or cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceState {
    /// Waits for the named route tables, endpoints or secrets.
    Warming,
    /// In use.
    Active,
}

/// Facts about one listener for `/listeners` and readiness.
#[derive(Debug, Clone)]
pub struct ListenerStatus {
    /// Resource name.
    pub name: String,
    /// Addresses it is bound to (the real port when the configuration says 0); empty when not bound.
    pub local_addresses: Vec<SocketAddr>,
    /// Life cycle.
    pub state: ResourceState,
    /// What a warming listener waits for, as text ("route configuration 9080"); empty otherwise.
    pub waits_for: Vec<String>,
    /// Why binding failed, if it did.
    pub bind_error: Option<String>,
}

/// Facts about one upstream host for `/clusters`.
#[derive(Debug, Clone)]
pub struct HostStatus {
    /// `ip:port` or a unix socket path.
    pub address: String,
    /// DNS name it was resolved from, else empty.
    pub hostname: String,
    /// Load balancing weight.
    pub weight: u32,
    /// Priority, 0 first.
    pub priority: u32,
    /// Region, zone, sub zone.
    pub locality: (String, String, String),
    /// Whether EDS (or a health check) says that it is healthy.
    pub eds_healthy: bool,
    /// True when it says DEGRADED.
    pub eds_degraded: bool,
    /// Whether outlier detection has ejected it.
    pub ejected: bool,
    /// Requests that are active now.
    pub rq_active: u64,
    /// Counters: name as Envoy prints it (`cx_total`, `rq_total`, `rq_success`, `rq_error`, ...) and value.
    pub counters: Vec<(&'static str, u64)>,
}

impl HostStatus {
    /// Envoy's `health_flags` text: `healthy` or the failed checks separated by slashes.
    pub fn health_flags(&self) -> String {
        let mut flags = String::new();
        if self.ejected {
            flags.push_str("/failed_outlier_check");
        }
        if !self.eds_healthy {
            flags.push_str("/failed_eds_health");
        }
        if self.eds_degraded {
            flags.push_str("/degraded_eds_health");
        }
        if flags.is_empty() { "healthy".to_owned() } else { flags }
    }
}

/// Facts about one cluster for `/clusters`.
#[derive(Debug, Clone)]
pub struct ClusterStatus {
    /// Resource name.
    pub name: String,
    /// Life cycle.
    pub state: ResourceState,
    /// What a warming cluster waits for; empty otherwise.
    pub waits_for: Vec<String>,
    /// True when it came by xDS rather than from the bootstrap file.
    pub added_via_api: bool,
    /// EDS service name, when the cluster is of that type.
    pub eds_service_name: Option<String>,
    /// Circuit breaker limits of the default and the high priority:
    /// connections, pending requests, requests, retries.
    pub limits: [[u64; 4]; 2],
    /// Hosts of all priorities.
    pub hosts: Vec<HostStatus>,
}

/// What the data path runs with, for the admin endpoints. Assembled on demand.
#[derive(Debug, Clone, Default)]
pub struct ConfigStatus {
    /// Listeners by name.
    pub listeners: Vec<ListenerStatus>,
    /// Clusters by name.
    pub clusters: Vec<ClusterStatus>,
    /// True as soon as every worker has taken over the first snapshot.
    pub workers_started: bool,
    /// True while a drain of all listeners is going on.
    pub draining: bool,
}

/// Where a dumped resource stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DumpState {
    /// From the bootstrap file.
    Static,
    /// From the control plane and in use.
    Active,
    /// Accepted, waits for what it refers to.
    Warming,
}

/// One raw resource with its history, for `/config_dump`. Secrets are included with their private keys:
/// redaction is the admin endpoint's duty because only it knows the encoding it writes.
#[derive(Debug, Clone)]
pub struct DumpEntry {
    /// Kind of the resource.
    pub kind: ResourceKind,
    /// Name.
    pub name: String,
    /// Version as given in the update.
    pub version: String,
    /// State.
    pub state: DumpState,
    /// When it was accepted, or the newest of its virtual hosts was.
    pub last_updated: SystemTime,
    /// The message as received; of a route configuration with the virtual hosts that came for it (VHDS).
    pub body: Bytes,
    /// The last rejected successor: when it came, its version and the reason.
    pub error: Option<(SystemTime, String, String)>,
}
