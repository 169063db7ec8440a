//! The control plane's own metrics, by the names that Istio's dashboards know (istiod's exported metrics).

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, prometheus_text},
    metrics::{
        MetricType, TypedMetric, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
    },
    registry::Registry,
};

/// Label sets of one metric; further ones are not counted, so that a hostile node name can't fill the memory.
const MAX_SERIES: usize = 1000;

/// Upper bounds of the time histograms, in seconds.
const BUCKETS: [f64; 11] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0];

/// Type and encoding of the page.
pub const CONTENT_TYPE: &str = prometheus_text::CONTENT_TYPE;

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
    Build = "istio_build", Gauge, "Istio component build info.";
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
    Unsendable = "portolan_unsendable_resources_total", Counter,
        "Resources that were not sent because the proxies would refuse them.";
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
    SettingsWithoutEffect = "portolan_settings_without_effect", Gauge,
        "Settings of the mesh that are not supported or have no effect, by state.";
    InjectionRequests = "sidecar_injection_requests_total", Counter, "Total number of sidecar injection requests.";
    InjectionSuccess = "sidecar_injection_success_total", Counter, "Total number of successful sidecar injection requests.";
    InjectionFailure = "sidecar_injection_failure_total", Counter, "Total number of failed sidecar injection requests.";
    InjectionSkip = "sidecar_injection_skip_total", Counter, "Total number of skipped sidecar injection requests.";
    DerivedMade = "portolan_derived_made_total", Counter, "How often values of the model were made, by kind.";
    DerivedUnchanged = "portolan_derived_unchanged_total", Counter,
        "How often values of the model came out as they were before, by kind.";
    DerivedFailed = "portolan_derived_failed_total", Counter,
        "How often a value of the model could not be made for a defect, by kind.";
    ResourcesSent = "portolan_resources_sent_total", Counter, "Resources sent to proxies, by type.";
    DerivedLive = "portolan_derived_live", Gauge, "Values of the model that are held in memory, by kind.";
}

type Labels = Vec<(&'static str, String)>;

/// A counter whose name does not end in `_total`. The library ends every counter's name so, and istiod's are older than
/// that rule.
#[derive(Clone, Debug, Default)]
struct PlainCounter(Counter);

impl EncodeMetric for PlainCounter {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

impl TypedMetric for PlainCounter {
    const TYPE: MetricType = MetricType::Unknown;
}

/// The series of one metric, at most [`MAX_SERIES`].
#[derive(Debug)]
struct Bounded<M> {
    family: Family<Labels, M, fn() -> M>,
    /// How many there are.
    len: Mutex<usize>,
}

impl<M> Bounded<M>
where
    M: Clone + EncodeMetric + TypedMetric + std::fmt::Debug + Send + Sync + 'static,
{
    fn register(page: &mut Registry, name: &str, help: &str, new: fn() -> M) -> Self {
        let family = Family::new_with_constructor(new);
        page.register(name, help, family.clone());
        Self { family, len: Mutex::new(0) }
    }

    /// Changes the series with these labels, unless it would be one too many.
    fn edit(&self, labels: &Labels, edit: impl FnOnce(&M)) {
        if let Some(series) = self.family.get(labels) {
            return edit(&series);
        }
        let mut len = self.len.lock();
        if self.family.get(labels).is_none() {
            if *len >= MAX_SERIES {
                return;
            }
            *len += 1;
        }
        edit(&self.family.get_or_create(labels));
    }
}

/// All series of one metric.
#[derive(Debug)]
enum Series {
    Counter(Bounded<Counter>),
    PlainCounter(Bounded<PlainCounter>),
    Gauge(Bounded<Gauge<u64, AtomicU64>>),
    Histogram(Bounded<Histogram>),
}

/// Suffix of counters' names that the library writes by itself.
const TOTAL: &str = "_total";

impl Series {
    /// The series of a metric, on the page.
    fn register(metric: Metric, page: &mut Registry) -> Self {
        let name = metric.name();
        // The library ends the text with a full stop.
        let help = metric.help().trim_end_matches('.');
        match (metric.kind(), name.strip_suffix(TOTAL)) {
            (Kind::Counter, Some(name)) => {
                Self::Counter(Bounded::register(page, name, help, Counter::default))
            }
            (Kind::Counter, None) => {
                Self::PlainCounter(Bounded::register(page, name, help, PlainCounter::default))
            }
            (Kind::Gauge, _) => Self::Gauge(Bounded::register(page, name, help, Gauge::default)),
            (Kind::Histogram, _) => {
                Self::Histogram(Bounded::register(page, name, help, || Histogram::new(BUCKETS)))
            }
        }
    }
}

/// All metrics of one control plane.
#[derive(Debug)]
pub struct Metrics {
    page: Registry,
    series: BTreeMap<Metric, Series>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut page = Registry::default();
        let series =
            Metric::ALL.iter().map(|metric| (*metric, Series::register(*metric, &mut page))).collect();
        Self { page, series }
    }
}

impl Metrics {
    /// Counts one event. Only for counters.
    pub fn count(&self, metric: Metric, labels: &[(&'static str, &str)]) {
        self.add(metric, labels, 1);
    }

    /// Adds several at once.
    pub fn add(&self, metric: Metric, labels: &[(&'static str, &str)], number: u64) {
        match self.series.get(&metric) {
            Some(Series::Counter(series)) => series.edit(&owned(labels), |counter| {
                counter.inc_by(number);
            }),
            Some(Series::PlainCounter(series)) => series.edit(&owned(labels), |counter| {
                counter.0.inc_by(number);
            }),
            _ => {}
        }
    }

    /// Sets a counter of what is counted elsewhere.
    pub fn total(&self, metric: Metric, labels: &[(&'static str, &str)], total: u64) {
        let set = |counter: &Counter| counter.inner().store(total, Ordering::Relaxed);
        match self.series.get(&metric) {
            Some(Series::Counter(series)) => series.edit(&owned(labels), set),
            Some(Series::PlainCounter(series)) => series.edit(&owned(labels), |counter| set(&counter.0)),
            _ => {}
        }
    }

    /// Sets a gauge.
    pub fn set(&self, metric: Metric, labels: &[(&'static str, &str)], value: u64) {
        if let Some(Series::Gauge(series)) = self.series.get(&metric) {
            series.edit(&owned(labels), |gauge| {
                gauge.set(value);
            });
        }
    }

    /// Records how long something took. Only for histograms.
    pub fn observe(&self, metric: Metric, labels: &[(&'static str, &str)], time: Duration) {
        if let Some(Series::Histogram(series)) = self.series.get(&metric) {
            series.edit(&owned(labels), |histogram| histogram.observe(time.as_secs_f64()));
        }
    }

    /// The value of a gauge; 0 when it was never set.
    pub fn gauge(&self, metric: Metric, labels: &[(&'static str, &str)]) -> u64 {
        match self.series.get(&metric) {
            Some(Series::Gauge(series)) => series.family.get(&owned(labels)).map_or(0, |gauge| gauge.get()),
            _ => 0,
        }
    }

    /// The page in Prometheus' text format, version 0.0.4.
    pub fn page(&self) -> String {
        let mut page = String::new();
        if prometheus_text::encode(&mut page, &self.page).is_err() {
            // Writing to a String does not fail.
            return String::new();
        }
        // The counters whose names are older than the rule have no type of the library's; nothing else is untyped.
        page.replace(" untyped\n", " counter\n")
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_prometheus_text_with_names_as_istiod_has_them() {
        let metrics = Metrics::default();
        metrics.count(Metric::Pushes, &[("type", "cds")]);
        metrics.count(Metric::Pushes, &[("type", "cds")]);
        metrics.count(Metric::DelayedPushes, &[("type", "eds")]);
        metrics.set(Metric::CdsReject, &[("node", "a\"b"), ("err", "x\ny")], 1);
        metrics.set(Metric::Services, &[], 12);
        metrics.observe(Metric::SendTime, &[], Duration::from_millis(70));
        let expected = r##"# HELP pilot_xds_pushes Pilot build and send errors for lds, rds, cds and eds.
# TYPE pilot_xds_pushes counter
pilot_xds_pushes{type="cds"} 2
# HELP pilot_xds_send_time Total time in seconds Pilot takes to send generated configuration.
# TYPE pilot_xds_send_time histogram
pilot_xds_send_time_bucket{le="0.01"} 0
pilot_xds_send_time_bucket{le="0.05"} 0
pilot_xds_send_time_bucket{le="0.1"} 1
pilot_xds_send_time_bucket{le="0.25"} 1
pilot_xds_send_time_bucket{le="0.5"} 1
pilot_xds_send_time_bucket{le="1"} 1
pilot_xds_send_time_bucket{le="3"} 1
pilot_xds_send_time_bucket{le="5"} 1
pilot_xds_send_time_bucket{le="10"} 1
pilot_xds_send_time_bucket{le="20"} 1
pilot_xds_send_time_bucket{le="30"} 1
pilot_xds_send_time_bucket{le="+Inf"} 1
pilot_xds_send_time_sum 0.07
pilot_xds_send_time_count 1
# HELP pilot_services Total services known to pilot.
# TYPE pilot_services gauge
pilot_services 12
# HELP pilot_xds_cds_reject Pilot rejected CDS configs.
# TYPE pilot_xds_cds_reject gauge
pilot_xds_cds_reject{node="a\"b",err="x\ny"} 1
# HELP pilot_xds_delayed_pushes_total Total number of XDS pushes that are delayed.
# TYPE pilot_xds_delayed_pushes_total counter
pilot_xds_delayed_pushes_total{type="eds"} 1
"##;
        assert_eq!(metrics.page(), expected);
    }

    #[test]
    fn every_metric_is_on_the_page_by_its_own_name_and_type() {
        let metrics = Metrics::default();
        for metric in Metric::ALL {
            metrics.count(*metric, &[]);
            metrics.set(*metric, &[], 1);
            metrics.observe(*metric, &[], Duration::from_secs(1));
        }
        let page = metrics.page();
        for metric in Metric::ALL {
            let kind = match metric.kind() {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            assert!(page.contains(&format!("# TYPE {} {kind}\n", metric.name())), "{metric:?}\n{page}");
        }
    }

    #[test]
    fn a_gauge_is_read_back() {
        let metrics = Metrics::default();
        let labels = [("node", "a")];
        assert_eq!(metrics.gauge(Metric::CdsReject, &labels), 0);
        metrics.set(Metric::CdsReject, &labels, 1);
        assert_eq!(metrics.gauge(Metric::CdsReject, &labels), 1);
    }

    #[test]
    fn a_total_is_what_it_was_set_to() {
        let metrics = Metrics::default();
        metrics.total(Metric::DerivedMade, &[("kind", "Piece")], 5);
        metrics.total(Metric::DerivedMade, &[("kind", "Piece")], 7);
        assert!(metrics.page().contains("\nportolan_derived_made_total{kind=\"Piece\"} 7\n"));
    }

    #[test]
    fn series_are_bounded() {
        let metrics = Metrics::default();
        for n in 0..MAX_SERIES + 10 {
            metrics.count(Metric::Rejects, &[("type", &n.to_string())]);
        }
        // Those that are there go on counting.
        metrics.count(Metric::Rejects, &[("type", "0")]);
        let page = metrics.page();
        assert_eq!(page.matches("pilot_total_xds_rejects{").count(), MAX_SERIES);
        assert!(page.contains("pilot_total_xds_rejects{type=\"0\"} 2\n"), "{page}");
    }
}
