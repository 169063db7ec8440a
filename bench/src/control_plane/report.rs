//! The figures as tables for people and as JSON for programs.

use serde::Serialize;

use super::floor::Floor;
use super::goals::{Goal, goals};
use super::options::{Scenario, Size};
use crate::machine::Machine;
use crate::process::Memory;
use crate::report::{aligned, cell, median};
use crate::statistics::Spread;

/// What the figures hold and what they do not.
pub(crate) const NOTES: &str = "\
CPU: of all threads of the process, per proxy that must see the change; median (low-high) of the repetitions. It is taken
from before the write until nothing is sent any more, so that idle work of that second is in it.
p50, p99, last: from before the write (API server, watch and the control plane's waiting included) until a proxy holds all
that the change must change there; the percentile is over proxies, the median over repetitions.
KiB/proxy: bytes on the wire to those that see it, TLS and HTTP/2 included. Needless: proxies that were sent something although
the change is none of their business. Missing: proxies, over all repetitions, that have not got it.
RSS, private (anonymous) and peak: of the control plane, after the step. All processes share the machine's cores.
";

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) sizes: Vec<SizeReport>,
}

/// One size of mesh and fleet.
#[derive(Debug, Serialize)]
pub(crate) struct SizeReport {
    pub(crate) scenario: Scenario,
    #[serde(flatten)]
    pub(crate) size: Size,
    pub(crate) namespaces: usize,
    pub(crate) connect: ConnectRow,
    pub(crate) floor: Option<Floor>,
    pub(crate) changes: Vec<ChangeRow>,
    pub(crate) sustained: Option<SustainedRow>,
    pub(crate) reconnect: Option<ReconnectRow>,
}

/// All proxies connect.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ConnectRow {
    pub(crate) proxies: usize,
    /// Until the last response.
    pub(crate) seconds: f64,
    pub(crate) control_plane_ms_per_proxy: f64,
    pub(crate) client_ms_per_proxy: f64,
    pub(crate) kib_per_proxy: f64,
    pub(crate) responses_per_proxy: f64,
    /// Attempts without a stream.
    pub(crate) failed: u64,
    pub(crate) memory: Memory,
}

/// One kind of change.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ChangeRow {
    pub(crate) change: &'static str,
    /// Proxies that must get it.
    pub(crate) sees: usize,
    pub(crate) times: usize,
    pub(crate) control_plane_ms_per_proxy: Option<Spread>,
    pub(crate) client_ms_per_proxy: Option<Spread>,
    pub(crate) api_server_ms: Option<Spread>,
    pub(crate) p50_ms: Option<Spread>,
    pub(crate) p99_ms: Option<Spread>,
    pub(crate) last_ms: Option<Spread>,
    pub(crate) kib_per_proxy: Option<Spread>,
    pub(crate) responses: Option<Spread>,
    pub(crate) needless: Option<Spread>,
    pub(crate) missing: usize,
    pub(crate) memory: Memory,
}

/// Endpoints that change all the time.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SustainedRow {
    pub(crate) changes: usize,
    /// It took to write them.
    pub(crate) seconds: f64,
    pub(crate) control_plane_cores: f64,
    pub(crate) client_cores: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) last_ms: Option<f64>,
    /// Arrivals that were skipped: the same service had changed again before.
    pub(crate) missing: usize,
    pub(crate) memory_before: Memory,
    pub(crate) memory: Memory,
}

/// The control plane was killed and started anew.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ReconnectRow {
    /// From its start.
    pub(crate) ready_seconds: f64,
    /// From its readiness until every proxy had everything again.
    pub(crate) synchronous_seconds: f64,
    /// From its readiness until a change that was made then was at a proxy.
    pub(crate) change_p50_ms: Option<f64>,
    pub(crate) change_p99_ms: Option<f64>,
    pub(crate) change_last_ms: Option<f64>,
    pub(crate) missing: usize,
    /// Attempts while nobody listened.
    pub(crate) refused: u64,
    /// Attempts that were accepted and got no stream.
    pub(crate) failed: u64,
    pub(crate) control_plane_ms_per_proxy: f64,
    pub(crate) kib_per_proxy: f64,
    pub(crate) memory: Memory,
}

fn mib(kib: f64) -> String {
    format!("{:.0}", kib / 1024.0)
}

fn memory(memory: &Memory) -> [String; 3] {
    [mib(memory.resident), mib(memory.anonymous), mib(memory.peak)]
}

fn some(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.0}"))
}

fn rows(head: &[&str], body: Vec<Vec<String>>) -> String {
    let mut all = vec![head.iter().map(|cell| (*cell).to_owned()).collect()];
    all.extend(body);
    aligned(&all)
}

const MEMORY: [&str; 3] = ["RSS MiB", "private", "peak"];

impl SizeReport {
    /// Arrivals that were waited for in vain.
    pub(crate) fn missing(&self) -> usize {
        let changes: usize = self.changes.iter().map(|row| row.missing).sum();
        changes + self.reconnect.as_ref().map_or(0, |row| row.missing)
    }

    /// What there is, as tables.
    pub(crate) fn tables(&self) -> String {
        let mut tables = vec![self.connect.table()];
        tables.extend(self.floor.as_ref().map(Floor::table));
        if !self.changes.is_empty() {
            tables.push(changes_table(&self.changes, self.floor.as_ref()));
        }
        tables.extend(self.sustained.as_ref().map(SustainedRow::table));
        tables.extend(self.reconnect.as_ref().map(ReconnectRow::table));
        tables.push(goals_table(&goals(self)));
        tables.join("\n")
    }
}

impl ConnectRow {
    fn table(&self) -> String {
        let head = [
            "connect",
            "CPU ms/proxy",
            "client ms/proxy",
            "seconds",
            "KiB/proxy",
            "responses/proxy",
            "failed",
        ];
        let mut row = vec![
            format!("{} proxies", self.proxies),
            format!("{:.2}", self.control_plane_ms_per_proxy),
            format!("{:.2}", self.client_ms_per_proxy),
            format!("{:.1}", self.seconds),
            format!("{:.0}", self.kib_per_proxy),
            format!("{:.1}", self.responses_per_proxy),
            self.failed.to_string(),
        ];
        row.extend(memory(&self.memory));
        rows(&[&head[..], &MEMORY].concat(), vec![row])
    }
}

impl Floor {
    fn table(&self) -> String {
        let row = vec![
            format!("a record to {}", self.connections),
            cell(self.server_us, 1),
            cell(self.client_us, 1),
            cell(self.p50_ms, 1),
            cell(self.p99_ms, 1),
        ];
        rows(&["floor", "CPU us/connection", "client us/connection", "p50 ms", "p99 ms"], vec![row])
    }
}

fn changes_table(changes: &[ChangeRow], floor: Option<&Floor>) -> String {
    let head = [
        "change",
        "sees",
        "CPU ms/proxy",
        "x floor",
        "client ms/proxy",
        "p50 ms",
        "p99 ms",
        "last ms",
        "KiB/proxy",
        "responses",
        "needless",
        "missing",
    ];
    let floor = floor.and_then(|floor| floor.server_us);
    let body = changes.iter().map(|row| {
        let times =
            row.control_plane_ms_per_proxy.zip(floor).map(|(ours, floor)| ours.median * 1e3 / floor.median);
        let mut cells = vec![
            row.change.to_owned(),
            row.sees.to_string(),
            cell(row.control_plane_ms_per_proxy, 3),
            some(times),
            median(row.client_ms_per_proxy, 3),
            cell(row.p50_ms, 0),
            cell(row.p99_ms, 0),
            median(row.last_ms, 0),
            median(row.kib_per_proxy, 2),
            median(row.responses, 0),
            median(row.needless, 0),
            row.missing.to_string(),
        ];
        cells.extend(memory(&row.memory));
        cells
    });
    rows(&[&head[..], &MEMORY].concat(), body.collect())
}

impl SustainedRow {
    fn table(&self) -> String {
        let head = [
            "endpoints, all the time",
            "seconds",
            "CPU cores",
            "client cores",
            "lag p50 ms",
            "p99 ms",
            "last ms",
            "superseded",
            "RSS before",
        ];
        let mut row = vec![
            format!("{} changes", self.changes),
            format!("{:.0}", self.seconds),
            format!("{:.2}", self.control_plane_cores),
            format!("{:.2}", self.client_cores),
            some(self.p50_ms),
            some(self.p99_ms),
            some(self.last_ms),
            self.missing.to_string(),
            mib(self.memory_before.resident),
        ];
        row.extend(memory(&self.memory));
        rows(&[&head[..], &MEMORY].concat(), vec![row])
    }
}

impl ReconnectRow {
    fn table(&self) -> String {
        let head = [
            "restart",
            "ready s",
            "synchronous s",
            "change p50 ms",
            "p99 ms",
            "last ms",
            "missing",
            "refused",
            "failed",
            "CPU ms/proxy",
            "KiB/proxy",
        ];
        let mut row = vec![
            "after readiness".to_owned(),
            format!("{:.1}", self.ready_seconds),
            format!("{:.1}", self.synchronous_seconds),
            some(self.change_p50_ms),
            some(self.change_p99_ms),
            some(self.change_last_ms),
            self.missing.to_string(),
            self.refused.to_string(),
            self.failed.to_string(),
            format!("{:.2}", self.control_plane_ms_per_proxy),
            format!("{:.0}", self.kib_per_proxy),
        ];
        row.extend(memory(&self.memory));
        rows(&[&head[..], &MEMORY].concat(), vec![row])
    }
}

/// Goals beside what was measured; also those of a whole run.
pub(crate) fn goals_table(goals: &[Goal]) -> String {
    let body = goals.iter().map(|goal| {
        let digits = if goal.limit < 10.0 { 2 } else { 0 };
        vec![
            goal.what.clone(),
            format!("{:.digits$}", goal.measured),
            format!("{:.digits$}", goal.limit),
            goal.unit.to_owned(),
            if goal.holds() { "holds" } else { "MISSED" }.to_owned(),
        ]
    });
    rows(&["goal", "measured", "at most", "unit", ""], body.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(milliseconds: f64, missing: usize) -> ChangeRow {
        let same = |figure: f64| Some(Spread { median: figure, low: figure, high: figure });
        ChangeRow {
            change: "endpoint",
            sees: 100,
            times: 1,
            control_plane_ms_per_proxy: same(milliseconds),
            client_ms_per_proxy: same(0.05),
            api_server_ms: same(1.0),
            p50_ms: same(20.0),
            p99_ms: same(30.0),
            last_ms: same(31.0),
            kib_per_proxy: same(0.5),
            responses: same(100.0),
            needless: same(0.0),
            missing,
            memory: Memory { resident: 2048.0, anonymous: 1024.0, peak: 4096.0 },
        }
    }

    #[test]
    fn a_table_of_changes_says_how_far_above_the_floor_they_are() {
        let floor = Floor {
            connections: 100,
            server_us: Some(Spread { median: 20.0, low: 19.0, high: 21.0 }),
            client_us: None,
            p50_ms: None,
            p99_ms: None,
        };
        let table = changes_table(&[row(0.14, 3)], Some(&floor));
        let cells: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            cells,
            [
                "endpoint",
                "100",
                "0.140",
                "(0.140-0.140)",
                "7",
                "0.050",
                "20",
                "(20-20)",
                "30",
                "(30-30)",
                "31",
                "0.50",
                "100",
                "0",
                "3",
                "2",
                "1",
                "4"
            ]
        );
    }

    #[test]
    fn a_missed_goal_is_said() {
        let goal = |measured| Goal { what: "CPU".to_owned(), measured, limit: 0.15, unit: "ms" };
        let table = goals_table(&[goal(0.15), goal(22.0)]);
        assert!(table.lines().nth(1).unwrap().ends_with("holds"));
        assert!(table.lines().nth(2).unwrap().ends_with("MISSED"));
    }
}
