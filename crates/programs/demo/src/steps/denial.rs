//! Step 4: an AuthorizationPolicy denies one caller; the access log says why; without it the caller is served.

use std::time::Duration;

use anyhow::ensure;

use super::apply::{apply, delete};
use crate::report::Report;
use crate::world::{APP, World, eventually};

/// Time for a policy to take effect.
const SETTLE: Duration = Duration::from_secs(20);
const URL: &str = "http://details:9080/details/0";
/// A path that needs details, asked of product page: another caller of the same service.
const OTHER: &str = "http://productpage:9080/api/v1/products/0";
/// What the access log says of the policy (RESPONSE_CODE_DETAILS of Envoy's RBAC filter).
const REASON: &str = "rbac_access_denied_matched_policy[ns[bookinfo]-policy[deny-client]-rule[0]]";

pub(super) async fn run(world: &World, report: &mut Report) -> anyhow::Result<()> {
    report.step(4, "An AuthorizationPolicy denies one caller, and the access log says why");
    let west = &world.west;
    let before = west.fetch_one(URL, &[]).await?;
    ensure!(before.is_ok(), "before the policy, client gets from details: {before}");
    apply(world, west, report, &["deny-client.yaml"]).await?;
    eventually(SETTLE, "403 for client", || async {
        let seen = west.fetch_one(URL, &[]).await?;
        ensure!(seen.status == Some(403), "client gets {seen}");
        Ok(())
    })
    .await?;
    report.tick("client gets 403 from details");
    let other = west.fetch_one(OTHER, &[]).await?;
    ensure!(other.is_ok(), "productpage gets from details: {other}");
    report.tick("productpage still gets 200 from details");
    let pod = west.pod(APP, "app=details").await?;
    eventually(SETTLE, "the reason in the access log", || async {
        let log = west.log(&pod, "istio-proxy").await?;
        let last = log.lines().rev().find(|line| line.contains("/details/0")).unwrap_or_default();
        ensure!(log.contains(REASON), "the last line about details is: {last}");
        Ok(())
    })
    .await?;
    report.tick(format!("details' access log: 403 ... {REASON}"));
    delete(world, west, report, "deny-client.yaml").await?;
    eventually(SETTLE, "200 for client again", || async {
        let seen = west.fetch_one(URL, &[]).await?;
        ensure!(seen.is_ok(), "client gets {seen}");
        Ok(())
    })
    .await?;
    report.tick("policy deleted: client gets 200");
    Ok(())
}
