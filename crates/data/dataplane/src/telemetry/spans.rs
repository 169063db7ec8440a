//! Spans: what they say of this node, the tags of a request, and those that wait for their report.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderName, header};

use super::format::Context;
use crate::message::Flags;
use crate::stats::MetricKind;
use crate::stats::metrics::{PerWorker, TracerStats};
use crate::tracers::settings::{RouteTracing, Tracing};
use crate::tracers::span::{Endpoint, Span, Tags};
use crate::tracers::{Tracer, names};
use crate::value::NetAddress;

/// Spans that make a report (Envoy's `tracing.zipkin.min_flush_spans`).
const ENOUGH: usize = 5;
/// Spans of one worker that wait for one collector. They pile up only while [`MAX_REPORTS`] answers of it are due.
const MAX_WAITING: usize = 256;
/// Reports of one worker to one collector that are under way.
const MAX_REPORTS: usize = 4;
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// gRPC statuses that are an error of the server's: the others are the caller's fault or wish.
const GRPC_ERRORS: [u32; 7] = [2, 4, 8, 12, 13, 14, 15];

/// Name, kind and value of statistics.
type Rows = Vec<(&'static str, MetricKind, u64)>;

/// What spans say of this node, and the tracers' statistics.
#[derive(Debug)]
pub(crate) struct TracingNode {
    pub(crate) id: String,
    pub(crate) zone: String,
    pub(crate) endpoint: Endpoint,
    /// For connection managers without one of their own.
    pub(crate) default: Option<Arc<dyn Tracer>>,
    stats: Vec<(&'static str, PerWorker<TracerStats>)>,
}

impl Default for TracingNode {
    fn default() -> Self {
        let endpoint = Endpoint { service: String::new(), address: IpAddr::V4(Ipv4Addr::LOCALHOST) };
        TracingNode::new(String::new(), String::new(), endpoint, None, 1)
    }
}

impl TracingNode {
    pub(crate) fn new(
        id: String,
        zone: String,
        endpoint: Endpoint,
        default: Option<Arc<dyn Tracer>>,
        workers: usize,
    ) -> Self {
        let stats = names().map(|name| (name, PerWorker::new(workers))).collect();
        TracingNode { id, zone, endpoint, default, stats }
    }

    /// The statistics of a kind of tracer and a worker.
    pub(crate) fn stats(&self, tracer: &str, worker: usize) -> Option<&TracerStats> {
        let (_, stats) = self.stats.iter().find(|(name, _)| *name == tracer)?;
        Some(stats.of(worker))
    }

    /// Those of all tracers that were used, summed over the workers.
    pub(crate) fn totals(&self) -> Vec<(&'static str, Rows)> {
        let totals = self.stats.iter().map(|(name, stats)| (*name, TracerStats::totals(stats.iter())));
        totals.filter(|(_, rows)| rows.iter().any(|(_, _, value)| *value > 0)).collect()
    }
}

/// The spans of one worker that wait for their report, by collector.
#[derive(Debug, Default)]
pub(crate) struct Spans(RefCell<Vec<Waiting>>);

#[derive(Debug)]
struct Waiting {
    tracer: Arc<dyn Tracer>,
    spans: Vec<Span>,
    /// Reports that are under way.
    reports: usize,
}

/// What became of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits.
    Waits,
    /// There are enough for a report.
    Enough,
    /// There was no room.
    Dropped,
}

impl Spans {
    /// Adds a span.
    pub(crate) fn push(&self, tracer: &Arc<dyn Tracer>, span: Span) -> Pushed {
        let mut all = self.0.borrow_mut();
        let at = all.iter().position(|waiting| waiting.tracer.collector() == tracer.collector());
        let at = at.unwrap_or_else(|| {
            all.push(Waiting { tracer: tracer.clone(), spans: Vec::new(), reports: 0 });
            all.len() - 1
        });
        let Some(waiting) = all.get_mut(at).filter(|waiting| waiting.spans.len() < MAX_WAITING) else {
            return Pushed::Dropped;
        };
        waiting.spans.push(span);
        let enough = waiting.spans.len() >= ENOUGH && waiting.reports < MAX_REPORTS;
        if enough { Pushed::Enough } else { Pushed::Waits }
    }

    /// Takes what waits for a collector, for a report that begins now. `None` when there is nothing, or enough is under way.
    pub(crate) fn take(&self, tracer: &Arc<dyn Tracer>) -> Option<Vec<Span>> {
        let mut all = self.0.borrow_mut();
        let waiting = all.iter_mut().find(|waiting| waiting.tracer.collector() == tracer.collector())?;
        if waiting.spans.is_empty() || waiting.reports >= MAX_REPORTS {
            return None;
        }
        waiting.reports += 1;
        Some(std::mem::take(&mut waiting.spans))
    }

    /// A report is over. True when there are enough spans for the next.
    pub(crate) fn reported(&self, tracer: &Arc<dyn Tracer>) -> bool {
        let mut all = self.0.borrow_mut();
        let waiting = all.iter_mut().find(|waiting| waiting.tracer.collector() == tracer.collector());
        waiting.is_some_and(|waiting| {
            waiting.reports = waiting.reports.saturating_sub(1);
            waiting.spans.len() >= ENOUGH
        })
    }

    /// The tracers that are in use. Forgets collectors that nothing waits for any more.
    pub(crate) fn tracers(&self) -> Vec<Arc<dyn Tracer>> {
        let mut all = self.0.borrow_mut();
        let tracers = all.iter().map(|waiting| waiting.tracer.clone()).collect();
        all.retain(|waiting| !waiting.spans.is_empty() || waiting.reports > 0);
        tracers
    }
}

/// Microseconds since the epoch.
pub(crate) fn micros(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The tags of a request's span, under the names that Envoy gives them.
pub(crate) fn request_tags(
    node: &TracingNode,
    tracing: &Tracing,
    route: Option<&RouteTracing>,
    context: &Context<'_>,
) -> Tags {
    let mut tags = Tags::default();
    tags.set("node_id", node.id.as_str());
    tags.set("zone", node.zone.as_str());
    let info = context.info;
    if let Some(request) = context.request {
        let field = |name: HeaderName| request.get(name.as_str()).filter(|text| !text.is_empty());
        let path = request.get("x-envoy-original-path").unwrap_or(&request.path);
        let path = &path[..path.floor_char_boundary(tracing.max_path)];
        tags.set("http.url", format!("{}://{}{path}", request.scheme, request.authority));
        tags.set("http.method", request.method.as_str());
        tags.set("user_agent", field(header::USER_AGENT).unwrap_or("-"));
        tags.set("downstream_cluster", request.get("x-envoy-downstream-service-cluster").unwrap_or("-"));
        tags.set("guid:x-request-id", request.get("x-request-id").unwrap_or_default());
        tags.set("guid:x-client-trace-id", request.get("x-client-trace-id").unwrap_or_default());
        if request.is_grpc {
            tags.set("grpc.path", request.path.as_str());
            tags.set("grpc.authority", request.authority.as_str());
            tags.set("grpc.content_type", field(header::CONTENT_TYPE).unwrap_or_default());
            tags.set("grpc.timeout", request.get("grpc-timeout").unwrap_or_default());
        }
    }
    tags.set("http.protocol", info.protocol.map_or("-", |protocol| protocol.as_str()));
    tags.set("peer.address", info.connection.remote.ip().to_string());
    tags.set("request_size", info.bytes_received.to_string());
    tags.set("response_size", info.bytes_sent.to_string());
    common_tags(tracing, route, context, (info.response_code, info.flags), &mut tags);
    grpc_tags(context, &mut tags);
    tags
}

/// The tags of an attempt at a host. `context` has its response, if there was one, `retries` counts the attempts before it.
pub(crate) fn attempt_tags(
    tracing: &Tracing,
    route: Option<&RouteTracing>,
    context: &Context<'_>,
    retries: u32,
) -> Tags {
    let mut tags = Tags::default();
    let info = context.info;
    tags.set("http.protocol", info.upstream_protocol.map_or("-", |protocol| protocol.as_str()));
    if let Some(host) = &info.host {
        let address = match &host.address {
            NetAddress::Socket(address) => address.to_string(),
            other => other.to_string(),
        };
        tags.set("upstream_address", address.as_str());
        tags.set("peer.address", address);
    }
    if retries > 0 {
        tags.set("retry.count", retries.to_string());
    }
    // Flags of a request say what became of it, not what its last host did.
    let outcome = match context.response {
        Some(head) => (head.status.as_u16(), Flags::default()),
        None => (0, info.flags.without(Flags::UPSTREAM_RETRY_LIMIT)),
    };
    common_tags(tracing, route, context, outcome, &mut tags);
    grpc_tags(context, &mut tags);
    tags
}

fn common_tags(
    tracing: &Tracing,
    route: Option<&RouteTracing>,
    context: &Context<'_>,
    (status, flags): (u16, Flags),
    tags: &mut Tags,
) {
    let info = context.info;
    tags.set("component", "proxy");
    if let (Some(_), Some(name)) = (&info.cluster, &info.cluster_name) {
        tags.set("upstream_cluster", &**name);
        tags.set("upstream_cluster.name", &**name);
    }
    tags.set("http.status_code", status.to_string());
    tags.set("response_flags", flags.text());
    if status == 0 || status / 100 == 5 {
        tags.set("error", "true");
    }
    let Some(request) = context.request else { return };
    let of_route = route.into_iter().flat_map(|route| &route.tags);
    for tag in tracing.tags.iter().chain(of_route) {
        tag.apply(request, context, tags);
    }
}

/// What gRPC says in the head or behind the body.
fn grpc_tags(context: &Context<'_>, tags: &mut Tags) {
    for headers in [context.response.map(|head| &head.headers), context.trailers].into_iter().flatten() {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        tags.set("grpc.message", text(GRPC_MESSAGE).unwrap_or_default());
        let Some(status) = text(GRPC_STATUS) else { continue };
        tags.set("grpc.status_code", status);
        if status.parse().is_ok_and(|status| GRPC_ERRORS.contains(&status)) {
            tags.set("error", "true");
        }
    }
}

#[cfg(test)]
mod tests;
