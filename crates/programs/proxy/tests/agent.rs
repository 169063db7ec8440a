//! The agent with our own data plane against a control plane double.

mod support;

use std::time::Duration;

use serde_json::json;
use support::istiod::{CLUSTER, ENDPOINTS, Istiod, LISTENER, SECRET, Seen};
use support::program::Program;
use support::{eventually, http};

fn cluster(name: &str) -> serde_json::Value {
    json!({"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": {"cluster_name": name}})
}

async fn seen(istiod: &Istiod, what: &str, check: impl Fn(&Seen) -> bool) -> Seen {
    eventually(what, async || istiod.seen().into_iter().find(&check)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resources_are_taken_rejected_and_resumed() {
    let istiod = Istiod::start().await;
    istiod.set(CLUSTER, "one", cluster("one"));
    let program = Program::start(&istiod, &[], &[]);

    // The stream carries the token, the node id and metadata, and what comes is accepted.
    let stream = seen(&istiod, "a stream", |s| matches!(s, Seen::Stream { .. })).await;
    let Seen::Stream { node, metadata, token, certificate } = stream else { unreachable!() };
    assert_eq!(node, "sidecar~127.0.0.1~shop-1.shop~shop.svc.cluster.local");
    assert!(token && !certificate);
    assert_eq!(metadata.get("CLUSTER_ID").map(String::as_str), Some("west"));
    assert_eq!(metadata.get("PORTOLAN_PROXY").map(String::as_str), Some("portolan"));
    for type_url in [CLUSTER, LISTENER] {
        seen(&istiod, "an ACK", |s| matches!(s, Seen::Ack { type_url: t } if t == type_url)).await;
    }
    seen(&istiod, "the question for trust bundles", |s| {
        matches!(s, Seen::Subscribe { type_url, names, .. } if type_url == SECRET && names == &["ROOTCA"])
    })
    .await;

    // A bad resource is refused by name; the good one that came with it is kept.
    istiod.set_bytes(SECRET, "ROOTCA", b"\xff\xff".to_vec());
    let nack = seen(&istiod, "a NACK", |s| matches!(s, Seen::Nack { .. })).await;
    assert!(
        matches!(&nack, Seen::Nack { type_url, reason } if type_url == SECRET && reason.starts_with("ROOTCA: ")),
        "{nack:?}"
    );

    // After a break the client says what it holds already.
    istiod.forget();
    istiod.cut();
    seen(
        &istiod,
        "the resumed subscription",
        |s| matches!(s, Seen::Subscribe { type_url, held: 1, .. } if type_url == CLUSTER),
    )
    .await;

    eventually("the statistics of the second stream", async || {
        let (_, body) = http("GET", &program.admin(), "/stats?filter=control_plane").await?;
        body.contains("control_plane.connections_total: 2").then_some(())
    })
    .await;
    // Without a token the workload's own certificate takes its place.
    eventually("the first certificate", async || {
        let (_, metrics) = http("GET", &program.status(), "/stats/prometheus").await?;
        metrics.contains("istio_agent_cert_expiry_seconds").then_some(())
    })
    .await;
    std::fs::remove_file(program.directory.path().join("token")).unwrap();
    istiod.forget();
    istiod.cut();
    seen(&istiod, "a stream with a client certificate", |s| {
        matches!(s, Seen::Stream { token: false, certificate: true, .. })
    })
    .await;
    assert!(program.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_plane_without_delta_is_asked_for_the_world() {
    let istiod = Istiod::start().await.without_delta();
    istiod.set(CLUSTER, "one", cluster("one"));
    let program = Program::start(&istiod, &[], &[]);
    for type_url in [CLUSTER, LISTENER] {
        seen(&istiod, "an ACK", |s| matches!(s, Seen::Ack { type_url: t } if t == type_url)).await;
    }
    istiod.set_bytes(CLUSTER, "two", b"\xff".to_vec());
    let nack = seen(&istiod, "a NACK", |s| matches!(s, Seen::Nack { .. })).await;
    assert!(matches!(&nack, Seen::Nack { type_url, .. } if type_url == CLUSTER), "{nack:?}");
    assert!(program.terminate().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_answer() {
    let istiod = Istiod::start().await;
    istiod.set(CLUSTER, "one", cluster("one"));
    istiod.set_certificate_ttl(Duration::from_secs(4));
    let app = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = app.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = app.accept().await {
            let mut request = [0; 1024];
            let n = stream.read(&mut request).await.unwrap_or(0);
            let answer: &[u8] = match &request[..n] {
                r if r.starts_with(b"GET /metrics") => {
                    b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nshop 42\n"
                }
                _ => b"HTTP/1.1 204 No Content\r\n\r\n",
            };
            let _ = stream.write_all(answer).await;
        }
    });
    let scrape = format!(r#"{{"scrape":"true","path":"/metrics","port":"{port}"}}"#);
    let probes = format!(r#"{{"/app-health/shop/readyz":{{"httpGet":{{"path":"/","port":{port}}}}}}}"#);
    let program = Program::start(
        &istiod,
        &[],
        &[("ISTIO_PROMETHEUS_ANNOTATIONS", &scrape), ("ISTIO_KUBE_APP_PROBERS", &probes)],
    );
    program.ready().await;

    let status = program.status();
    let get = async |path: &str| http("GET", &status, path).await.unwrap();
    assert_eq!(get("/healthz/ready").await.0, 200);
    assert_eq!(get("/app-health/shop/readyz").await.0, 204);
    assert_eq!(get("/app-health/shop/livez").await.0, 404);
    assert_eq!(get("/quitquitquit").await.0, 405);
    let (_, metrics) = get("/stats/prometheus").await;
    for line in ["shop 42", "istio_agent_istiod_connected 1", "envoy_server_live{} 1"] {
        assert!(metrics.lines().any(|l| l == line), "{line} is missing in\n{metrics}");
    }

    // Certificates are renewed before they end.
    eventually("two renewals", async || {
        (istiod.seen().iter().filter(|s| matches!(s, Seen::Csr { token: true, .. })).count() >= 3)
            .then_some(())
    })
    .await;

    let (_, dump) = http("GET", &program.admin(), "/config_dump").await.unwrap();
    let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
    assert!(dump["configs"][1]["dynamic_active_clusters"].to_string().contains("\"one\""), "{dump:#}");

    assert_eq!(http("POST", &status, "/quitquitquit").await.unwrap().0, 200);
    let mut program = program;
    let ended = tokio::time::timeout(support::PATIENCE, program.child.wait()).await.unwrap().unwrap();
    assert!(ended.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_subscribed_as_the_data_path_needs_them() {
    let istiod = Istiod::start().await;
    let eds = json!({
        "name": "one", "type": "EDS", "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
    });
    istiod.set(CLUSTER, "one", eds);
    istiod.set(ENDPOINTS, "one", json!({"cluster_name": "one"}));
    let program = Program::start(&istiod, &[], &[]);
    program.ready().await;
    seen(&istiod, "the subscription to endpoints", |s| {
        matches!(s, Seen::Subscribe { type_url, names, .. } if type_url == ENDPOINTS && names == &["one"])
    })
    .await;
    seen(&istiod, "the ACK of endpoints", |s| matches!(s, Seen::Ack { type_url } if type_url == ENDPOINTS))
        .await;
    program.terminate().await;
}
