//! What was measured, as a table for people and as JSON for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use crate::machine::Machine;
use crate::options::Options;
use crate::rounds::{IdleRound, LoadRound};
use crate::scenario::{Implementation, Scenario};
use crate::statistics::{Spread, ratio, spread};

/// What the figures hold and what they do not.
pub(crate) const NOTES: &str = "\
CPU: user and system time of all proxies of the scenario, per answered request; median (low-high) of the rounds.
of envoy, of nginx, of baseline: ratio of the medians (lowest-highest ratio within one round).
A pair is one set of bootstrap files for both; only ports differ. In it: routes with retries and timeouts, least request,
circuit breakers, outlier detection, TLS 1.3 with P-256 certificates and SPIFFE names checked on both sides, RBAC with 4
policies, X-Forwarded-Client-Cert, CORS and fault filters, Istio's choice of statistics. Istio's own filters (exchange of
metadata, istio_requests_total and its kin) are in the files too; a release of Envoy does not have them and leaves them
out, so that ours does more here. Not in it: traffic capture, tracing, configuration over xDS.
";

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    rounds: u32,
    seconds: u64,
    pub(crate) scenarios: Vec<ScenarioReport>,
}

/// One scenario.
#[derive(Debug, Serialize)]
pub(crate) struct ScenarioReport {
    name: &'static str,
    about: &'static str,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Figures {
    Load { load: Vec<LoadReport> },
    Idle { idle: Vec<IdleReport> },
}

/// One implementation under load.
#[derive(Debug, Serialize)]
struct LoadReport {
    implementation: Implementation,
    cpu_us_per_request: Option<Spread>,
    cpu_system_us_per_request: Option<Spread>,
    /// Our CPU per request by theirs.
    ratio_to: Ratios,
    requests_per_second: Option<Spread>,
    p50_ms: Option<Spread>,
    p99_ms: Option<Spread>,
    errors: u64,
    rounds: Vec<LoadRound>,
}

/// One implementation with idle connections.
#[derive(Debug, Serialize)]
struct IdleReport {
    implementation: Implementation,
    anonymous_kib_per_connection: Option<Spread>,
    resident_kib_per_connection: Option<Spread>,
    base_anonymous_mib: Option<Spread>,
    base_resident_mib: Option<Spread>,
    /// Our anonymous memory per connection by theirs.
    ratio_to: Ratios,
    errors: u64,
    rounds: Vec<IdleRound>,
}

impl LoadRound {
    fn cpu_us(&self) -> f64 {
        (self.cpu_user_seconds + self.cpu_system_seconds) * 1e6 / self.requests as f64
    }
}

impl Report {
    pub(crate) fn new(machine: Machine, options: &Options) -> Self {
        Report {
            machine,
            rounds: options.rounds(),
            seconds: options.duration().as_secs(),
            scenarios: Vec::new(),
        }
    }

    pub(crate) fn rounds_with_errors(&self) -> usize {
        self.scenarios.iter().map(ScenarioReport::rounds_with_errors).sum()
    }
}

/// Whom the others are compared with.
const REFERENCES: [Implementation; 3] =
    [Implementation::Envoy, Implementation::Nginx, Implementation::Baseline];

type Ratios = BTreeMap<Implementation, Spread>;

/// How the figures of one implementation compare with those of the references that took part.
fn ratios<R>(
    all: &[(Implementation, Vec<R>)],
    own: Implementation,
    rounds: &[R],
    figure: impl Fn(&R) -> f64,
) -> Ratios {
    let figures = |rounds: &[R]| rounds.iter().map(&figure).collect::<Vec<_>>();
    let others = all.iter().filter(|(other, _)| *other != own && REFERENCES.contains(other));
    others.filter_map(|(other, theirs)| Some((*other, ratio(&figures(rounds), &figures(theirs))?))).collect()
}

impl ScenarioReport {
    pub(crate) fn of_load(scenario: &Scenario, measured: Vec<(Implementation, Vec<LoadRound>)>) -> Self {
        let load = measured
            .iter()
            .map(|(implementation, rounds)| {
                let of = |figure: fn(&LoadRound) -> f64| spread(rounds.iter().map(figure));
                // Without a proxy there is nothing whose time could be taken.
                let proxied = *implementation != Implementation::None;
                LoadReport {
                    implementation: *implementation,
                    cpu_us_per_request: of(LoadRound::cpu_us).filter(|_| proxied),
                    cpu_system_us_per_request: of(|r| r.cpu_system_seconds * 1e6 / r.requests as f64)
                        .filter(|_| proxied),
                    ratio_to: ratios(&measured, *implementation, rounds, LoadRound::cpu_us),
                    requests_per_second: of(|r| r.requests as f64 / r.seconds),
                    p50_ms: of(|r| r.p50_ms),
                    p99_ms: of(|r| r.p99_ms),
                    errors: rounds.iter().map(|r| r.errors).sum(),
                    rounds: rounds.clone(),
                }
            })
            .collect();
        ScenarioReport { name: scenario.name, about: scenario.about, figures: Figures::Load { load } }
    }

    pub(crate) fn of_idle(scenario: &Scenario, measured: Vec<(Implementation, Vec<IdleRound>)>) -> Self {
        let idle = measured
            .iter()
            .map(|(implementation, rounds)| {
                let of = |figure: fn(&IdleRound) -> f64| spread(rounds.iter().map(figure));
                IdleReport {
                    implementation: *implementation,
                    anonymous_kib_per_connection: of(|r| r.anonymous),
                    resident_kib_per_connection: of(|r| r.resident),
                    base_anonymous_mib: of(|r| r.base_anonymous / 1024.0),
                    base_resident_mib: of(|r| r.base_resident / 1024.0),
                    ratio_to: ratios(&measured, *implementation, rounds, |r| r.anonymous),
                    errors: rounds.iter().map(|r| r.errors).sum(),
                    rounds: rounds.clone(),
                }
            })
            .collect();
        ScenarioReport { name: scenario.name, about: scenario.about, figures: Figures::Idle { idle } }
    }

    fn rounds_with_errors(&self) -> usize {
        match &self.figures {
            Figures::Load { load } => load.iter().flat_map(|l| &l.rounds).filter(|r| r.errors > 0).count(),
            Figures::Idle { idle } => idle.iter().flat_map(|i| &i.rounds).filter(|r| r.errors > 0).count(),
        }
    }
}

/// `12.3 (11.9-14.0)`, or a dash.
pub(crate) fn cell(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |s| format!("{:.digits$} ({:.digits$}-{:.digits$})", s.median, s.low, s.high),
    )
}

pub(crate) fn median(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or_else(|| "-".to_owned(), |s| format!("{:.digits$}", s.median))
}

fn errors(errors: u64) -> String {
    if errors == 0 { "none".to_owned() } else { format!("{errors} FAILED") }
}

/// One column for each reference that any row is compared with.
fn references<'a>(rows: impl Iterator<Item = &'a Ratios>) -> BTreeSet<Implementation> {
    rows.flat_map(BTreeMap::keys).copied().collect()
}

/// The table of one scenario.
pub(crate) fn table(scenario: &ScenarioReport) -> String {
    let mut rows = Vec::new();
    match &scenario.figures {
        Figures::Load { load } => {
            let references = references(load.iter().map(|l| &l.ratio_to));
            let mut head = vec![String::new(), "CPU us/request".to_owned(), "kernel".to_owned()];
            head.extend(references.iter().map(|other| format!("of {}", other.name())));
            head.extend(["requests/s", "p50 ms", "p99 ms", "errors"].map(str::to_owned));
            rows.push(head);
            for l in load {
                let mut row = vec![
                    l.implementation.name().to_owned(),
                    cell(l.cpu_us_per_request, 1),
                    median(l.cpu_system_us_per_request, 1),
                ];
                row.extend(references.iter().map(|other| cell(l.ratio_to.get(other).copied(), 2)));
                row.extend([
                    median(l.requests_per_second, 0),
                    median(l.p50_ms, 2),
                    median(l.p99_ms, 2),
                    errors(l.errors),
                ]);
                rows.push(row);
            }
        }
        Figures::Idle { idle } => {
            let references = references(idle.iter().map(|i| &i.ratio_to));
            let mut head =
                vec![String::new(), "KiB anon/connection".to_owned(), "KiB RSS/connection".to_owned()];
            head.extend(references.iter().map(|other| format!("of {}", other.name())));
            head.extend(["MiB anon at start", "MiB RSS at start", "errors"].map(str::to_owned));
            rows.push(head);
            for i in idle {
                let mut row = vec![
                    i.implementation.name().to_owned(),
                    cell(i.anonymous_kib_per_connection, 1),
                    cell(i.resident_kib_per_connection, 1),
                ];
                row.extend(references.iter().map(|other| cell(i.ratio_to.get(other).copied(), 2)));
                row.extend([
                    median(i.base_anonymous_mib, 1),
                    median(i.base_resident_mib, 1),
                    errors(i.errors),
                ]);
                rows.push(row);
            }
        }
    }
    aligned(&rows)
}

pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, " {cell:width$} ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    fn round(requests: u64, cpu: f64, errors: u64) -> LoadRound {
        LoadRound {
            requests,
            errors,
            seconds: 2.0,
            cpu_user_seconds: cpu * 0.75,
            cpu_system_seconds: cpu * 0.25,
            p50_ms: 1.5,
            p99_ms: 9.25,
        }
    }

    #[test]
    fn a_table() {
        let measured = vec![
            (Implementation::Portolan, vec![round(10_000, 0.5, 0), round(10_000, 0.4, 0)]),
            (Implementation::Envoy, vec![round(5_000, 1.0, 0), round(5_000, 1.0, 3)]),
        ];
        let report = ScenarioReport::of_load(&SCENARIOS[0], measured);
        assert_eq!(report.rounds_with_errors(), 1);
        assert_eq!(
            table(&report),
            r"            CPU us/request       kernel  of envoy          requests/s  p50 ms  p99 ms  errors
  portolan  45.0 (40.0-50.0)     11.2    0.23 (0.20-0.25)  5000        1.50    9.25    none
  envoy     200.0 (200.0-200.0)  50.0    -                 2500        1.50    9.25    3 FAILED
"
        );
    }

    #[test]
    fn a_table_of_memory() {
        let round = |anonymous, errors| IdleRound {
            errors,
            base_anonymous: 2048.0,
            base_resident: 10240.0,
            anonymous,
            resident: anonymous + 1.0,
        };
        let measured = vec![
            (Implementation::Portolan, vec![round(4.0, 0)]),
            (Implementation::Envoy, vec![round(16.0, 1)]),
            (Implementation::Nginx, vec![round(0.5, 0)]),
        ];
        let report = ScenarioReport::of_idle(&SCENARIOS[7], measured);
        assert_eq!(report.rounds_with_errors(), 1);
        assert_eq!(
            table(&report),
            r"            KiB anon/connection  KiB RSS/connection  of envoy          of nginx             MiB anon at start  MiB RSS at start  errors
  portolan  4.0 (4.0-4.0)        5.0 (5.0-5.0)       0.25 (0.25-0.25)  8.00 (8.00-8.00)     2.0                10.0              none
  envoy     16.0 (16.0-16.0)     17.0 (17.0-17.0)    -                 32.00 (32.00-32.00)  2.0                10.0              1 FAILED
  nginx     0.5 (0.5-0.5)        1.5 (1.5-1.5)       0.03 (0.03-0.03)  -                    2.0                10.0              none
"
        );
    }

    #[test]
    fn nothing_measured_is_no_figure() {
        let none =
            ScenarioReport::of_load(&SCENARIOS[6], vec![(Implementation::None, vec![round(8, 0.0, 0)])]);
        assert!(table(&none).contains("none"));
        let empty = ScenarioReport::of_load(&SCENARIOS[0], vec![(Implementation::Portolan, Vec::new())]);
        assert!(table(&empty).contains('-'));
    }
}
