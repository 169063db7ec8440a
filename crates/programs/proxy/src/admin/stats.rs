//! `/stats` and `/stats/prometheus`.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use regex_automata::meta::Regex;
use serde_json::{Value, json};

use super::AdminState;
use portolan_agent::serve::{json as json_response, param, query, text, with_type};
use portolan_dataplane::stats::SampleValue;

/// Longest `filter`.
const MAX_FILTER: usize = 1024;
/// The quantiles that Envoy prints for a histogram.
const QUANTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];
/// Media type of the Prometheus text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn stats(state: &AdminState, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let query = query(request.uri());
    let filter = match param(&query, "filter") {
        None => None,
        Some(pattern) if pattern.len() <= MAX_FILTER => match Regex::new(pattern) {
            Ok(regex) => Some(regex),
            Err(error) => return text(StatusCode::BAD_REQUEST, format!("Invalid regex: {error}\n")),
        },
        Some(_) => return text(StatusCode::BAD_REQUEST, "Invalid regex: too long\n"),
    };
    let used_only = param(&query, "usedonly").is_some();
    if param(&query, "format") == Some("prometheus") {
        return stats_prometheus(state, request);
    }
    let mut numbers: Vec<_> =
        server_numbers(state).into_iter().map(|(name, value, _)| (name, value)).collect();
    let mut histograms = Vec::new();
    for sample in state.stats.samples() {
        match sample.value {
            SampleValue::Number(value) => numbers.push((sample.stat_name, value)),
            SampleValue::Histogram { buckets, sum, count } => {
                histograms.push((sample.stat_name, Histogram { buckets, sum, count }));
            }
        }
    }
    let shown = |name: &str| filter.as_ref().is_none_or(|regex| regex.is_match(name));
    numbers.retain(|(name, value)| shown(name) && (!used_only || *value > 0));
    histograms.retain(|(name, histogram)| shown(name) && (!used_only || histogram.count > 0));
    numbers.sort();
    histograms.sort_by(|a, b| a.0.cmp(&b.0));
    if param(&query, "format") == Some("json") {
        let mut list: Vec<Value> =
            numbers.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        if !histograms.is_empty() {
            list.push(histograms_json(&histograms));
        }
        return json_response(&json!({"stats": list}));
    }
    let mut out = String::new();
    for (name, value) in numbers {
        let _ = writeln!(out, "{name}: {value}");
    }
    for (name, histogram) in histograms {
        let _ = writeln!(out, "{name}: {}", histogram.summary());
    }
    text(StatusCode::OK, out)
}

pub(super) fn stats_prometheus(state: &AdminState, _: &Request<Bytes>) -> Response<Full<Bytes>> {
    with_type(StatusCode::OK, PROMETHEUS, prometheus(state))
}

/// All statistics of the proxy in the Prometheus text format.
pub fn prometheus(state: &AdminState) -> String {
    let mut out = state.stats.prometheus();
    for (name, value, is_gauge) in server_numbers(state) {
        let family = format!("envoy_{}", name.replace(['.', '-'], "_"));
        let kind = if is_gauge { "gauge" } else { "counter" };
        let _ = writeln!(out, "# TYPE {family} {kind}\n{family}{{}} {value}");
    }
    out
}

/// What the program knows besides the data plane, under Envoy's names: name, value, whether it is a gauge.
fn server_numbers(state: &AdminState) -> Vec<(String, u64, bool)> {
    let server = state.state();
    let mut out: Vec<(String, u64, bool)> = [
        ("server.concurrency", state.concurrency as u64),
        ("server.live", u64::from(server == super::ServerState::Live)),
        ("server.state", server.number()),
        ("server.uptime", state.started.elapsed().unwrap_or_default().as_secs()),
    ]
    .map(|(name, value)| (name.to_owned(), value, true))
    .into();
    out.extend(state.xds.iter().flat_map(|xds| xds.stats()));
    out
}

struct Histogram {
    buckets: Vec<(f64, u64)>,
    sum: f64,
    count: u64,
}

impl Histogram {
    /// A quantile by linear interpolation inside its bucket.
    fn quantile(&self, percent: f64) -> f64 {
        let rank = percent / 100.0 * self.count as f64;
        let (mut lower, mut below) = (0.0, 0u64);
        for (upper, seen) in &self.buckets {
            if *seen as f64 >= rank && *seen > 0 {
                let inside = (*seen - below).max(1) as f64;
                return lower + (upper - lower) * ((rank - below as f64) / inside).clamp(0.0, 1.0);
            }
            (lower, below) = (*upper, *seen);
        }
        lower
    }

    fn summary(&self) -> String {
        if self.count == 0 {
            return "No recorded values".to_owned();
        }
        let parts: Vec<String> =
            QUANTILES.iter().map(|q| format!("P{q}(nan,{})", trim(self.quantile(*q)))).collect();
        format!("{} sum={} count={}", parts.join(" "), trim(self.sum), self.count)
    }
}

fn trim(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn histograms_json(histograms: &[(String, Histogram)]) -> Value {
    let computed: Vec<Value> = histograms
        .iter()
        .map(|(name, histogram)| {
            let values: Vec<Value> = QUANTILES
                .iter()
                .map(|q| match histogram.count {
                    0 => json!({"interval": null, "cumulative": null}),
                    _ => json!({"interval": null, "cumulative": histogram.quantile(*q)}),
                })
                .collect();
            json!({"name": name, "values": values})
        })
        .collect();
    json!({"histograms": {"supported_quantiles": QUANTILES, "computed_quantiles": computed}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let histogram = Histogram { buckets: vec![(1.0, 0), (5.0, 50), (10.0, 100)], sum: 500.0, count: 100 };
        assert_eq!(histogram.quantile(50.0), 5.0);
        assert_eq!(histogram.quantile(75.0), 7.5);
        assert_eq!(histogram.quantile(100.0), 10.0);
        assert!(histogram.summary().starts_with("P0(nan,1) P25(nan,3)"), "{}", histogram.summary());
        assert_eq!(Histogram { buckets: vec![], sum: 0.0, count: 0 }.summary(), "No recorded values");
    }
}
