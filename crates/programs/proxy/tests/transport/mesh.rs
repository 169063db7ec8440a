//! A pair of sidecars of ours: Istio's metrics on both ends with all their labels, over HTTP and TCP.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::config::*;
use crate::support::http2::describing;
use crate::support::tls::{Authority, Identity};
use crate::support::{Config, Program, Proxy, eventually, http};
use portolan_testing::{Peer, read_all};

fn node(name: &str) -> Value {
    json!({
        "id": format!("sidecar~127.0.0.1~{name}-0.shop~shop.svc.cluster.local"),
        "cluster": format!("{name}.shop"),
        "metadata": {
            "NAME": format!("{name}-0"), "NAMESPACE": "shop", "WORKLOAD_NAME": name, "CLUSTER_ID": "west",
            "MESH_ID": "west.test", "SERVICE_ACCOUNT": name,
            "OWNER": format!("kubernetes://apis/apps/v1/namespaces/shop/deployments/{name}"),
            "LABELS": {
                "app": name, "version": "v1", "service.istio.io/canonical-name": name,
                "service.istio.io/canonical-revision": "v1",
            },
        },
    })
}

fn filters() -> Value {
    json!({"http_filters": [
        {"name": "istio.metadata_exchange"},
        {"name": "istio.alpn"},
        {"name": "istio.stats"},
        {
            "name": "envoy.filters.http.router",
            "typed_config": any("extensions.filters.http.router.v3.Router", json!({})),
        },
    ]})
}

fn tcp_chain(prefix: &str, cluster: &str) -> Value {
    json!({"filters": [
        {"name": "istio.metadata_exchange"},
        {"name": "istio.stats"},
        tcp_proxy(prefix, json!({"cluster": cluster})),
    ]})
}

fn service(port: u16, service: &str) -> Value {
    json!({"metadata": {"filter_metadata": {"istio": {"services": [{
        "host": format!("{service}.shop.svc.cluster.local"), "name": service, "namespace": "shop",
    }]}}}, "name": format!("outbound|{port}||{service}.shop.svc.cluster.local")})
}

fn context(root: &str, alpn: &[&str], peer: Value) -> Value {
    json!({
        "alpn_protocols": alpn, "tls_certificate_sds_secret_configs": [{"name": "default"}],
        "validation_context": with(
            json!({"trusted_ca": inline(root)}),
            json!({"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": peer}]}),
        ),
    })
}

/// The workload's own certificate, as the agent hands it out.
fn secret(own: &Identity) -> Vec<Value> {
    vec![json!({"name": "default", "tls_certificate": own.config()[0]})]
}

type Series = BTreeMap<String, String>;

/// Series of a family with their values.
fn series(text: &str, family: &str) -> Vec<(Series, f64)> {
    let of = |line: &str| {
        let (labels, value) = line.strip_prefix(family)?.strip_prefix('{')?.rsplit_once("} ")?;
        let labels = labels.split("\",").map(|pair| {
            let (name, value) = pair.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        });
        Some((labels.collect(), value.parse().unwrap()))
    };
    text.lines().filter_map(of).collect()
}

fn expected(reporter: &str, protocol: &str, more: &[(&str, &str)]) -> Series {
    let inbound = reporter == "destination";
    let policy = if inbound { "mutual_tls" } else { "unknown" };
    let mut out: Series = [
        ("reporter", reporter),
        ("source_workload", "cart"),
        ("source_workload_namespace", "shop"),
        ("source_principal", "spiffe://west.test/ns/shop/sa/cart"),
        ("source_app", "cart"),
        ("source_version", "v1"),
        ("source_cluster", "west"),
        ("source_canonical_service", "cart"),
        ("source_canonical_revision", "v1"),
        ("destination_workload", "stock"),
        ("destination_workload_namespace", "shop"),
        ("destination_principal", "spiffe://west.test/ns/shop/sa/stock"),
        ("destination_app", "stock"),
        ("destination_version", "v1"),
        ("destination_cluster", "west"),
        ("destination_canonical_service", "stock"),
        ("destination_canonical_revision", "v1"),
        ("destination_service", "stock.shop.svc.cluster.local"),
        ("destination_service_name", "stock"),
        ("destination_service_namespace", "shop"),
        ("request_protocol", protocol),
        ("response_flags", "-"),
        ("connection_security_policy", policy),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    out.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn istio_metrics_of_a_pair() {
    let west = Authority::new("west.test");
    let (cart, stock) = (west.account("cart"), west.account("stock"));
    let (app, echo) = (describing().await, Peer::echo().await);
    let everybody = json!({"prefix": "spiffe://west.test/"});
    let routes = |cluster: &str| json!([{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]);
    let mutual = |alpn: &[&str]| {
        let common = context(west.root(), alpn, everybody.clone());
        downstream_tls(common, json!({"require_client_certificate": true}))
    };
    let inbound = |name: &str, chain: Value| {
        with(
            listener(name, vec![chain]),
            json!({"traffic_direction": "INBOUND", "listener_filters": [tls_inspector()]}),
        )
    };
    let inner = |name: &str, host: &Peer, port: u16| {
        with(with(cluster(name, &[host.address]), service(port, "stock")), json!({"name": name}))
    };
    let server = Proxy::start(
        Program::Ours,
        Config {
            node: Some(node("stock")),
            tracing: None,
            secrets: secret(&stock),
            listeners: vec![
                inbound(
                    "http",
                    with(
                        chain(manager_with("inbound", routes("inbound|80||"), filters())),
                        mutual(&["h2", "http/1.1"]),
                    ),
                ),
                inbound(
                    "tcp",
                    with(tcp_chain("inbound", "inbound|90||"), mutual(&["istio-peer-exchange", "istio"])),
                ),
            ],
            clusters: vec![with(inner("inbound|80||", &app, 80), http2()), inner("inbound|90||", &echo, 90)],
        },
    )
    .await;
    let exact = json!({"exact": "spiffe://west.test/ns/shop/sa/stock"});
    let outer = |at: std::net::SocketAddr, port: u16, alpn: &[&str]| {
        let tls = upstream_tls(
            context(west.root(), alpn, exact.clone()),
            json!({"sni": format!("outbound_.{port}_._.stock.shop.svc.cluster.local")}),
        );
        let workload =
            json!({"metadata": {"filter_metadata": {"istio": {"workload": "stock;shop;stock;v1;west"}}}});
        let mut cluster = with(with(cluster("x", &[at]), service(port, "stock")), tls);
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["metadata"] =
            workload["metadata"].clone();
        cluster
    };
    let outbound = |name: &str, chain: Value| {
        with(listener(name, vec![chain]), json!({"traffic_direction": "OUTBOUND"}))
    };
    let client = Proxy::start(
        Program::Ours,
        Config {
            node: Some(node("cart")),
            tracing: None,
            secrets: secret(&cart),
            listeners: vec![
                outbound(
                    "http",
                    chain(manager_with(
                        "outbound",
                        routes("outbound|80||stock.shop.svc.cluster.local"),
                        filters(),
                    )),
                ),
                outbound("tcp", tcp_chain("outbound", "outbound|90||stock.shop.svc.cluster.local")),
            ],
            clusters: vec![
                outer(server.address("http").await, 80, &["istio-peer-exchange", "istio"]),
                outer(server.address("tcp").await, 90, &["istio-peer-exchange", "istio"]),
            ],
        },
    )
    .await;
    for _ in 0..3 {
        let (status, body) = http(client.address("http").await, "GET", "/", "").await.unwrap();
        assert_eq!(status, 200);
        let seen: Value = serde_json::from_str(&body).unwrap();
        // What sidecars tell each other is not for applications.
        assert!(!body.contains("x-envoy-peer-metadata"), "{seen}");
    }
    let mut stream = TcpStream::connect(client.address("tcp").await).await.unwrap();
    stream.write_all(b"12345").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(stream).await, "12345");

    let mut wrong = Vec::new();
    for (proxy, reporter) in [(&client, "source"), (&server, "destination")] {
        let text = eventually("closed connections", async || {
            let (_, text) = proxy.get("/stats/prometheus").await?;
            let closed = series(&text, "istio_tcp_connections_closed_total");
            closed.iter().any(|(_, value)| *value == 1.0).then_some(text)
        })
        .await;
        let http = expected(reporter, "http", &[("response_code", "200"), ("grpc_response_status", "")]);
        // Metadata is not exchanged over TCP yet: the source knows what the endpoint's metadata says, the destination knows
        // the certificate.
        let unknown: &[&str] = match reporter {
            "source" => &["destination_app", "destination_version"],
            _ => &[
                "source_workload",
                "source_workload_namespace",
                "source_app",
                "source_version",
                "source_cluster",
                "source_canonical_service",
                "source_canonical_revision",
            ],
        };
        let unknown: Vec<_> = unknown.iter().map(|name| (*name, "unknown")).collect();
        let tcp = expected(reporter, "tcp", &unknown);
        let mut check = |family: &str, labels: &Series, value: f64| {
            let all = series(&text, family);
            if all != [(labels.clone(), value)] {
                let differs = |(found, value): &(Series, f64)| {
                    let names = found.keys().chain(labels.keys());
                    let fields: std::collections::BTreeSet<_> =
                        names.filter(|name| found.get(*name) != labels.get(*name)).collect();
                    format!(
                        "{value} {:?}",
                        fields.iter().map(|name| (*name, found.get(*name))).collect::<Vec<_>>()
                    )
                };
                wrong.push(format!(
                    "{reporter} {family}: {:?}, not {value}",
                    all.iter().map(differs).collect::<Vec<_>>()
                ));
            }
        };
        check("istio_requests_total", &http, 3.0);
        for family in ["istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"] {
            check(&format!("{family}_count"), &http, 3.0);
        }
        check("istio_tcp_connections_opened_total", &tcp, 1.0);
        check("istio_tcp_connections_closed_total", &tcp, 1.0);
        check("istio_tcp_received_bytes_total", &tcp, 5.0);
        check("istio_tcp_sent_bytes_total", &tcp, 5.0);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
