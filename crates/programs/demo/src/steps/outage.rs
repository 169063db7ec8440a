//! Step 8: east's control plane is killed and traffic goes on; it comes back and changes flow again.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use super::federation::{IMPORTED, answers};
use crate::report::Report;
use crate::world::{Cluster, MESH, World, eventually};

/// How long traffic is watched without a control plane.
const WITHOUT: Duration = Duration::from_secs(5);
/// Calls per round.
const ROUND: usize = 10;
/// Time for the control plane to go, to come back, and for a change to arrive.
const SETTLE: Duration = Duration::from_secs(60);

pub(super) async fn run(world: &World, report: &mut Report) -> anyhow::Result<()> {
    report.step(8, "East loses its control plane: traffic goes on; it comes back: changes flow again");
    let (west, east) = (&world.west, &world.east);
    kill(east, report).await?;
    report.tick("east has no control plane");
    let start = Instant::now();
    let mut calls = 0;
    while start.elapsed() < WITHOUT {
        for fetched in west.fetch(IMPORTED, ROUND, &[]).await? {
            ensure!(fetched.is_ok(), "after {calls} calls one failed: {fetched}");
            calls += 1;
        }
        let local = east.fetch_one("http://reviews:9080/reviews/0", &[]).await?;
        ensure!(local.is_ok(), "a call inside east failed: {local}");
    }
    report.tick(format!(
        "{calls} calls from west to east within {} s, and those inside east: none failed",
        WITHOUT.as_secs()
    ));

    scale(east, 1).await?;
    report.command("kubectl -n istio-system scale deployment istiod --replicas=1");
    eventually(SETTLE, "istiod of east available", || available(east)).await?;
    report.tick("east's control plane is back");
    east.kubectl()?.apply(report, MESH, &world.manifests.path("federation/export-nothing.yaml")).await?;
    eventually(SETTLE, "the withdrawn export to take effect", || async {
        let seen = west.fetch_one(IMPORTED, &[]).await?;
        ensure!(!seen.is_ok(), "calls still work");
        Ok(())
    })
    .await?;
    east.kubectl()?.apply(report, MESH, &world.manifests.path("federation/export.yaml")).await?;
    eventually(SETTLE, "the service to come back", || answers(west, IMPORTED)).await?;
    report.tick("changes flow again: un-exported, refused; exported, served");
    Ok(())
}

/// Stops it without grace and keeps it down: as after a crash with nothing to restart it.
async fn kill(east: &Cluster, report: &Report) -> anyhow::Result<()> {
    let victim = east.pod(MESH, "app=istiod").await?;
    report.command("kubectl -n istio-system scale deployment istiod --replicas=0");
    scale(east, 0).await?;
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(east.client()?.clone(), MESH);
    let at_once = DeleteParams::default().grace_period(0);
    match pods.delete(&victim.name_any(), &at_once).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    eventually(SETTLE, "istiod of east gone", || async {
        let left = pods.list(&kube::api::ListParams::default().labels("app=istiod")).await?.items.len();
        ensure!(left == 0, "{left} Pods are left");
        Ok(())
    })
    .await
}

async fn scale(cluster: &Cluster, replicas: i32) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client()?.clone(), MESH);
    let patch = json!({"spec": {"replicas": replicas}});
    deployments.patch("istiod", &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

async fn available(cluster: &Cluster) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(cluster.client()?.clone(), MESH);
    let status = deployments.get("istiod").await?.status.context("no status")?;
    if status.available_replicas.unwrap_or(0) < 1 {
        bail!("istiod is not available yet");
    }
    Ok(())
}
