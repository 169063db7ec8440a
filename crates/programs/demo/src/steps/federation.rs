//! Step 5: before the import nothing of east can be reached from west; after it, ratings answers, through the
//! federation gateways on 15443, discovered through them on 8188.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use portolan_resources::{ImportedServiceSet, ServiceMeshPeer};
use serde_json::json;

use super::apply::apply;
use crate::capture::{Capture, Segment};
use crate::report::Report;
use crate::world::{APP, APP_PORT, Cluster, MESH, World, eventually};

/// Time for the meshes to find each other.
const CONNECT: Duration = Duration::from_secs(60);
/// Time for a route to take effect.
const SETTLE: Duration = Duration::from_secs(30);
const DISCOVERY_PORT: u16 = 8188;
const SERVICE_PORT: u16 = 15443;
/// Requests whose way is followed.
const REQUESTS: usize = 10;
/// The imported service.
pub(super) const IMPORTED: &str = "http://ratings.bookinfo.svc.east-imports.local:9080/ratings/0";
/// The name that west's own reviews use.
pub(super) const LOCAL: &str = "http://ratings:9080/ratings/0";

pub(super) async fn run(world: &World, report: &mut Report) -> anyhow::Result<()> {
    report.step(5, "Federation: west uses ratings of east, and nothing else of it");
    let (west, east) = (&world.west, &world.east);
    unreachable(west, east, report).await?;

    // Who may talk to whom is decided by both sides: each has the other's root certificate and address.
    for (cluster, peer) in [(west, east), (east, west)] {
        let root = root_certificate(peer).await?;
        let file = format!("{}-ca-root-cert.yaml", peer.name);
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("{}-ca-root-cert", peer.name), "namespace": MESH},
            "data": {"root-cert.pem": root},
        });
        world.manifests.add(&file, &map)?;
        let gateway = peer.load_balancer(MESH, &format!("{}-ingress", cluster.name)).await?;
        let placeholder = format!("{}_GATEWAY", peer.name.to_uppercase());
        let peer_file = format!("federation/{}-peer.yaml", cluster.name);
        world.manifests.fill(&peer_file, &placeholder, &gateway)?;
        cluster.kubectl()?.apply(report, MESH, &world.manifests.path(&file)).await?;
    }
    let capture = Capture::start(&west.node_netns())?;
    for (cluster, file) in [
        (west, "federation/west-peer.yaml"),
        (east, "federation/east-peer.yaml"),
        (east, "federation/export.yaml"),
        (west, "federation/import.yaml"),
    ] {
        cluster.kubectl()?.apply(report, MESH, &world.manifests.path(file)).await?;
    }
    for cluster in [west, east] {
        eventually(CONNECT, "discovery connected", || connected(cluster)).await?;
        report.tick(format!(
            "{}: discovery with {} is connected (status of ServiceMeshPeer)",
            cluster.name, cluster.peer
        ));
    }
    let discovery = crossed(&capture.finish().await?, DISCOVERY_PORT, &gateway_of(east, "west").await?)?;
    report.tick(format!("discovery crossed the link on {DISCOVERY_PORT}, as TLS ({discovery} segments)"));

    eventually(CONNECT, "ratings in the import status", || imported(west)).await?;
    report.tick("ImportedServiceSet lists ratings.bookinfo.svc.east-imports.local");
    eventually(SETTLE, "the imported service", || answers(west, IMPORTED)).await?;
    report.tick("ratings.bookinfo.svc.east-imports.local answers in west");

    let in_west = Capture::start(&west.node_netns())?;
    let in_east = Capture::start(&east.node_netns())?;
    let results = west.fetch(IMPORTED, REQUESTS, &[]).await?;
    let ok = results.iter().filter(|fetched| fetched.is_ok()).count();
    let (seen_west, seen_east) = (in_west.finish().await?, in_east.finish().await?);
    ensure!(ok == REQUESTS, "only {ok} of {REQUESTS} requests were answered: {}", list(&results));
    let egress = west.pod(MESH, "app=east-egress").await?;
    let ingress = east.pod(MESH, "app=west-ingress").await?;
    let first = through(&seen_west, &egress)?;
    let last = through(&seen_east, &ingress)?;
    report.tick(format!(
        "{REQUESTS} requests crossed west's egress gateway ({first} segments on {SERVICE_PORT}) and east's ingress gateway ({last}), all as TLS"
    ));

    apply(world, west, report, &["federation/ratings-local-name.yaml"]).await?;
    eventually(SETTLE, "the local name", || answers(west, LOCAL)).await?;
    report.tick("the local name `ratings` answers too, through a VirtualService");
    Ok(())
}

fn list(results: &[crate::world::Fetched]) -> String {
    results.iter().find(|fetched| !fetched.is_ok()).map(ToString::to_string).unwrap_or_default()
}

/// Tries every way in that there is before the import.
async fn unreachable(west: &Cluster, east: &Cluster, report: &mut Report) -> anyhow::Result<()> {
    let ratings = east.pod(APP, "app=ratings").await?;
    let pod_ip = ratings.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
    let gateway = gateway_of(east, "west").await?;
    let ways = [
        IMPORTED.to_owned(),
        LOCAL.to_owned(),
        format!("http://{pod_ip}:{APP_PORT}/ratings/0"),
        format!("http://{gateway}:{SERVICE_PORT}/ratings/0"),
        format!("http://{gateway}:{APP_PORT}/ratings/0"),
    ];
    for way in &ways {
        let seen = west.fetch_one(way, &[]).await?;
        if seen.is_ok() {
            bail!("{way} answers in west before anything was exported: {seen}");
        }
    }
    report.tick(format!("before: none of {} ways from west reaches ratings", ways.len()));
    Ok(())
}

async fn gateway_of(cluster: &Cluster, peer: &str) -> anyhow::Result<String> {
    cluster.load_balancer(MESH, &format!("{peer}-ingress")).await
}

async fn root_certificate(cluster: &Cluster) -> anyhow::Result<String> {
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?.clone(), MESH);
    maps.get("istio-ca-root-cert")
        .await?
        .data
        .and_then(|mut data| data.remove("root-cert.pem"))
        .with_context(|| format!("{} has no root certificate yet", cluster.name))
}

async fn connected(cluster: &Cluster) -> anyhow::Result<()> {
    let peers: Api<ServiceMeshPeer> = Api::namespaced(cluster.client()?.clone(), MESH);
    let peer = json!(peers.get(cluster.peer).await?);
    let status = &peer["status"]["discoveryStatus"];
    let active = status["active"].as_array().into_iter().flatten();
    ensure!(active.clone().any(|entry| entry["watch"]["connected"] == true), "{}: {status}", cluster.name);
    Ok(())
}

async fn imported(west: &Cluster) -> anyhow::Result<()> {
    let sets: Api<ImportedServiceSet> = Api::namespaced(west.client()?.clone(), MESH);
    let set = json!(sets.get("east").await?);
    let list = &set["status"]["importedServices"];
    let found = list.as_array().into_iter().flatten();
    let names: Vec<&str> = found
        .filter_map(|entry| entry["localService"]["hostname"].as_str())
        .filter(|name| !name.is_empty())
        .collect();
    ensure!(names.contains(&"ratings.bookinfo.svc.east-imports.local"), "status lists {list}");
    Ok(())
}

/// Does the URL answer what ratings answers?
pub(super) async fn answers(west: &Cluster, url: &str) -> anyhow::Result<()> {
    let seen = west.fetch_one(url, &[]).await?;
    ensure!(seen.is_ok() && seen.json()["ratings"]["Reviewer1"].is_number(), "{url} gives {seen}");
    Ok(())
}

/// Segments on a port with an address; all must be TLS, none readable.
fn crossed(segments: &[Segment], port: u16, address: &str) -> anyhow::Result<usize> {
    let address = address.parse().with_context(|| format!("{address} is no address"))?;
    let on_way: Vec<&Segment> =
        segments.iter().filter(|segment| segment.has_port(port) && segment.has_address(address)).collect();
    ensure!(on_way.iter().any(|segment| segment.is_tls_record()), "no TLS on port {port} with {address}");
    ensure!(!on_way.iter().any(|segment| segment.contains(b"HTTP/1.1")), "plaintext on port {port}");
    Ok(on_way.len())
}

fn through(segments: &[Segment], gateway: &k8s_openapi::api::core::v1::Pod) -> anyhow::Result<usize> {
    let ip = gateway.status.as_ref().and_then(|status| status.pod_ip.clone()).unwrap_or_default();
    crossed(segments, SERVICE_PORT, &ip)
}
