//! Step 2: the product page through the ingress gateway; every hop inside is mutual TLS with SPIFFE identities.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use kube::ResourceExt;

use super::apply::apply;
use crate::capture::Capture;
use crate::report::Report;
use crate::world::{APP, APP_PORT, Cluster, MESH, World, eventually};
use crate::{http, metrics};

/// Time for a new Gateway to take effect.
const SETTLE: Duration = Duration::from_secs(30);
/// Requests that are captured.
const REQUESTS: usize = 20;
/// What plaintext of these services would contain.
const PLAINTEXT: [&[u8]; 4] = [b"HTTP/1.1", b"GET /", b"Shakespeare", b"PRI * HTTP/2.0"];
/// Port of the proxy's own Prometheus statistics.
const STATS_PORT: u16 = 15090;

pub(super) async fn run(world: &World, report: &mut Report) -> anyhow::Result<()> {
    report.step(2, "The product page through west's ingress gateway; every hop inside is mutual TLS");
    let west = &world.west;
    apply(world, west, report, &["gateway.yaml"]).await?;
    let address = west.load_balancer(MESH, "istio-ingressgateway").await?;
    let url = format!("http://{address}/productpage");
    report.command(format!("curl {url}"));
    eventually(SETTLE, "the product page", || async {
        let answer = http::get(&url, &[]).await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.body);
        ensure!(answer.body.contains("The Comedy of Errors"), "another page: {}", answer.body);
        ensure!(answer.body.contains("Reviews served by"), "the page has no reviews: {}", answer.body);
        ensure!(answer.body.contains("publisher"), "the page has no details: {}", answer.body);
        Ok(())
    })
    .await?;
    report.tick(format!("{url} answers with details and reviews"));

    let capture = Capture::start(&west.node_netns())?;
    for _ in 0..REQUESTS {
        let answer = http::get(&url, &[]).await?;
        ensure!(answer.status == 200, "the product page answered {}", answer.status);
    }
    let segments = capture.finish().await?;
    for app in ["productpage", "details", "reviews"] {
        let mut carried = 0;
        let mut records = 0;
        for pod in west.pods(APP, &format!("app={app}")).await? {
            let ip = pod_ip(&pod)?;
            for segment in
                segments.iter().filter(|segment| segment.has_address(ip) && segment.has_port(APP_PORT))
            {
                carried += 1;
                records += usize::from(segment.is_tls_record());
                if PLAINTEXT.iter().any(|text| segment.contains(text)) {
                    bail!("the link of Pod {} carries plaintext", pod.name_any());
                }
            }
        }
        ensure!(
            carried > 0 && records > 0,
            "the capture saw no traffic of {app} ({carried} segments, {records} TLS records)"
        );
        report.tick(format!("packet capture: {carried} segments to and from {app}, {records} begin a TLS record, none holds plaintext"));
    }
    for (app, caller) in [
        ("productpage", "istio-ingressgateway-service-account"),
        ("details", "bookinfo-productpage"),
        ("reviews", "bookinfo-productpage"),
    ] {
        let seen = eventually(SETTLE, "metrics of mutual TLS", || identity(west, app, caller)).await?;
        report.tick(seen);
    }
    Ok(())
}

fn pod_ip(pod: &k8s_openapi::api::core::v1::Pod) -> anyhow::Result<Ipv4Addr> {
    let text =
        pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).context("a Pod without address")?;
    text.parse().with_context(|| format!("{text} is no IPv4 address"))
}

/// What the proxies of `app` say about their callers: Istio's metrics from ours, handshakes from a stock Envoy.
async fn identity(cluster: &Cluster, app: &str, caller: &str) -> anyhow::Result<String> {
    let principal = format!("spiffe://{}.local/", cluster.name);
    let mut mutual = 0.0;
    let mut handshakes = 0.0;
    for pod in cluster.pods(APP, &format!("app={app}")).await? {
        let samples = metrics::parse(&cluster.get(&pod, STATS_PORT, "/stats/prometheus").await?);
        for sample in &samples {
            if sample.name == "istio_requests_total" && sample.label("reporter") == "destination" {
                let source = sample.label("source_principal");
                let policy = sample.label("connection_security_policy");
                ensure!(policy == "mutual_tls", "{app} counts requests over {policy} from {source}");
                ensure!(source.starts_with(&principal), "{app} counts requests from {source}");
                if source.ends_with(&format!("/sa/{caller}")) {
                    mutual += sample.value;
                }
            }
            if sample.name == "envoy_listener_ssl_handshake" {
                handshakes += sample.value;
            }
        }
    }
    if mutual > 0.0 {
        return Ok(format!(
            "{app} counted {mutual} requests over mutual_tls from {principal}.../sa/{caller}"
        ));
    }
    ensure!(handshakes > 0.0, "{app} has counted no request from {caller} over mutual TLS");
    Ok(format!("{app}'s Envoy counted {handshakes} TLS handshakes with verified clients"))
}
