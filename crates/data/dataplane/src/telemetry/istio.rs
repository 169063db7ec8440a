//! Istio's standard metrics (istio.io, Reference, Configuration, "Istio Standard Metrics").

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::node::WorkerNode;
use super::peer::PeerMetadata;
use super::stream_info::StreamInfo;
use crate::io::timer::now;
use crate::message::{Flags, Request, without_port};
use crate::stats::metrics::{Distribution, Histogram, Stat};
use crate::stats::published::Published;
use crate::stats::{MetricKind, Sample, SampleValue};
use crate::value::Direction;

/// Series per worker; what does not fit is not counted, and a warning says so once.
const MAX_SERIES: usize = 20_000;
/// Of these, series whose labels hold what anybody may claim: a `host` field that no cluster confirms, metadata of a peer
/// without a certificate. Further claims are counted as [`UNKNOWN`], so that they push out nothing that is real.
const MAX_CLAIMED: usize = 1000;
/// The largest status that gRPC knows; others count as its own "unknown" (grpc.io, "Status codes and their use").
const MAX_GRPC_STATUS: u32 = 16;
const GRPC_UNKNOWN: u32 = 2;

const UNKNOWN: &str = "unknown";

/// The labels of one series.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Labels {
    tcp: bool,
    destination_reporter: bool,
    source: PeerMetadata,
    source_principal: String,
    destination: PeerMetadata,
    destination_principal: String,
    service: [Arc<str>; 3],
    protocol: &'static str,
    code: u16,
    grpc: Option<u32>,
    flags: Flags,
    mtls: Option<bool>,
}

/// The same labels where they lie: what the index is searched with, so that a request copies none of them.
#[derive(Debug, Clone, Copy, PartialEq, Hash)]
struct View<'a> {
    tcp: bool,
    destination_reporter: bool,
    source: &'a PeerMetadata,
    source_principal: &'a str,
    destination: &'a PeerMetadata,
    destination_principal: &'a str,
    service: [&'a str; 3],
    protocol: &'static str,
    code: u16,
    grpc: Option<u32>,
    flags: Flags,
    mtls: Option<bool>,
}

impl View<'_> {
    fn to_labels(self) -> Labels {
        Labels {
            tcp: self.tcp,
            destination_reporter: self.destination_reporter,
            source: self.source.clone(),
            source_principal: self.source_principal.to_owned(),
            destination: self.destination.clone(),
            destination_principal: self.destination_principal.to_owned(),
            service: self.service.map(Into::into),
            protocol: self.protocol,
            code: self.code,
            grpc: self.grpc,
            flags: self.flags,
            mtls: self.mtls,
        }
    }
}

/// Numbers of one series; written by one worker.
#[derive(Debug, Default)]
struct Values {
    requests: Stat,
    duration: Histogram,
    request_bytes: Histogram,
    response_bytes: Histogram,
    sent: Stat,
    received: Stat,
    opened: Stat,
    closed: Stat,
}

/// Which labels of a series are no more than claims.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Claims {
    service: bool,
    source: bool,
    destination: bool,
}

impl Claims {
    fn any(self) -> bool {
        self != Claims::default()
    }

    fn strike<'a>(self, mut labels: View<'a>) -> View<'a> {
        if self.service {
            labels.service = [UNKNOWN, UNKNOWN, labels.service[2]];
        }
        if self.source {
            labels.source = &NOBODY;
        }
        if self.destination {
            labels.destination = &NOBODY;
        }
        labels
    }
}

type Series = Arc<(Labels, Values)>;

/// All series of the process, by worker, for scraping. Nobody waits for anybody.
#[derive(Debug)]
pub(crate) struct IstioRegistry(Vec<Published<Series>>);

/// One worker's index.
#[derive(Debug)]
pub(crate) struct IstioStats {
    worker: usize,
    registry: Arc<IstioRegistry>,
    known: RefCell<HashTable<Series>>,
    claimed: Cell<usize>,
    hasher: DefaultHashBuilder,
}

impl IstioStats {
    pub(crate) fn new(worker: usize, registry: Arc<IstioRegistry>) -> Self {
        IstioStats {
            worker,
            registry,
            known: RefCell::default(),
            claimed: Cell::new(0),
            hasher: DefaultHashBuilder::default(),
        }
    }

    fn find(&self, labels: &View<'_>) -> Option<Series> {
        let hash = self.hasher.hash_one(labels);
        self.known.borrow().find(hash, |series| series.0.view() == *labels).cloned()
    }

    fn series(&self, labels: View<'_>, claims: Claims) -> Option<Series> {
        if let Some(series) = self.find(&labels) {
            return Some(series);
        }
        if !claims.any() {
            return self.add(&labels);
        }
        if self.claimed.get() < MAX_CLAIMED {
            self.claimed.set(self.claimed.get() + 1);
            return self.add(&labels);
        }
        let labels = claims.strike(labels);
        self.find(&labels).or_else(|| self.add(&labels))
    }

    fn add(&self, labels: &View<'_>) -> Option<Series> {
        let mut known = self.known.borrow_mut();
        if known.len() >= MAX_SERIES {
            return None;
        }
        if known.len() + 1 == MAX_SERIES {
            tracing::warn!(MAX_SERIES, "too many label combinations; further ones are not counted");
        }
        let series: Series = Arc::new((labels.to_labels(), Values::default()));
        let hash = self.hasher.hash_one(labels);
        if !self.registry.0.get(self.worker)?.push(series.clone()) {
            return None;
        }
        known.insert_unique(hash, series.clone(), |series| self.hasher.hash_one(series.0.view()));
        Some(series)
    }
}

/// A peer that nothing is known of.
static NOBODY: PeerMetadata = PeerMetadata {
    workload: String::new(),
    namespace: String::new(),
    app: String::new(),
    version: String::new(),
    cluster: String::new(),
    canonical_service: String::new(),
    canonical_revision: String::new(),
};

/// The series of a request, or of a TCP connection when there is no request.
fn series_of(
    stats: &IstioStats,
    this: &WorkerNode,
    direction: Direction,
    info: &StreamInfo,
    request: Option<&Request>,
) -> Option<Series> {
    let inbound = direction == Direction::Inbound;
    let local = &this.node.local.metadata;
    let own_principal = this.node.principal.load();
    let own_principal = own_principal.as_deref().map_or("", String::as_str);
    let down = info.downstream_peer.as_deref().unwrap_or(&NOBODY);
    // What the host's metadata say counts as long as the peer itself did not introduce itself.
    let described = match (&info.upstream_peer, &info.host) {
        (None, Some(host)) => {
            let istio = host.metadata.as_ref().and_then(|metadata| metadata.filter_metadata.get("istio"));
            let text = istio.and_then(|fields| crate::value::struct_string(fields, "workload"));
            text.and_then(|text| this.peers.endpoint(text))
        }
        _ => None,
    };
    let up = info.upstream_peer.as_deref().or(described.as_deref()).unwrap_or(&NOBODY);
    let mtls = info.connection.is_mtls();
    let peer_uri = info.connection.peer().and_then(|peer| peer.facts.uris.first()).map_or("", String::as_str);
    let mut claims = Claims::default();
    let service = match info.cluster.as_ref().and_then(|cluster| cluster.config.service.as_ref()) {
        Some(service) => [&*service.host, &*service.name, &*service.namespace],
        None => {
            let name = match info.cluster_name.as_deref() {
                Some(
                    name @ ("PassthroughCluster" | "BlackHoleCluster" | "InboundPassthroughClusterIpv4"),
                ) => name,
                _ => {
                    claims.service = true;
                    request.map_or(UNKNOWN, |request| without_port(&request.authority))
                }
            };
            [name, name, if inbound { local.namespace.as_str() } else { UNKNOWN }]
        }
    };
    let (source, destination, source_principal, destination_principal) = if inbound {
        (down, local, peer_uri, if mtls { own_principal } else { "" })
    } else {
        let upstream = info.upstream_principal.as_deref().unwrap_or_default();
        (local, up, if upstream.is_empty() { "" } else { own_principal }, upstream)
    };
    if inbound {
        claims.source = !mtls && info.downstream_peer.is_some();
    } else {
        claims.destination = info.upstream_principal.is_none() && info.upstream_peer.is_some();
    }
    let labels = View {
        tcp: request.is_none(),
        destination_reporter: inbound,
        source,
        source_principal,
        destination,
        destination_principal,
        service,
        protocol: match request {
            None => "tcp",
            Some(request) if request.is_grpc => "grpc",
            Some(_) => "http",
        },
        code: if request.is_none() { 0 } else { info.response_code },
        grpc: info.grpc_status.map(|code| if code > MAX_GRPC_STATUS { GRPC_UNKNOWN } else { code }),
        flags: info.flags,
        mtls: inbound.then_some(mtls),
    };
    stats.series(labels, claims)
}

/// Counts a finished request.
pub(crate) fn record_request(
    stats: &IstioStats,
    this: &WorkerNode,
    direction: Direction,
    info: &StreamInfo,
    request: &Request,
) {
    let Some(series) = series_of(stats, this, direction, info, Some(request)) else { return };
    let values = &series.1;
    values.requests.inc();
    values.duration.record(now().saturating_duration_since(info.start).as_secs_f64() * 1000.0);
    values.request_bytes.record(info.bytes_received as f64);
    values.response_bytes.record(info.bytes_sent as f64);
}

/// Counts a TCP connection that opened or closed.
pub(crate) fn record_tcp(
    stats: &IstioStats,
    this: &WorkerNode,
    direction: Direction,
    info: &StreamInfo,
    opened: bool,
) {
    let Some(series) = series_of(stats, this, direction, info, None) else { return };
    let values = &series.1;
    if opened {
        values.opened.inc();
    } else {
        values.closed.inc();
        // Istio's "sent" is what the destination sent back.
        values.sent.add(info.bytes_sent);
        values.received.add(info.bytes_received);
    }
}

impl Labels {
    fn view(&self) -> View<'_> {
        View {
            tcp: self.tcp,
            destination_reporter: self.destination_reporter,
            source: &self.source,
            source_principal: &self.source_principal,
            destination: &self.destination,
            destination_principal: &self.destination_principal,
            service: [&self.service[0], &self.service[1], &self.service[2]],
            protocol: self.protocol,
            code: self.code,
            grpc: self.grpc,
            flags: self.flags,
            mtls: self.mtls,
        }
    }

    fn pairs(&self) -> Vec<(String, String)> {
        let or = |text: &str| if text.is_empty() { UNKNOWN.to_owned() } else { text.to_owned() };
        let mut out: Vec<(&str, String)> = vec![
            ("reporter", if self.destination_reporter { "destination" } else { "source" }.to_owned()),
            ("source_workload", or(&self.source.workload)),
            ("source_canonical_service", or(&self.source.canonical_service)),
            ("source_canonical_revision", or(&self.source.canonical_revision)),
            ("source_workload_namespace", or(&self.source.namespace)),
            ("source_principal", or(&self.source_principal)),
            ("source_app", or(&self.source.app)),
            ("source_version", or(&self.source.version)),
            ("source_cluster", or(&self.source.cluster)),
            ("destination_workload", or(&self.destination.workload)),
            ("destination_workload_namespace", or(&self.destination.namespace)),
            ("destination_principal", or(&self.destination_principal)),
            ("destination_app", or(&self.destination.app)),
            ("destination_version", or(&self.destination.version)),
            ("destination_service", or(&self.service[0])),
            ("destination_canonical_service", or(&self.destination.canonical_service)),
            ("destination_canonical_revision", or(&self.destination.canonical_revision)),
            ("destination_service_name", or(&self.service[1])),
            ("destination_service_namespace", or(&self.service[2])),
            ("destination_cluster", or(&self.destination.cluster)),
            ("request_protocol", self.protocol.to_owned()),
        ];
        if !self.tcp {
            out.push(("response_code", self.code.to_string()));
            out.push(("grpc_response_status", self.grpc.map(|code| code.to_string()).unwrap_or_default()));
        }
        out.push(("response_flags", self.flags.text()));
        let policy = match self.mtls {
            None => UNKNOWN,
            Some(true) => "mutual_tls",
            Some(false) => "none",
        };
        out.push(("connection_security_policy", policy.to_owned()));
        out.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

impl IstioRegistry {
    pub(crate) fn new(workers: usize) -> Self {
        IstioRegistry((0..workers).map(|_| Published::with_capacity(MAX_SERIES)).collect())
    }

    /// Adds all series, summed over the workers, family by family.
    pub(crate) fn collect(&self, out: &mut Vec<Sample>) {
        let mut by_labels: HashMap<&Labels, Vec<&Values>> = HashMap::new();
        for series in self.0.iter().flat_map(Published::iter) {
            by_labels.entry(&series.0).or_default().push(&series.1);
        }
        let mut rows: Vec<_> =
            by_labels.into_iter().map(|(labels, values)| (labels.tcp, labels.pairs(), values)).collect();
        rows.sort_by(|a, b| a.1.cmp(&b.1));
        let mut counter = |family: &str, tcp: bool, get: fn(&Values) -> &Stat| {
            for (_, labels, values) in rows.iter().filter(|row| row.0 == tcp) {
                let total = values.iter().map(|values| get(values).get()).sum();
                out.push(sample(family, labels, MetricKind::Counter, SampleValue::Number(total)));
            }
        };
        counter("istio_requests_total", false, |values| &values.requests);
        counter("istio_tcp_sent_bytes_total", true, |values| &values.sent);
        counter("istio_tcp_received_bytes_total", true, |values| &values.received);
        counter("istio_tcp_connections_opened_total", true, |values| &values.opened);
        counter("istio_tcp_connections_closed_total", true, |values| &values.closed);
        let mut histogram = |family: &str, get: fn(&Values) -> &Histogram| {
            for (_, labels, values) in rows.iter().filter(|row| !row.0) {
                let mut total = Distribution::default();
                values.iter().for_each(|values| get(values).collect(&mut total));
                out.push(sample(family, labels, MetricKind::Histogram, total.value()));
            }
        };
        histogram("istio_request_duration_milliseconds", |values| &values.duration);
        histogram("istio_request_bytes", |values| &values.request_bytes);
        histogram("istio_response_bytes", |values| &values.response_bytes);
    }
}

fn sample(family: &str, labels: &[(String, String)], kind: MetricKind, value: SampleValue) -> Sample {
    let text: String = labels.iter().map(|(name, value)| format!(";.{name}=.={value}")).collect();
    Sample {
        stat_name: format!("{family}{text}"),
        family: family.to_owned(),
        labels: labels.to_vec(),
        kind,
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels<'a>(host: &'a str, source: &'a PeerMetadata) -> View<'a> {
        View {
            tcp: false,
            destination_reporter: true,
            source,
            source_principal: "",
            destination: &NOBODY,
            destination_principal: "",
            service: [host, host, "shop"],
            protocol: "http",
            code: 404,
            grpc: None,
            flags: Flags::NO_ROUTE,
            mtls: Some(false),
        }
    }

    fn stats() -> IstioStats {
        IstioStats::new(0, Arc::new(IstioRegistry::new(1)))
    }

    fn total(stats: &IstioStats, wanted: impl Fn(&Sample) -> bool) -> u64 {
        let mut samples = Vec::new();
        stats.registry.collect(&mut samples);
        let requests = samples.iter().filter(|sample| sample.family == "istio_requests_total");
        let numbers = requests.filter(|sample| wanted(sample)).map(|sample| match sample.value {
            SampleValue::Number(number) => number,
            SampleValue::Histogram { .. } => 0,
        });
        numbers.sum()
    }

    fn has(sample: &Sample, name: &str, value: &str) -> bool {
        sample.labels.contains(&(name.to_owned(), value.to_owned()))
    }

    const CLAIMED: Claims = Claims { service: true, source: false, destination: false };

    #[test]
    fn random_hosts_push_out_nothing_real() {
        let stats = stats();
        for number in 0..MAX_SERIES + 10 {
            let host = format!("random-{number}");
            stats.series(labels(&host, &NOBODY), CLAIMED).unwrap().1.requests.inc();
        }
        let real = stats.series(labels("cart.shop.svc", &NOBODY), Claims::default()).unwrap();
        real.1.requests.inc();
        assert_eq!(total(&stats, |sample| has(sample, "destination_service", "cart.shop.svc")), 1);
    }

    #[test]
    fn claims_beyond_the_limit_are_counted_as_unknown() {
        let stats = stats();
        for number in 0..MAX_CLAIMED + 10 {
            let host = format!("random-{number}");
            stats.series(labels(&host, &NOBODY), CLAIMED).unwrap().1.requests.inc();
        }
        assert_eq!(total(&stats, |sample| has(sample, "destination_service", UNKNOWN)), 10);
        assert_eq!(total(&stats, |_| true), (MAX_CLAIMED + 10) as u64);
    }

    #[test]
    fn what_a_peer_without_a_certificate_says_of_itself_is_bounded() {
        let stats = stats();
        let claims = Claims { source: true, ..Claims::default() };
        for number in 0..MAX_CLAIMED + 10 {
            let peer = PeerMetadata { workload: format!("random-{number}"), ..PeerMetadata::default() };
            stats.series(labels("cart.shop.svc", &peer), claims).unwrap().1.requests.inc();
        }
        assert_eq!(total(&stats, |sample| has(sample, "source_workload", UNKNOWN)), 10);
    }

    #[test]
    fn a_series_is_found_again() {
        let stats = stats();
        for _ in 0..3 {
            stats.series(labels("cart.shop.svc", &NOBODY), Claims::default()).unwrap().1.requests.inc();
        }
        assert_eq!(stats.known.borrow().len(), 1);
        assert_eq!(total(&stats, |_| true), 3);
    }

    #[test]
    fn workers_are_summed() {
        let registry = Arc::new(IstioRegistry::new(2));
        let workers = [0, 1].map(|worker| IstioStats::new(worker, registry.clone()));
        for stats in &workers {
            stats.series(labels("cart.shop.svc", &NOBODY), Claims::default()).unwrap().1.requests.inc();
        }
        assert_eq!(total(&workers[0], |_| true), 2);
    }
}
