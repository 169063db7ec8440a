//! What forwarding counts: responses by class, active requests, and what outlier detection hears.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::{HeaderName, HeaderValue, StatusCode};

use crate::message::LocalReply;
use crate::message::ResponseHead;
use crate::stats::metrics::ClusterStats;
use crate::upstream::Host;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Status of a response as outlier detection takes it: a gRPC failure of the server's kind counts like its HTTP
/// brother.
pub(super) fn outlier_status(head: &ResponseHead) -> u16 {
    match head.headers.get(&GRPC_STATUS).map(HeaderValue::as_bytes) {
        Some(b"14") => 503,
        Some(b"13" | b"2") => 500,
        _ => head.status.as_u16(),
    }
}

/// A failure of the upstream that we had to answer for is a response of its cluster, as in Envoy.
pub(super) fn charge(stats: &ClusterStats, reply: &LocalReply) {
    if reply.status.is_server_error() {
        count_status(stats, reply.status);
    }
}

pub(super) fn count_status(stats: &ClusterStats, status: StatusCode) {
    stats.upstream_rq_completed.inc();
    match status.as_u16() / 100 {
        1 => stats.upstream_rq_1xx.inc(),
        2 => stats.upstream_rq_2xx.inc(),
        3 => stats.upstream_rq_3xx.inc(),
        4 => stats.upstream_rq_4xx.inc(),
        _ => stats.upstream_rq_5xx.inc(),
    }
}

/// Counts a request as active while it lives.
pub(super) struct ActiveRequest<'a> {
    stats: &'a ClusterStats,
    host: Arc<Host>,
}

impl<'a> ActiveRequest<'a> {
    pub(super) fn new(stats: &'a ClusterStats, host: &Arc<Host>) -> Self {
        stats.upstream_rq_active.inc();
        host.state.rq_active.fetch_add(1, Relaxed);
        ActiveRequest { stats, host: host.clone() }
    }
}

impl Drop for ActiveRequest<'_> {
    fn drop(&mut self) {
        self.stats.upstream_rq_active.dec();
        self.host.state.rq_active.fetch_sub(1, Relaxed);
    }
}
