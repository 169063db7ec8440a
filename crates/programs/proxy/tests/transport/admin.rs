//! The admin pages: the counters that operators read, and an end that loses nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::config::*;
use crate::support::http2::{H2Client, collect, describe, describing, get, h2_peer};
use crate::support::tls::{Authority, Client};
use crate::support::{Config, Proxy, eventually, http, http_on, on_each};
use portolan_testing::{Peer, nobody, read_all};

/// Series of Prometheus that dashboards and alerts are made of.
const WATCHED: [&str; 46] = [
    "envoy_cluster_circuit_breakers_default_cx_open",
    "envoy_cluster_circuit_breakers_default_rq_open",
    "envoy_cluster_membership_healthy",
    "envoy_cluster_membership_total",
    "envoy_cluster_ssl_connection_error",
    "envoy_cluster_ssl_fail_verify_error",
    "envoy_cluster_ssl_fail_verify_san",
    "envoy_cluster_ssl_handshake",
    "envoy_cluster_upstream_cx_active",
    "envoy_cluster_upstream_cx_connect_attempts_exceeded",
    "envoy_cluster_upstream_cx_connect_fail",
    "envoy_cluster_upstream_cx_connect_timeout",
    "envoy_cluster_upstream_cx_http1_total",
    "envoy_cluster_upstream_cx_http2_total",
    "envoy_cluster_upstream_cx_none_healthy",
    "envoy_cluster_upstream_cx_overflow",
    "envoy_cluster_upstream_cx_rx_bytes_total",
    "envoy_cluster_upstream_cx_total",
    "envoy_cluster_upstream_cx_tx_bytes_total",
    "envoy_cluster_upstream_rq_completed",
    "envoy_cluster_upstream_rq_pending_failure_eject",
    "envoy_cluster_upstream_rq_pending_total",
    "envoy_cluster_upstream_rq_retry",
    "envoy_cluster_upstream_rq_total",
    "envoy_cluster_upstream_rq_timeout",
    "envoy_cluster_upstream_rq_xx",
    "envoy_cluster_upstream_rq",
    "envoy_http_downstream_cx_active",
    "envoy_http_downstream_cx_http1_total",
    "envoy_http_downstream_cx_http2_total",
    "envoy_http_downstream_cx_rx_bytes_total",
    "envoy_http_downstream_cx_ssl_total",
    "envoy_http_downstream_cx_total",
    "envoy_http_downstream_cx_tx_bytes_total",
    "envoy_http_downstream_rq_completed",
    "envoy_http_downstream_rq_http1_total",
    "envoy_http_downstream_rq_http2_total",
    "envoy_http_downstream_rq_total",
    "envoy_http_downstream_rq_xx",
    "envoy_http_no_route",
    "envoy_listener_downstream_cx_total",
    "envoy_listener_no_filter_chain_match",
    "envoy_listener_ssl_handshake",
    "envoy_tcp_downstream_cx_rx_bytes_total",
    "envoy_tcp_downstream_cx_total",
    "envoy_tcp_downstream_cx_tx_bytes_total",
];

/// What is watched and not counted by ours, with the reason.
const MISSING: [(&str, &str); 1] =
    [("envoy_cluster_upstream_rq ", "one counter for each status code; the classes are there")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_traffic_moves_the_same_counters() {
    let west = Authority::new("west.test");
    let server = west.account("server");
    let tls = downstream_tls(json!({"tls_certificates": server.config()}), json!({}));
    let (h2, echo) = (describing().await, Peer::echo().await);
    let mut all = BTreeMap::new();
    on_each(async |program| {
        let routes = json!([
            {"match": {"prefix": "/gone"}, "route": {
                "cluster": "gone", "retry_policy": {"retry_on": "connect-failure", "num_retries": 1},
            }},
            {"match": {"prefix": "/empty"}, "route": {"cluster": "empty"}},
            {"match": {"prefix": "/ok"}, "route": {"cluster": "h2"}},
        ]);
        let config = Config {
            listeners: vec![
                listener("web", vec![chain(manager("web", routes))]),
                listener("secure", vec![with(chain(forwarding("secure", "h2")), tls.clone())]),
                listener("tcp", vec![chain(tcp_proxy("tcp", json!({"cluster": "echo"})))]),
                listener("tcp-gone", vec![chain(tcp_proxy("tcp-gone", json!({"cluster": "gone"})))]),
                with(
                    listener(
                        "unmatched",
                        vec![with(
                            chain(answering("unmatched", "x")),
                            json!({"filter_chain_match": {"server_names": ["a.test"]}}),
                        )],
                    ),
                    json!({"listener_filters": [tls_inspector()]}),
                ),
            ],
            clusters: vec![
                with(cluster("h2", &[h2.address]), http2()),
                cluster("echo", &[echo.address]),
                cluster("gone", &[nobody()]),
                cluster("empty", &[]),
            ],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        let web = proxy.address("web").await;
        for (path, status) in [("/ok", 200), ("/gone", 503), ("/empty", 503), ("/none", 404)] {
            assert_eq!(http(web, "GET", path, "").await.unwrap().0, status, "{program:?}: {path}");
        }
        assert_eq!(H2Client::connect(web).await.ask(get("/ok")).await.unwrap().status, 200);
        let stream = Client::default().connect(proxy.address("secure").await).await.unwrap();
        assert_eq!(http_on(stream, "GET", "/", "").await.unwrap().0, 200, "{program:?}");
        let mut stream = TcpStream::connect(proxy.address("tcp").await).await.unwrap();
        stream.write_all(b"12345").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_all(stream).await, "12345", "{program:?}");
        read_all(TcpStream::connect(proxy.address("tcp-gone").await).await.unwrap()).await;
        let mut stream = TcpStream::connect(proxy.address("unmatched").await).await.unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
        read_all(stream).await;
        proxy.until_stat("tcp.tcp.downstream_cx_rx_bytes_total", 5).await;
        proxy.until_stat("http.web.downstream_rq_completed", 5).await;

        let (_, text) = proxy.get("/stats/prometheus").await.unwrap();
        let mut series = BTreeSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let (family, labels) = name.split_once('{').unwrap_or((name, ""));
            // Ports differ; the admin's own traffic is nobody's business.
            let labels = labels.trim_end_matches('}');
            let volatile = labels.contains("admin") || labels.contains("async-client");
            if WATCHED.contains(&family) && !volatile && value.parse::<f64>().is_ok_and(|value| value > 0.0) {
                let mut labels: Vec<_> = labels.split(',').collect();
                labels.sort_unstable();
                series.insert(format!("{family} {}", labels.join(",")));
            }
        }
        assert!(series.len() >= 30, "{program:?}: {series:?}");
        all.insert(format!("{program:?}"), series);
    })
    .await;
    if let (Some(ours), Some(envoys)) = (all.get("Ours"), all.get("Envoy")) {
        let known = |name: &&String| !MISSING.iter().any(|(family, _)| name.starts_with(family));
        let missing: Vec<_> = envoys.difference(ours).filter(known).collect();
        let more: Vec<_> = ours.difference(envoys).collect();
        assert!(missing.is_empty() && more.is_empty(), "missing: {missing:#?}\nonly ours: {more:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_survive_the_end() {
    let (release, held) = tokio::sync::watch::channel(false);
    let peer = h2_peer(h2::server::Builder::new(), move |request, respond, _| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|released| *released).await;
            describe(request, respond).await;
        }
    })
    .await;
    on_each(async |program| {
        release.send_replace(false);
        let config = Config {
            listeners: vec![listener("web", vec![chain(forwarding("web", "h2"))])],
            clusters: vec![with(cluster("h2", &[peer.address]), http2())],
            ..Config::default()
        };
        let mut proxy = Proxy::start(program, config).await;
        let at = proxy.address("web").await;
        assert_eq!(proxy.post("/healthcheck/fail").await.0, 200, "{program:?}");
        assert_eq!(proxy.get("/ready").await.unwrap().0, 503, "{program:?}");
        assert_eq!(proxy.post("/healthcheck/ok").await.0, 200, "{program:?}");
        assert_eq!(proxy.get("/ready").await.unwrap().0, 200, "{program:?}");
        assert_eq!(proxy.get("/quitquitquit").await.unwrap().0, 405, "{program:?}");

        let client = H2Client::connect(at).await;
        let (response, _stream) = client.start(get("/"), true).await.unwrap();
        let old = tokio::spawn(http(at, "GET", "/", ""));
        proxy.until_stat("cluster.h2.upstream_rq_active", 2).await;
        assert_eq!(proxy.post("/drain_listeners?graceful").await.0, 200, "{program:?}");
        eventually("closed listeners", async || TcpStream::connect(at).await.is_err().then_some(())).await;
        release.send_replace(true);
        assert_eq!(collect(response).await.unwrap().status, 200, "{program:?}");
        assert_eq!(old.await.unwrap().unwrap().0, 200, "{program:?}");
        assert_eq!(proxy.post("/quitquitquit").await.0, 200, "{program:?}");
        let ended = crate::support::in_time(proxy.child.wait()).await.unwrap();
        assert!(ended.success(), "{program:?}: {ended}");
    })
    .await;
}
