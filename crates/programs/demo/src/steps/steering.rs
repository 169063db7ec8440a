//! Step 6: a VirtualService steers the imported service as it would a local one.

use std::time::Duration;

use anyhow::ensure;

use super::apply::apply;
use super::federation::{LOCAL, answers};
use crate::report::Report;
use crate::world::{World, eventually};

/// Time for a route to take effect.
const SETTLE: Duration = Duration::from_secs(20);
/// Requests that are counted for the weights.
const REQUESTS: usize = 100;
/// Share that passes for one half.
const HALF: std::ops::RangeInclusive<usize> = 30..=70;
/// Stars that ratings-beta gives.
const BETA_STARS: u64 = 1;

pub(super) async fn run(world: &World, report: &mut Report) -> anyhow::Result<()> {
    report.step(6, "A VirtualService steers the imported service as it would a local one");
    let west = &world.west;
    apply(world, west, report, &["federation/fault.yaml"]).await?;
    eventually(SETTLE, "the injected fault", || async {
        let seen = west.fetch_one(LOCAL, &[]).await?;
        ensure!(seen.status == Some(418), "{seen}");
        Ok(())
    })
    .await?;
    report.tick("fault: every call is aborted with 418");
    apply(world, west, report, &["federation/weights.yaml"]).await?;
    eventually(SETTLE, "the fault gone", || answers(west, LOCAL)).await?;
    let (ratings, beta) = eventually(SETTLE, "half of the requests to each service", || async {
        let results = west.fetch(LOCAL, REQUESTS, &[]).await?;
        let stars: Vec<Option<u64>> =
            results.iter().map(|fetched| fetched.json()["ratings"]["Reviewer1"].as_u64()).collect();
        let beta = stars.iter().filter(|stars| **stars == Some(BETA_STARS)).count();
        let ratings = stars.iter().filter(|stars| stars.is_some_and(|stars| stars != BETA_STARS)).count();
        let failed = results.iter().find(|fetched| !fetched.is_ok());
        ensure!(
            failed.is_none(),
            "a request failed: {}",
            failed.map(ToString::to_string).unwrap_or_default()
        );
        ensure!(
            HALF.contains(&beta) && HALF.contains(&ratings),
            "{ratings} to ratings, {beta} to ratings-beta"
        );
        Ok((ratings, beta))
    })
    .await?;
    report.tick(format!(
        "weights: of {REQUESTS} requests {ratings} went to ratings, {beta} to ratings-beta, both in east"
    ));
    apply(world, west, report, &["federation/ratings-local-name.yaml"]).await?;
    Ok(())
}
