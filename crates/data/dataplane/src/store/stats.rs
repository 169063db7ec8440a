//! Statistics under Envoy's names, summed over the workers.
//!
//! What there is to count is listed under the configuration's lock; it is summed and put into words after that, so that a
//! scrape does not hold up an update.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use portolan_balance::outlier::{self, Kind};

use super::handle::{ClusterEntry, ConfigStore, State};
use crate::filters::FilterStats;
use crate::stats::metrics::{
    ClusterStats, Distribution, Histogram, HttpStats, ListenerStats, PerWorker, TcpStats,
};
use crate::stats::{MetricKind, Sample, SampleValue};
use crate::upstream::host::Health;
use crate::upstream::{Cluster, ClusterShared};

/// Parts of a statistic's name that are scopes of their own in Envoy: `ssl_handshake` is `ssl.handshake`.
const NESTED: [&str; 4] = ["ssl", "outlier_detection", "tracing", "ext_authz"];

/// Blocks of statistics by name.
type Blocks<T> = Vec<(String, Arc<PerWorker<T>>)>;
type Row = (&'static str, MetricKind, u64);

/// Everything that is counted.
struct Sources {
    listeners: Blocks<ListenerStats>,
    http: Blocks<HttpStats>,
    /// Of the HTTP filters, by the name of their connection manager.
    filters: Blocks<FilterStats>,
    tcp: Blocks<TcpStats>,
    clusters: Vec<(String, Arc<ClusterShared>, Option<Arc<Cluster>>)>,
    managers: Vec<(&'static str, Vec<Row>)>,
    tracers: Vec<(&'static str, Vec<Row>)>,
}

impl ConfigStore {
    /// Envoy's statistics of listeners, connection managers, TCP proxies and clusters.
    pub(crate) fn collect_stats(&self, out: &mut Vec<Sample>) {
        let started = self.workers_started();
        let mut sources = Sources::of(&self.inner.state.lock(), started);
        sources.tracers = self.inner.shared.tracing.totals();
        sources.collect(out);
    }
}

impl Sources {
    fn of(state: &State, started: bool) -> Sources {
        let cluster = |(name, entry): (&String, &ClusterEntry)| {
            (name.clone(), entry.shared.clone(), entry.active.clone())
        };
        Sources {
            listeners: blocks(&state.scopes.listeners),
            http: blocks(&state.scopes.http),
            filters: blocks(&state.scopes.filters),
            tcp: blocks(&state.scopes.tcp),
            clusters: state.clusters.iter().map(cluster).collect(),
            managers: managers(state, started),
            tracers: Vec::new(),
        }
    }

    fn collect(&self, out: &mut Vec<Sample>) {
        for (name, stats) in &self.listeners {
            let name = name.replace(':', "_");
            let scope = Scope::new("listener", "envoy_listener_address", &name);
            scope.add(ListenerStats::totals(stats.iter()), out);
        }
        for (name, stats) in &self.http {
            let scope = Scope::new("http", "envoy_http_conn_manager_prefix", name);
            scope.add(HttpStats::totals(stats.iter()), out);
        }
        for (name, stats) in &self.filters {
            let scope = Scope::new("http", "envoy_http_conn_manager_prefix", name);
            scope.add(FilterStats::totals(stats.iter()), out);
        }
        for (name, stats) in &self.tcp {
            Scope::new("tcp", "envoy_tcp_prefix", name).add(TcpStats::totals(stats.iter()), out);
        }
        for (name, shared, active) in &self.clusters {
            let scope = Scope::new("cluster", "envoy_cluster_name", name);
            scope.add(ClusterStats::totals(shared.stats.iter()), out);
            scope.add(membership(active.as_deref()), out);
            scope.add(ejections(&shared.outliers), out);
            scope.histogram("upstream_rq_time", &shared.rq_time, out);
        }
        for (name, rows) in &self.tracers {
            let (group, prefix) = (format!("tracing_{name}"), format!("tracing.{name}"));
            Scope { group: &group, prefix, label: None }.add(rows.clone(), out);
        }
        for (group, rows) in &self.managers {
            Scope { group, prefix: (*group).to_owned(), label: None }.add(rows.clone(), out);
        }
    }
}

fn blocks<T>(map: &std::collections::HashMap<String, Arc<PerWorker<T>>>) -> Blocks<T> {
    map.iter().map(|(name, stats)| (name.clone(), stats.clone())).collect()
}

/// What Envoy's managers of listeners and clusters count.
fn managers(state: &State, started: bool) -> Vec<(&'static str, Vec<Row>)> {
    let count = |number: usize| number as u64;
    let listeners = state.listeners.values();
    let warming = listeners.clone().filter(|entry| entry.warming.is_some()).count();
    let listeners = listeners.filter(|entry| entry.active.is_some()).count();
    let clusters = state.clusters.values().filter(|entry| entry.active.is_some()).count();
    vec![
        (
            "listener_manager",
            vec![
                ("total_listeners_active", MetricKind::Gauge, count(listeners)),
                ("total_listeners_warming", MetricKind::Gauge, count(warming)),
                ("workers_started", MetricKind::Gauge, u64::from(started)),
            ],
        ),
        (
            "cluster_manager",
            vec![
                ("active_clusters", MetricKind::Gauge, count(clusters)),
                ("warming_clusters", MetricKind::Gauge, count(state.clusters.len() - clusters)),
            ],
        ),
    ]
}

fn membership(active: Option<&Cluster>) -> Vec<Row> {
    let hosts = || active.into_iter().flat_map(|active| active.hosts.iter());
    let up = |degraded: bool| {
        let up = hosts().filter(|host| host.available());
        up.filter(|host| (host.health == Health::Degraded) == degraded).count() as u64
    };
    vec![
        ("membership_total", MetricKind::Gauge, hosts().count() as u64),
        ("membership_healthy", MetricKind::Gauge, up(false)),
        ("membership_degraded", MetricKind::Gauge, up(true)),
    ]
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

fn ejections(stats: &outlier::Stats) -> Vec<Row> {
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    let total = stats.enforced.iter().map(count).sum();
    let mut rows = vec![
        ("outlier_detection_ejections_active", MetricKind::Gauge, count(&stats.active)),
        ("outlier_detection_ejections_overflow", MetricKind::Counter, count(&stats.overflow)),
        ("outlier_detection_ejections_enforced_total", MetricKind::Counter, total),
    ];
    for ((enforced, detected), kind) in EJECTIONS.iter().zip(Kind::ALL) {
        rows.push((enforced, MetricKind::Counter, count(&stats.enforced[kind as usize])));
        rows.push((detected, MetricKind::Counter, count(&stats.detected[kind as usize])));
    }
    rows
}

/// What the statistics of one block have in common.
struct Scope<'a> {
    /// Part of the family: `envoy_<group>_...`.
    group: &'a str,
    /// Part of Envoy's own name: `<prefix>....`.
    prefix: String,
    label: Option<(&'a str, &'a str)>,
}

impl<'a> Scope<'a> {
    fn new(group: &'a str, label: &'a str, name: &'a str) -> Self {
        Scope { group, prefix: format!("{group}.{name}"), label: Some((label, name)) }
    }

    fn labels(&self) -> impl Iterator<Item = (String, String)> {
        self.label.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
    }

    fn add(&self, rows: Vec<Row>, out: &mut Vec<Sample>) {
        for (field, kind, value) in rows {
            // Envoy makes the class of a status a label: downstream_rq_5xx -> downstream_rq_xx{class="5"}.
            let class = field.rsplit_once('_').filter(|(_, class)| class.len() == 3 && class.ends_with("xx"));
            let family = class.map_or_else(|| field.to_owned(), |(base, _)| format!("{base}_xx"));
            let class =
                class.map(|(_, class)| ("envoy_response_code_class".to_owned(), class[..1].to_owned()));
            out.push(Sample {
                stat_name: format!("{}.{}", self.prefix, dotted(field)),
                family: format!("envoy_{}_{family}", self.group),
                labels: class.into_iter().chain(self.labels()).collect(),
                kind,
                value: SampleValue::Number(value),
            });
        }
    }

    fn histogram(&self, field: &str, workers: &PerWorker<Histogram>, out: &mut Vec<Sample>) {
        let mut total = Distribution::default();
        workers.iter().for_each(|histogram| histogram.collect(&mut total));
        out.push(Sample {
            stat_name: format!("{}.{field}", self.prefix),
            family: format!("envoy_{}_{field}", self.group),
            labels: self.labels().collect(),
            kind: MetricKind::Histogram,
            value: total.value(),
        });
    }
}

fn dotted(field: &str) -> String {
    let nested = NESTED.iter().find_map(|scope| Some((scope, field.strip_prefix(scope)?.strip_prefix('_')?)));
    nested.map_or_else(|| field.to_owned(), |(scope, rest)| format!("{scope}.{rest}"))
}
