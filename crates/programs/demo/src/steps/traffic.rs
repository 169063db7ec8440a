//! Step 3: a VirtualService shifts traffic by weight, then by user.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;

use super::apply::apply;
use crate::report::Report;
use crate::world::{Cluster, World, eventually};

/// Time for a route to take effect.
const SETTLE: Duration = Duration::from_secs(20);
/// Requests that are counted for the weights.
const REQUESTS: usize = 300;
/// Share of v2 that passes for 10 %: three standard deviations around it, for so many requests.
const SHARE: std::ops::RangeInclusive<usize> = 14..=46;
/// Requests for each user.
const PER_USER: usize = 30;
const URL: &str = "http://reviews:9080/reviews/0";

pub(super) async fn run(world: &World, report: &mut Report) -> anyhow::Result<()> {
    report
        .step(3, "A VirtualService shifts traffic between the releases of reviews: by weight, then by user");
    let west = &world.west;
    apply(world, west, report, &["destination-rules.yaml", "reviews-90-10.yaml"]).await?;
    eventually(SETTLE, "no request to v3", || async {
        let seen = versions(west, 20, &[]).await?;
        ensure!(!seen.contains_key("v3"), "{seen:?}");
        Ok(())
    })
    .await?;
    let seen = versions(west, REQUESTS, &[]).await?;
    let count = |version: &str| seen.get(version).copied().unwrap_or(0);
    ensure!(
        count("v1") + count("v2") == REQUESTS && SHARE.contains(&count("v2")),
        "of {REQUESTS} requests: {seen:?}, expected about {} to v1 and {} to v2",
        REQUESTS * 9 / 10,
        REQUESTS / 10
    );
    report.tick(format!("90/10: of {REQUESTS} requests {} went to v1, {} to v2", count("v1"), count("v2")));

    apply(world, west, report, &["reviews-user-v3.yaml"]).await?;
    let jason = [("end-user", "jason")];
    eventually(SETTLE, "reviews v3 for jason only", || async {
        let his = versions(west, PER_USER, &jason).await?;
        let others = versions(west, PER_USER, &[]).await?;
        ensure!(his.get("v3") == Some(&PER_USER), "jason gets {his:?}");
        ensure!(others.get("v1") == Some(&PER_USER), "others get {others:?}");
        Ok(())
    })
    .await?;
    report.tick(format!("by header: jason gets v3 {PER_USER} times of {PER_USER}, everybody else v1"));
    Ok(())
}

/// Which releases answered, by count.
async fn versions(
    cluster: &Cluster,
    count: usize,
    headers: &[(&str, &str)],
) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut seen = BTreeMap::new();
    for fetched in cluster.fetch(URL, count, headers).await? {
        let key = match fetched.json()["version"].as_str() {
            Some(version) => version.to_owned(),
            None => fetched.to_string(),
        };
        *seen.entry(key).or_insert(0) += 1;
    }
    Ok(seen)
}
