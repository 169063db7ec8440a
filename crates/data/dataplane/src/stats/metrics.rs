//! Counters, gauges and histograms that one worker writes and anybody may read.

pub(crate) use portolan_dataplane_config::stats::Stat;
use portolan_dataplane_config::stats_block;

/// Upper bounds of Envoy's and Istio's histograms, in milliseconds or bytes.
pub(crate) const BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// A histogram with one writer. The sum is kept in thousandths.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [Stat; BUCKETS.len()],
    count: Stat,
    sum_milli: Stat,
}

impl Histogram {
    pub(crate) fn record(&self, value: f64) {
        let at = BUCKETS.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.inc();
        }
        self.count.inc();
        self.sum_milli.add((value * 1000.0) as u64);
    }

    /// Adds this histogram to a total.
    pub(crate) fn collect(&self, into: &mut Distribution) {
        for (total, bucket) in into.buckets.iter_mut().zip(&self.buckets) {
            *total = total.wrapping_add(bucket.get());
        }
        into.count = into.count.wrapping_add(self.count.get());
        into.sum_milli = into.sum_milli.wrapping_add(self.sum_milli.get());
    }
}

/// The sum of histograms.
#[derive(Debug, Default, Clone)]
pub(crate) struct Distribution {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum_milli: u64,
}

impl Distribution {
    pub(crate) fn value(&self) -> crate::stats::SampleValue {
        let mut seen = 0u64;
        let buckets = BUCKETS.iter().zip(&self.buckets).map(|(bound, count)| {
            seen += count;
            (*bound, seen)
        });
        crate::stats::SampleValue::Histogram {
            buckets: buckets.collect(),
            sum: self.sum_milli as f64 / 1000.0,
            count: self.count,
        }
    }
}

/// One block of statistics per worker, each on cache lines of its own.
#[derive(Debug)]
pub(crate) struct PerWorker<T>(Box<[Padded<T>]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> PerWorker<T> {
    /// `workers` must not be 0.
    pub(crate) fn new(workers: usize) -> Self {
        PerWorker((0..workers.max(1)).map(|_| Padded::default()).collect())
    }

    /// The block of a worker.
    pub(crate) fn of(&self, worker: usize) -> &T {
        &self.0[worker % self.0.len()].0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.0.iter().map(|padded| &padded.0)
    }
}

stats_block! {
    /// Statistics of one listener (`listener.<address>.`).
    pub(crate) ListenerStats {
        Counter downstream_cx_total,
        Counter downstream_cx_destroy,
        Gauge downstream_cx_active,
        Gauge downstream_pre_cx_active,
        Counter downstream_pre_cx_timeout,
        Counter downstream_cx_transport_socket_connect_timeout,
        Counter downstream_cx_overflow,
        Counter no_filter_chain_match,
        Counter ssl_handshake,
        Counter ssl_connection_error,
        Counter ssl_no_certificate,
        Counter ssl_fail_verify_error,
        Counter ssl_fail_verify_no_cert,
        Counter ssl_fail_verify_san,
        Counter ssl_session_reused,
    }
}

stats_block! {
    /// Statistics of one HTTP connection manager (`http.<stat_prefix>.`).
    pub(crate) HttpStats {
        Counter downstream_cx_total,
        Counter downstream_cx_destroy,
        Gauge downstream_cx_active,
        Counter downstream_cx_http1_total,
        Counter downstream_cx_http2_total,
        Counter downstream_cx_ssl_total,
        Counter downstream_cx_protocol_error,
        Counter downstream_cx_idle_timeout,
        Counter downstream_cx_drain_close,
        Counter downstream_cx_rx_bytes_total,
        Counter downstream_cx_tx_bytes_total,
        Counter downstream_cx_upgrades_total,
        Counter downstream_rq_total,
        Gauge downstream_rq_active,
        Counter downstream_rq_http1_total,
        Counter downstream_rq_http2_total,
        Counter downstream_rq_rx_reset,
        Counter downstream_rq_tx_reset,
        Counter downstream_rq_too_large,
        Counter downstream_rq_timeout,
        Counter downstream_rq_idle_timeout,
        Counter downstream_rq_1xx,
        Counter downstream_rq_2xx,
        Counter downstream_rq_3xx,
        Counter downstream_rq_4xx,
        Counter downstream_rq_5xx,
        Counter downstream_rq_completed,
        Counter no_route,
        Counter no_cluster,
        Counter tracing_random_sampling,
        Counter tracing_service_forced,
        Counter tracing_client_enabled,
        Counter tracing_not_traceable,
    }
}

stats_block! {
    /// Statistics of one kind of tracer (`tracing.<name>.`).
    pub(crate) TracerStats {
        Counter spans_sent,
        /// Ours: spans that found no room, because the collector is slow.
        Counter spans_dropped,
        Counter timer_flushed,
        Counter reports_skipped_no_cluster,
        Counter reports_sent,
        Counter reports_dropped,
        Counter reports_failed,
    }
}

stats_block! {
    /// Statistics of one TCP proxy (`tcp.<stat_prefix>.`).
    pub(crate) TcpStats {
        Counter downstream_cx_total,
        Gauge downstream_cx_active,
        Counter downstream_cx_no_route,
        Counter downstream_cx_tx_bytes_total,
        Counter downstream_cx_rx_bytes_total,
        Counter idle_timeout,
        Counter rbac_allowed,
        Counter rbac_denied,
    }
}

stats_block! {
    /// Statistics of one cluster (`cluster.<name>.`).
    pub(crate) ClusterStats {
        Counter upstream_cx_total,
        Gauge upstream_cx_active,
        Counter upstream_cx_http1_total,
        Counter upstream_cx_http2_total,
        Counter upstream_cx_connect_fail,
        Counter upstream_cx_connect_timeout,
        Counter upstream_cx_connect_attempts_exceeded,
        Counter upstream_cx_overflow,
        Counter upstream_cx_destroy,
        Counter upstream_cx_destroy_remote_with_active_rq,
        Counter upstream_cx_idle_timeout,
        Counter upstream_cx_max_requests,
        Counter upstream_cx_none_healthy,
        Counter upstream_cx_protocol_error,
        Counter upstream_cx_rx_bytes_total,
        Counter upstream_cx_tx_bytes_total,
        Counter upstream_rq_total,
        Gauge upstream_rq_active,
        Gauge upstream_rq_pending_active,
        Counter upstream_rq_pending_total,
        Counter upstream_rq_pending_overflow,
        Counter upstream_rq_pending_failure_eject,
        Counter upstream_rq_cancelled,
        Counter upstream_rq_drop_overload,
        Counter upstream_rq_timeout,
        Counter upstream_rq_per_try_timeout,
        Counter upstream_rq_rx_reset,
        Counter upstream_rq_tx_reset,
        Counter upstream_rq_retry,
        Counter upstream_rq_retry_limit_exceeded,
        Counter upstream_rq_retry_success,
        Counter upstream_rq_retry_overflow,
        Counter upstream_rq_completed,
        Counter upstream_rq_1xx,
        Counter upstream_rq_2xx,
        Counter upstream_rq_3xx,
        Counter upstream_rq_4xx,
        Counter upstream_rq_5xx,
        Counter lb_healthy_panic,
        Counter ssl_handshake,
        Counter ssl_connection_error,
        Counter ssl_fail_verify_san,
        Counter ssl_fail_verify_error,
        Counter ssl_session_reused,
        Counter bind_errors,
    }
}
