//! The control plane's own metrics, by the names that dashboards know (spec/istio.md 2.8).

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use parking_lot::Mutex;

/// Label sets of one metric; further ones are not counted, so that a hostile node name can't fill the memory.
const MAX_SERIES: usize = 1000;

/// Upper bounds of the time histograms, in seconds.
const BUCKETS: [f64; 11] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];

macro_rules! metrics {
    ($($variant:ident = $name:literal, $kind:ident, $help:literal;)*) => {
        /// All metrics.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// In the order of the page.
            pub const ALL: &'static [Metric] = &[$(Metric::$variant,)*];

            /// Name on the page.
            pub fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name,)* }
            }

            fn kind(self) -> Kind {
                match self { $(Metric::$variant => Kind::$kind,)* }
            }

            fn help(self) -> &'static str {
                match self { $(Metric::$variant => $help,)* }
            }
        }
    };
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

metrics! {
    Info = "pilot_info", Gauge, "Pilot version and build information.";
    Xds = "pilot_xds", Gauge, "Number of endpoints connected to this pilot using XDS.";
    Pushes = "pilot_xds_pushes", Counter, "Pilot build and send errors for lds, rds, cds and eds.";
    PushTime = "pilot_xds_push_time", Histogram, "Total time in seconds Pilot takes to push lds, rds, cds and eds.";
    SendTime = "pilot_xds_send_time", Histogram, "Total time in seconds Pilot takes to send generated configuration.";
    Convergence = "pilot_proxy_convergence_time", Histogram,
        "Delay in seconds between config change and a proxy receiving all required configuration.";
    QueueTime = "pilot_proxy_queue_time", Histogram, "Time in seconds, a proxy is in the push queue before being dequeued.";
    PushTriggers = "pilot_push_triggers", Counter, "Total number of times a push was triggered, labeled by reason for the push.";
    InboundUpdates = "pilot_inbound_updates", Counter, "Total number of updates received by pilot.";
    Services = "pilot_services", Gauge, "Total services known to pilot.";
    VirtualServices = "pilot_virt_services", Gauge, "Total virtual services known to pilot.";
    Rejects = "pilot_total_xds_rejects", Counter, "Total number of XDS responses from pilot rejected by proxy.";
    CdsReject = "pilot_xds_cds_reject", Gauge, "Pilot rejected CDS configs.";
    EdsReject = "pilot_xds_eds_reject", Gauge, "Pilot rejected EDS.";
    LdsReject = "pilot_xds_lds_reject", Gauge, "Pilot rejected LDS.";
    RdsReject = "pilot_xds_rds_reject", Gauge, "Pilot rejected RDS.";
    ExpiredNonce = "pilot_xds_expired_nonce", Counter, "Total number of XDS requests with an expired nonce.";
    WriteTimeout = "pilot_xds_write_timeout", Counter, "Pilot XDS response write timeouts.";
    DelayedPushes = "pilot_xds_delayed_pushes_total", Counter, "Total number of XDS pushes that are delayed.";
    DelayedTimeouts = "pilot_xds_delayed_push_timeouts_total", Counter,
        "Total number of XDS pushes that are delayed and timed out.";
    InternalErrors = "pilot_total_xds_internal_errors", Counter, "Total number of internal XDS errors in pilot.";
    ConfigEvents = "pilot_k8s_cfg_events", Counter, "Events from k8s config.";
    RegistryEvents = "pilot_k8s_reg_events", Counter, "Events from k8s registry.";
    ObjectErrors = "pilot_k8s_object_errors", Counter, "Errors converting k8s CRDs.";
    CsrCount = "citadel_server_csr_count", Counter, "The number of CSRs received by Citadel server.";
    CertIssued = "citadel_server_success_cert_issuance_count", Counter,
        "The number of certificates issuances that have succeeded.";
    AuthFailures = "citadel_server_authentication_failure_count", Counter, "The number of authentication failures.";
    CsrParseErrors = "citadel_server_csr_parsing_err_count", Counter,
        "The number of errors occurred when parsing the CSR.";
    CsrSignErrors = "citadel_server_csr_sign_err_count", Counter, "The number of errors occurred when signing the CSR.";
    IdExtractionErrors = "citadel_server_id_extraction_err_count", Counter,
        "The number of errors occurred when extracting the ID from CSR.";
    RootExpiry = "citadel_server_root_cert_expiry_timestamp", Gauge, "The unix timestamp, in seconds, when the root cert will expire.";
    ValidationPassed = "galley_validation_passed", Counter, "Resource is valid.";
    ValidationFailed = "galley_validation_failed", Counter, "Resource validation failed.";
    ValidationHttpError = "galley_validation_http_error", Counter, "Resource validation http serve errors.";
    InjectionRequests = "sidecar_injection_requests_total", Counter, "Total number of sidecar injection requests.";
    InjectionSuccess = "sidecar_injection_success_total", Counter, "Total number of successful sidecar injection requests.";
    InjectionFailure = "sidecar_injection_failure_total", Counter, "Total number of failed sidecar injection requests.";
    InjectionSkip = "sidecar_injection_skip_total", Counter, "Total number of skipped sidecar injection requests.";
}

#[derive(Default)]
struct Series {
    value: f64,
    count: u64,
    buckets: [u64; BUCKETS.len()],
}

type Labels = Vec<(&'static str, String)>;

/// All metrics of one control plane.
#[derive(Default)]
pub struct Metrics {
    series: Mutex<BTreeMap<(Metric, Labels), Series>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Counts one event.
    pub fn count(&self, metric: Metric, labels: &[(&'static str, &str)]) {
        self.edit(metric, labels, |series| series.value += 1.0);
    }

    /// Sets a gauge.
    pub fn set(&self, metric: Metric, labels: &[(&'static str, &str)], value: f64) {
        self.edit(metric, labels, |series| series.value = value);
    }

    /// Records how long something took.
    pub fn observe(&self, metric: Metric, labels: &[(&'static str, &str)], time: Duration) {
        let seconds = time.as_secs_f64();
        self.edit(metric, labels, |series| {
            series.count += 1;
            series.value += seconds;
            for (bucket, bound) in series.buckets.iter_mut().zip(BUCKETS) {
                *bucket += u64::from(seconds <= bound);
            }
        });
    }

    /// The value of a counter or gauge.
    pub fn get(&self, metric: Metric, labels: &[(&'static str, &str)]) -> f64 {
        self.series.lock().get(&(metric, owned(labels))).map_or(0.0, |series| series.value)
    }

    fn edit(&self, metric: Metric, labels: &[(&'static str, &str)], edit: impl FnOnce(&mut Series)) {
        let mut all = self.series.lock();
        let key = (metric, owned(labels));
        if !all.contains_key(&key) && all.keys().filter(|(m, _)| *m == metric).count() >= MAX_SERIES {
            return;
        }
        edit(all.entry(key).or_default());
    }

    /// The page in Prometheus' text format.
    pub fn page(&self) -> String {
        let all = self.series.lock();
        let mut page = String::new();
        for metric in Metric::ALL {
            let mut lines = String::new();
            for ((_, labels), series) in
                all.range((*metric, Vec::new())..).take_while(|((m, _), _)| m == metric)
            {
                write_series(&mut lines, *metric, labels, series);
            }
            if lines.is_empty() {
                continue;
            }
            let kind = match metric.kind() {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let name = metric.name();
            let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help());
            page.push_str(&lines);
        }
        page
    }
}

fn write_series(page: &mut String, metric: Metric, labels: &Labels, series: &Series) {
    let name = metric.name();
    if metric.kind() != Kind::Histogram {
        let _ = writeln!(page, "{name}{} {}", braces(labels, None), series.value);
        return;
    }
    for (count, bound) in series.buckets.iter().zip(BUCKETS) {
        let _ = writeln!(page, "{name}_bucket{} {count}", braces(labels, Some(bound.to_string())));
    }
    let _ = writeln!(page, "{name}_bucket{} {}", braces(labels, Some("+Inf".to_owned())), series.count);
    let _ = writeln!(page, "{name}_sum{} {}", braces(labels, None), series.value);
    let _ = writeln!(page, "{name}_count{} {}", braces(labels, None), series.count);
}

fn braces(labels: &Labels, bound: Option<String>) -> String {
    let bound = bound.map(|bound| ("le", bound));
    let all: Vec<String> = labels
        .iter()
        .map(|(key, value)| (*key, value.clone()))
        .chain(bound)
        .map(|(key, value)| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{key}=\"{value}\"")
        })
        .collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_prometheus_text() {
        let metrics = Metrics::default();
        metrics.count(Metric::Pushes, &[("type", "cds")]);
        metrics.count(Metric::Pushes, &[("type", "cds")]);
        metrics.set(Metric::CdsReject, &[("node", "a\"b"), ("err", "x\ny")], 1.0);
        metrics.observe(Metric::SendTime, &[], Duration::from_millis(70));
        let page = metrics.page();
        assert!(
            page.contains("# TYPE pilot_xds_pushes counter\npilot_xds_pushes{type=\"cds\"} 2\n"),
            "{page}"
        );
        assert!(page.contains(r#"pilot_xds_cds_reject{node="a\"b",err="x\ny"} 1"#), "{page}");
        assert!(page.contains("pilot_xds_send_time_bucket{le=\"0.05\"} 0\n"), "{page}");
        assert!(page.contains("pilot_xds_send_time_bucket{le=\"0.1\"} 1\n"), "{page}");
        assert!(page.contains("pilot_xds_send_time_count 1\n"), "{page}");
    }

    #[test]
    fn series_are_bounded() {
        let metrics = Metrics::default();
        for n in 0..MAX_SERIES + 10 {
            metrics.count(Metric::Rejects, &[("type", &n.to_string())]);
        }
        assert_eq!(metrics.page().matches("pilot_total_xds_rejects{").count(), MAX_SERIES);
    }
}
