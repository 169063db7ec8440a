//! What the admin endpoints read of the statistics: samples summed over all workers.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{ConfigStore, Shared};
use crate::stats::{MetricKind, Sample};

/// Reads the statistics of a running data plane. Cheap to clone; never disturbs the workers.
#[derive(Debug, Clone, Default)]
pub struct StatsHandle {
    source: Option<(ConfigStore, Arc<Shared>)>,
}

impl StatsHandle {
    pub(crate) fn new(store: ConfigStore, shared: Arc<Shared>) -> Self {
        StatsHandle { source: Some((store, shared)) }
    }

    /// All series, grouped by family.
    pub fn samples(&self) -> Vec<Sample> {
        let Some((store, shared)) = &self.source else { return Vec::new() };
        let mut out = Vec::new();
        store.collect_stats(&mut out);
        shared.istio.collect(&mut out);
        // Families must be contiguous in the text format; the sort keeps the order within one.
        out.sort_by(|a, b| a.family.cmp(&b.family));
        out
    }

    /// All series in the Prometheus text format 0.0.4 (`/stats/prometheus`).
    pub fn prometheus(&self) -> String {
        let mut out = String::new();
        let samples = self.samples();
        let mut family = "";
        for sample in &samples {
            if sample.family != family {
                family = &sample.family;
                let kind = match sample.kind {
                    MetricKind::Counter => "counter",
                    MetricKind::Gauge => "gauge",
                    MetricKind::Histogram => "histogram",
                };
                let _ = writeln!(out, "# TYPE {family} {kind}");
            }
            sample.write_prometheus(&mut out);
        }
        out
    }
}
