//! Step 7: what is no longer exported fails within a second; exported again, it works.

use std::time::Duration;

use anyhow::ensure;
use tokio::time::Instant;

use super::federation::{IMPORTED, answers};
use crate::report::Report;
use crate::world::{MESH, World, eventually};

/// How fast the exporter must close the door.
const LIMIT: Duration = Duration::from_secs(1);
/// Pause between two calls while waiting for it.
const POLL: Duration = Duration::from_millis(20);
/// Calls that must all fail once one has.
const CONFIRM: usize = 10;
/// Time for the service to come back.
const BACK: Duration = Duration::from_secs(30);

pub(super) async fn run(world: &World, report: &mut Report) -> anyhow::Result<()> {
    report.step(7, "What east takes back fails in west within a second");
    let (west, east) = (&world.west, &world.east);
    answers(west, IMPORTED).await?;
    east.kubectl()?.apply(report, MESH, &world.manifests.path("federation/export-nothing.yaml")).await?;
    let start = Instant::now();
    let first = loop {
        let seen = west.fetch_one(IMPORTED, &[]).await?;
        if !seen.is_ok() {
            break seen;
        }
        ensure!(
            start.elapsed() <= LIMIT,
            "calls still work {:.1} s after the export was withdrawn",
            start.elapsed().as_secs_f64()
        );
        tokio::time::sleep(POLL).await;
    };
    let took = start.elapsed();
    ensure!(took <= LIMIT, "the first failing call came only after {:.1} s", took.as_secs_f64());
    for fetched in west.fetch(IMPORTED, CONFIRM, &[]).await? {
        ensure!(!fetched.is_ok(), "a call works again although nothing is exported: {fetched}");
    }
    report.tick(format!("new calls fail after {} ms: {first}", took.as_millis()));
    east.kubectl()?.apply(report, MESH, &world.manifests.path("federation/export.yaml")).await?;
    eventually(BACK, "the service to come back", || answers(west, IMPORTED)).await?;
    report.tick("exported again: calls work");
    Ok(())
}
