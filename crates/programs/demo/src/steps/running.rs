//! Step 1: both clusters answer kubectl; Pods run, each in its own network namespace with its sidecar.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use super::apply::apply;
use crate::report::Report;
use crate::world::{APP, Cluster, World, eventually, is_ready};

/// Time for the sample's Pods to come up.
const READY: Duration = Duration::from_secs(120);

pub(super) async fn run(world: &World, report: &mut Report) -> anyhow::Result<()> {
    report.step(1, "Both clusters answer kubectl; every Pod has its own network namespace and its sidecar");
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": APP, "labels": {"istio-injection": "enabled"}},
    });
    world.manifests.add("namespace.yaml", &namespace)?;
    for (cluster, files) in [
        (&world.west, &["bookinfo-west.yaml"][..]),
        (&world.east, &["bookinfo.yaml", "ratings-beta.yaml"][..]),
    ] {
        if cluster.kubectl()?.is_real() {
            let nodes = cluster.kubectl()?.run(&["get", "nodes", "--no-headers"]).await?;
            ensure!(
                nodes.contains("Ready") && !nodes.contains("NotReady"),
                "{}: kubectl get nodes says {nodes}",
                cluster.name
            );
            report.tick(format!(
                "{} answers kubectl: node {}",
                cluster.name,
                nodes.split_whitespace().next().unwrap_or("")
            ));
        }
        apply(world, cluster, report, &["namespace.yaml"]).await?;
        apply(world, cluster, report, files).await?;
    }
    for (cluster, expected) in [(&world.west, 6), (&world.east, 8)] {
        let pods =
            eventually(READY, "all Pods of the sample ready", || pods_ready(cluster, expected)).await?;
        report.tick(format!(
            "{}: {} Pods of the sample are ready, each with its sidecar",
            cluster.name,
            pods.len()
        ));
        let distinct = namespaces_of(cluster, &pods)?;
        report.tick(format!("{}: they live in {distinct} network namespaces of their own", cluster.name));
    }
    Ok(())
}

async fn pods_ready(cluster: &Cluster, expected: usize) -> anyhow::Result<Vec<Pod>> {
    let pods = cluster.pods(APP, "").await?;
    ensure!(pods.len() == expected, "{} has {} Pods instead of {expected}", cluster.name, pods.len());
    for pod in &pods {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let sidecars = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        if !containers.chain(sidecars).any(|container| container.name == "istio-proxy") {
            bail!("Pod {} of {} has no sidecar", pod.name_any(), cluster.name);
        }
        ensure!(is_ready(pod), "Pod {} of {} is not ready", pod.name_any(), cluster.name);
    }
    Ok(pods)
}

/// Counts distinct network namespaces by their inode; the host's own must not be among them.
fn namespaces_of(cluster: &Cluster, pods: &[Pod]) -> anyhow::Result<usize> {
    let host = std::fs::metadata("/proc/self/ns/net").context("reading /proc/self/ns/net")?.ino();
    let mut seen = HashSet::from([host]);
    for pod in pods {
        let uid: String = pod.uid().unwrap_or_default().chars().take(8).collect();
        let path = format!("/run/netns/{}-{uid}", cluster.node_netns());
        let inode =
            std::fs::metadata(&path).with_context(|| format!("{path} of Pod {}", pod.name_any()))?.ino();
        ensure!(seen.insert(inode), "Pod {} shares its network namespace", pod.name_any());
    }
    Ok(seen.len() - 1)
}
