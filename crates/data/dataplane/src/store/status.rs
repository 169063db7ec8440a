//! What the admin endpoints see of the configuration.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use portolan_balance::outlier::{self, Kind};

use super::api::{
    ClusterStatus, ConfigStatus, DrainKind, DumpEntry, DumpState, HostStatus, ListenerStatus, ResourceKind,
    ResourceState,
};
use super::handle::{ClusterEntry, ConfigStore, State, waits_for};
use crate::stats::metrics::{ClusterStats, Distribution, HttpStats, ListenerStats, TcpStats};
use crate::stats::{MetricKind, Sample, SampleValue};
use crate::upstream::config::Discovery;
use crate::upstream::host::Health;

impl ConfigStore {
    /// State of listeners, clusters and hosts.
    pub fn status(&self) -> ConfigStatus {
        let state = self.inner.state.lock();
        let listeners = state.listeners.iter().map(|(name, entry)| ListenerStatus {
            name: name.clone(),
            local_addresses: match (&entry.bound, &entry.active) {
                (Some(bound), _) => vec![bound.local],
                _ => Vec::new(),
            },
            state: if entry.active.is_some() { ResourceState::Active } else { ResourceState::Warming },
            waits_for: entry
                .warming
                .as_ref()
                .map(|listener| waits_for(listener, &state.routes))
                .unwrap_or_default(),
            bind_error: None,
        });
        ConfigStatus {
            listeners: listeners.collect(),
            clusters: state
                .clusters
                .iter()
                .map(|(name, entry)| cluster_status(&state, name, entry))
                .collect(),
            workers_started: self.inner.shared.started.load(Relaxed) >= self.inner.shared.workers,
            draining: state.draining == Some(DrainKind::All),
        }
    }

    /// All resources as received, for `/config_dump`.
    pub fn dump(&self) -> Vec<DumpEntry> {
        let state = self.inner.state.lock();
        let entries = state.raw.iter().map(|((kind, name), raw)| {
            let warming = match kind {
                ResourceKind::Cluster => state.clusters.get(name).is_some_and(|entry| entry.active.is_none()),
                ResourceKind::Listener => {
                    state.listeners.get(name).is_some_and(|entry| entry.warming.is_some())
                }
                _ => false,
            };
            DumpEntry {
                kind: *kind,
                name: name.clone(),
                version: raw.version.clone(),
                state: match (raw.is_static, warming) {
                    (true, _) => DumpState::Static,
                    (false, true) => DumpState::Warming,
                    (false, false) => DumpState::Active,
                },
                last_updated: raw.updated,
                body: raw.body.clone(),
                error: raw.error.clone(),
            }
        });
        entries.collect()
    }
}

impl ConfigStore {
    /// Envoy's statistics of listeners, connection managers, TCP proxies and clusters, and of the server.
    pub(crate) fn collect_stats(&self, out: &mut Vec<Sample>) {
        let state = self.inner.state.lock();
        let mut scope = |prefix: &str,
                         label: Option<(&str, &str)>,
                         group: &str,
                         rows: Vec<(&'static str, MetricKind, u64)>| {
            for (field, kind, value) in rows {
                let nested = ["ssl", "outlier_detection"].iter().find_map(|scope| {
                    let rest = field.strip_prefix(scope)?.strip_prefix('_')?;
                    Some(format!("{scope}.{rest}"))
                });
                let dotted = nested.unwrap_or_else(|| field.to_owned());
                let mut labels: Vec<(String, String)> = Vec::new();
                let mut flat = field.to_owned();
                // Envoy makes the class of a status a label: downstream_rq_5xx -> downstream_rq_xx{class="5"}.
                if let Some((base, class)) =
                    flat.rsplit_once('_').filter(|(_, class)| class.len() == 3 && class.ends_with("xx"))
                {
                    labels.push(("envoy_response_code_class".to_owned(), class[..1].to_owned()));
                    flat = format!("{base}_xx");
                }
                labels.extend(label.map(|(name, value)| (name.to_owned(), value.to_owned())));
                out.push(Sample {
                    stat_name: format!("{prefix}.{dotted}"),
                    family: format!("envoy_{group}_{flat}"),
                    labels,
                    kind,
                    value: SampleValue::Number(value),
                });
            }
        };
        for (name, stats) in &state.scopes.listeners {
            let name = name.replace(':', "_");
            let label = Some(("envoy_listener_address", name.as_str()));
            scope(&format!("listener.{name}"), label, "listener", ListenerStats::totals(stats.iter()));
        }
        for (name, stats) in &state.scopes.http {
            let label = Some(("envoy_http_conn_manager_prefix", name.as_str()));
            scope(&format!("http.{name}"), label, "http", HttpStats::totals(stats.iter()));
        }
        for (name, stats) in &state.scopes.tcp {
            let label = Some(("envoy_tcp_prefix", name.as_str()));
            scope(&format!("tcp.{name}"), label, "tcp", TcpStats::totals(stats.iter()));
        }
        for (name, entry) in &state.clusters {
            let label = Some(("envoy_cluster_name", name.as_str()));
            let prefix = format!("cluster.{name}");
            scope(&prefix, label, "cluster", ClusterStats::totals(entry.shared.stats.iter()));
            let hosts = entry.active.as_ref().map(|active| active.hosts.clone()).unwrap_or_default();
            let up = hosts.iter().filter(|host| host.available());
            let (degraded, healthy): (Vec<_>, Vec<_>) = up.partition(|host| host.health == Health::Degraded);
            let mut extra = vec![
                ("membership_total", MetricKind::Gauge, hosts.len() as u64),
                ("membership_healthy", MetricKind::Gauge, healthy.len() as u64),
                ("membership_degraded", MetricKind::Gauge, degraded.len() as u64),
            ];
            outlier_stats(&entry.shared.outliers, &mut extra);
            scope(&prefix, label, "cluster", extra);
        }
        let active = state.listeners.values().filter(|entry| entry.active.is_some()).count() as u64;
        let warming = state.listeners.values().filter(|entry| entry.warming.is_some()).count() as u64;
        scope(
            "listener_manager",
            None,
            "listener_manager",
            vec![
                ("total_listeners_active", MetricKind::Gauge, active),
                ("total_listeners_warming", MetricKind::Gauge, warming),
            ],
        );
        let active = state.clusters.values().filter(|entry| entry.active.is_some()).count() as u64;
        scope(
            "cluster_manager",
            None,
            "cluster_manager",
            vec![
                ("active_clusters", MetricKind::Gauge, active),
                ("warming_clusters", MetricKind::Gauge, state.clusters.len() as u64 - active),
            ],
        );
        let started = self.inner.shared.started.load(Relaxed) >= self.inner.shared.workers;
        scope(
            "server",
            None,
            "server",
            vec![
                ("live", MetricKind::Gauge, u64::from(started && state.draining != Some(DrainKind::All))),
                ("concurrency", MetricKind::Gauge, self.inner.shared.workers as u64),
            ],
        );
        for (name, entry) in &state.clusters {
            let mut total = Distribution::default();
            entry.shared.rq_time.iter().for_each(|histogram| histogram.collect(&mut total));
            out.push(Sample {
                stat_name: format!("cluster.{name}.upstream_rq_time"),
                family: "envoy_cluster_upstream_rq_time".to_owned(),
                labels: vec![("envoy_cluster_name".to_owned(), name.clone())],
                kind: MetricKind::Histogram,
                value: total.value(),
            });
        }
    }
}

/// Counters of ejections by kind, in the order of `Kind::ALL`.
const EJECTIONS: [(&str, &str); Kind::ALL.len()] = [
    (
        "outlier_detection_ejections_enforced_consecutive_5xx",
        "outlier_detection_ejections_detected_consecutive_5xx",
    ),
    (
        "outlier_detection_ejections_enforced_consecutive_gateway_failure",
        "outlier_detection_ejections_detected_consecutive_gateway_failure",
    ),
    (
        "outlier_detection_ejections_enforced_consecutive_local_origin_failure",
        "outlier_detection_ejections_detected_consecutive_local_origin_failure",
    ),
    (
        "outlier_detection_ejections_enforced_success_rate",
        "outlier_detection_ejections_detected_success_rate",
    ),
    (
        "outlier_detection_ejections_enforced_local_origin_success_rate",
        "outlier_detection_ejections_detected_local_origin_success_rate",
    ),
    (
        "outlier_detection_ejections_enforced_failure_percentage",
        "outlier_detection_ejections_detected_failure_percentage",
    ),
    (
        "outlier_detection_ejections_enforced_local_origin_failure_percentage",
        "outlier_detection_ejections_detected_local_origin_failure_percentage",
    ),
];

fn outlier_stats(stats: &outlier::Stats, into: &mut Vec<(&'static str, MetricKind, u64)>) {
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    let total = stats.enforced.iter().map(count).sum();
    into.push(("outlier_detection_ejections_active", MetricKind::Gauge, count(&stats.active)));
    into.push(("outlier_detection_ejections_overflow", MetricKind::Counter, count(&stats.overflow)));
    into.push(("outlier_detection_ejections_enforced_total", MetricKind::Counter, total));
    for ((enforced, detected), kind) in EJECTIONS.iter().zip(Kind::ALL) {
        into.push((enforced, MetricKind::Counter, count(&stats.enforced[kind as usize])));
        into.push((detected, MetricKind::Counter, count(&stats.detected[kind as usize])));
    }
}

fn cluster_status(state: &State, name: &str, entry: &ClusterEntry) -> ClusterStatus {
    let config = &entry.config;
    let eds = match &config.discovery {
        Discovery::Eds { service_name } => Some(service_name.clone()),
        _ => None,
    };
    let mut waits = Vec::new();
    if entry.active.is_none() {
        if !config.tls_ready() {
            let mut secrets = std::collections::BTreeSet::new();
            config.secret_names(&mut secrets);
            waits.push(format!("secrets {}", secrets.into_iter().collect::<Vec<_>>().join(", ")));
        }
        if let Some(service) = eds.as_ref().filter(|service| !state.endpoints.contains_key(*service)) {
            waits.push(format!("endpoints {service}"));
        }
        for name in config.dns_names().iter().filter(|name| !state.resolved.contains_key(*name)) {
            waits.push(format!("address of {name}"));
        }
    }
    let hosts = entry.active.iter().flat_map(|active| active.hosts.iter()).map(|host| {
        let counters = &host.state;
        HostStatus {
            address: host.address.to_string(),
            hostname: host.hostname.clone(),
            weight: host.weight,
            priority: host.priority,
            locality: (*host.locality).clone(),
            eds_healthy: host.health != Health::Unhealthy,
            eds_degraded: host.health == Health::Degraded,
            ejected: counters.outlier.is_ejected(),
            rq_active: counters.rq_active.load(Relaxed),
            counters: vec![
                ("cx_active", counters.cx_active.load(Relaxed)),
                ("cx_connect_fail", counters.cx_connect_fail.load(Relaxed)),
                ("cx_total", counters.cx_total.load(Relaxed)),
                ("rq_active", counters.rq_active.load(Relaxed)),
                ("rq_error", counters.rq_error.load(Relaxed)),
                ("rq_success", counters.rq_success.load(Relaxed)),
                ("rq_timeout", counters.rq_timeout.load(Relaxed)),
                ("rq_total", counters.rq_total.load(Relaxed)),
            ],
        }
    });
    let limits =
        config.limits.map(|limits| [limits.connections, limits.pending, limits.requests, limits.retries]);
    ClusterStatus {
        name: name.to_owned(),
        state: if entry.active.is_some() { ResourceState::Active } else { ResourceState::Warming },
        waits_for: waits,
        added_via_api: state
            .raw
            .get(&(ResourceKind::Cluster, name.to_owned()))
            .is_some_and(|raw| !raw.is_static),
        eds_service_name: eds,
        limits,
        hosts: hosts.collect(),
    }
}
