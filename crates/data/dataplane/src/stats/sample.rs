//! Time series as the statistics are shown.

use std::fmt::Write as _;

/// Type of a metric, as Prometheus names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution.
    Histogram,
}

/// The value of a [`Sample`].
#[derive(Debug, Clone, PartialEq)]
pub enum SampleValue {
    /// Of a counter or gauge.
    Number(u64),
    /// Of a histogram: cumulative counts per upper bound (in the metric's unit), sum and count.
    Histogram {
        /// `(upper bound, observations less or equal)`, ascending, without the `+Inf` bucket.
        buckets: Vec<(f64, u64)>,
        /// Sum of the observed values.
        sum: f64,
        /// Number of observations.
        count: u64,
    },
}

/// One time series.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Envoy's dotted name as `/stats` shows it, for example `cluster.backend.upstream_rq_total`.
    pub stat_name: String,
    /// Prometheus family, for example `envoy_cluster_upstream_rq_total` or `istio_requests_total`.
    pub family: String,
    /// Prometheus labels in output order.
    pub labels: Vec<(String, String)>,
    /// Type.
    pub kind: MetricKind,
    /// Value.
    pub value: SampleValue,
}

impl Sample {
    /// Appends the series in the Prometheus text format.
    pub(crate) fn write_prometheus(&self, out: &mut String) {
        match &self.value {
            SampleValue::Number(number) => {
                self.write_name(out, "", None);
                let _ = writeln!(out, " {number}");
            }
            SampleValue::Histogram { buckets, sum, count } => {
                for (bound, seen) in buckets {
                    self.write_name(out, "_bucket", Some(&bound.to_string()));
                    let _ = writeln!(out, " {seen}");
                }
                self.write_name(out, "_bucket", Some("+Inf"));
                let _ = writeln!(out, " {count}");
                self.write_name(out, "_sum", None);
                let _ = writeln!(out, " {sum}");
                self.write_name(out, "_count", None);
                let _ = writeln!(out, " {count}");
            }
        }
    }

    fn write_name(&self, out: &mut String, suffix: &str, le: Option<&str>) {
        out.push_str(&self.family);
        out.push_str(suffix);
        out.push('{');
        let mut separator = "";
        let bound = le.map(|bound| ("le", bound));
        let labels = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in labels.chain(bound) {
            let _ = write!(out, "{separator}{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => out.push_str("\\\\"),
                    '"' => out.push_str("\\\""),
                    '\n' => out.push_str("\\n"),
                    c => out.push(c),
                }
            }
            out.push('"');
            separator = ",";
        }
        out.push('}');
    }
}
