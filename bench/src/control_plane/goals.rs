//! What the figures are to be, at 1,000 proxies and 1,000 services on two cores, clients included.

use serde::Serialize;

use super::changes::ChangeKind;
use super::report::{ChangeRow, SizeReport};
use crate::statistics::Spread;

/// CPU of the control plane per proxy that sees the change, in milliseconds.
const CPU_MS: [(ChangeKind, f64); 3] =
    [(ChangeKind::Endpoint, 0.15), (ChangeKind::VirtualService, 0.3), (ChangeKind::DestinationRule, 0.5)];
/// Time until all have it, in milliseconds: p50, p99.
const ARRIVAL_MS: (f64, f64) = (100.0, 400.0);
const VIRTUAL_SERVICE_KIB: f64 = 4.0;
const CONNECT_MS: f64 = 10.0;
const MEMORY_MIB: f64 = 300.0;
/// From readiness until a change is everywhere.
const RESTART_MS: f64 = 3000.0;
/// What a change costs in the largest mesh against the smallest.
const GROWTH: f64 = 1.2;

/// One goal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) measured: f64,
    pub(crate) limit: f64,
    pub(crate) unit: &'static str,
}

impl Goal {
    pub(crate) fn holds(&self) -> bool {
        self.measured <= self.limit
    }
}

/// The goals that one size of mesh and fleet says something about.
pub(crate) fn goals(report: &SizeReport) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut add = |what: String, measured: Option<f64>, limit: f64, unit: &'static str| {
        goals.extend(measured.map(|measured| Goal { what, measured, limit, unit }));
    };
    let row = |kind: ChangeKind| report.changes.iter().find(|row| row.change == kind.name());
    let figure =
        |kind: ChangeKind, figure: fn(&ChangeRow) -> Option<Spread>| Some(figure(row(kind)?)?.median);
    add(
        "connecting: CPU per proxy".to_owned(),
        Some(report.connect.control_plane_ms_per_proxy),
        CONNECT_MS,
        "ms",
    );
    for (kind, limit) in CPU_MS {
        let measured = figure(kind, |row| row.control_plane_ms_per_proxy);
        add(format!("{}: CPU per proxy", kind.name()), measured, limit, "ms");
    }
    add("endpoint: p50".to_owned(), figure(ChangeKind::Endpoint, |row| row.p50_ms), ARRIVAL_MS.0, "ms");
    add("endpoint: p99".to_owned(), figure(ChangeKind::Endpoint, |row| row.p99_ms), ARRIVAL_MS.1, "ms");
    let kib = figure(ChangeKind::VirtualService, |row| row.kib_per_proxy);
    add("VirtualService: bytes per proxy".to_owned(), kib, VIRTUAL_SERVICE_KIB, "KiB");
    let last =
        report.sustained.as_ref().map(|row| row.memory).or(report.changes.last().map(|row| row.memory));
    let resident = last.unwrap_or(report.connect.memory).resident;
    add("memory (RSS) after the changes".to_owned(), Some(resident / 1024.0), MEMORY_MIB, "MiB");
    if let Some(row) = &report.reconnect {
        add(
            "restart: readiness until a change is everywhere".to_owned(),
            row.change_last_ms,
            RESTART_MS,
            "ms",
        );
        add("restart: failed connections".to_owned(), Some(row.failed as f64), 0.0, "");
    }
    goals
}

/// How the cost of a change grows with the mesh: the largest against the smallest, with the same proxies.
pub(crate) fn growth(reports: &[SizeReport]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for smallest in reports {
        let same = reports.iter().filter(|other| other.size.proxies == smallest.size.proxies);
        let Some(largest) = same.clone().max_by_key(|other| other.size.services) else { continue };
        let is_smallest = same.clone().all(|other| other.size.services >= smallest.size.services);
        if !is_smallest || largest.size.services == smallest.size.services {
            continue;
        }
        for (small, large) in smallest.changes.iter().zip(&largest.changes) {
            let cpu = |row: &ChangeRow| row.control_plane_ms_per_proxy.map(|spread| spread.median);
            let Some((small_cpu, large_cpu)) = cpu(small).zip(cpu(large)) else { continue };
            goals.push(Goal {
                what: format!(
                    "{}: {} against {} services",
                    small.change, largest.size.services, smallest.size.services
                ),
                measured: large_cpu / small_cpu,
                limit: GROWTH,
                unit: "x",
            });
        }
    }
    goals
}
