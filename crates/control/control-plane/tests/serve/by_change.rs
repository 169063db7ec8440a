//! Who hears of what.

use portolan_xds::type_url::{CLUSTER, LISTENER, ROUTE, SECRET, VIRTUAL_HOST};
use serde_json::json;

use super::{Plane, Proxy, endpoints, named, node, start};

const REVIEWS: &str = "outbound|9080||reviews.bookinfo.svc.cluster.local";

fn service(plane: &Plane, name: &str, ip: &str) {
    plane.api.fake.apply(
        "/api/v1/services",
        json!({"metadata": {"name": name, "namespace": "bookinfo"},
            "spec": {"clusterIP": ip, "ports": [{"name": "http", "port": 9080}]}}),
    );
}

fn certificate(plane: &Plane, key: &str) {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let data = json!({"tls.crt": STANDARD.encode("certificate"), "tls.key": STANDARD.encode(key)});
    let object = json!({"metadata": {"name": "cert", "namespace": "bookinfo"}, "data": data});
    plane.api.fake.apply("/api/v1/secrets", object);
}

async fn sidecar(plane: &Plane, types: &[&str]) -> Proxy {
    let channel = plane.channel(None).await;
    Proxy::connect(channel, "bookinfo:reviews", node("bookinfo", "reviews"), types).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_concerns_those_who_ask_for_it() {
    let plane = start().await;
    certificate(&plane, "first");
    let mut sidecar = sidecar(&plane, &[CLUSTER]).await;
    sidecar.next_of(CLUSTER).await;
    let gateway = named("router~10.64.0.9~gateway-1", "bookinfo", "gateway", "10.64.0.9");
    let channel = plane.channel(None).await;
    let mut gateway = Proxy::connect(channel, "bookinfo:gateway", gateway, &[CLUSTER]).await.unwrap();
    gateway.next_of(CLUSTER).await;
    gateway.ask(SECRET, ["kubernetes://cert"]).await;
    let first = gateway.next_of(SECRET).await;
    assert_eq!(first.upserts.len(), 1);

    certificate(&plane, "second");
    let second = gateway.next_of(SECRET).await;
    assert_ne!(first.upserts[0].body, second.upserts[0].body);
    plane.api.fake.delete("/api/v1/secrets", "bookinfo/cert");
    assert_eq!(gateway.next_of(SECRET).await.removed, ["kubernetes://cert"]);

    // The sidecar has heard of nothing.
    let (_, metrics) = plane.http(plane.args.monitoring_port, "/metrics").await.unwrap();
    assert!(metrics.contains("pilot_xds_pushes{type=\"cds\"} 2\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_service_is_one_cluster_and_one_virtual_host() {
    let plane = start().await;
    let mut proxy = sidecar(&plane, &[CLUSTER, LISTENER, VIRTUAL_HOST]).await;
    proxy.next_of(VIRTUAL_HOST).await;
    proxy.ask(ROUTE, ["9080"]).await;
    assert_eq!(proxy.next_of(ROUTE).await.upserts.len(), 1);

    service(&plane, "ratings", "10.96.0.8");
    let clusters = proxy.next().await.unwrap();
    assert_eq!((clusters.type_url.as_str(), clusters.upserts.len()), (CLUSTER, 1));
    let hosts = proxy.next().await.unwrap();
    assert_eq!((hosts.type_url.as_str(), hosts.upserts.len()), (VIRTUAL_HOST, 1), "the route stays as it is");
    assert!(hosts.upserts[0].name.starts_with("9080/ratings."), "{}", hosts.upserts[0].name);

    // To compare everything finds nothing that was forgotten.
    let (code, answer) = plane.http(plane.args.monitoring_port, "/debug/adsz?push=true").await.unwrap();
    assert_eq!((code, answer.as_str()), (200, "Pushed to 1 servers\n"));
    plane.api.fake.delete("/api/v1/services", "bookinfo/ratings");
    assert_eq!(proxy.next().await.unwrap().removed, ["outbound|9080||ratings.bookinfo.svc.cluster.local"]);

    let shown = plane.debug("/debug/derivez").await;
    let clusters = &shown["work"]["cds"];
    assert!(clusters["live"].as_u64() > Some(0), "{shown}");
    assert!(clusters["made"].as_u64() >= clusters["live"].as_u64(), "{shown}");
    assert_eq!(shown["refused"], json!([]));
    let (_, metrics) = plane.http(plane.args.monitoring_port, "/metrics").await.unwrap();
    for line in ["made_total", "unchanged_total", "failed_total", "live"] {
        assert!(metrics.contains(&format!("\nportolan_derived_{line}{{kind=\"cds\"}} ")), "{metrics}");
    }
    assert!(metrics.contains("\nportolan_resources_sent_total{type=\"vhds\"} "), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_of_its_pod_shows_a_proxy_another_mesh() {
    let plane = start().await;
    let fake = &plane.api.fake;
    fake.apply(
        "/apis/networking.istio.io/v1beta1/sidecars",
        json!({"metadata": {"name": "narrow", "namespace": "bookinfo"}, "spec": {
            "workloadSelector": {"labels": {"size": "small"}}, "egress": [{"hosts": ["istio-system/*"]}]}}),
    );
    let mut proxy = sidecar(&plane, &[CLUSTER]).await;
    let all = proxy.next_of(CLUSTER).await;
    assert!(all.upserts.iter().any(|upsert| upsert.name == REVIEWS));
    let mut pod = fake.get("/api/v1/pods", "bookinfo/reviews-1").unwrap();
    pod["metadata"]["labels"]["size"] = json!("small");
    fake.apply("/api/v1/pods", pod.clone());
    assert_eq!(proxy.next_of(CLUSTER).await.removed, [REVIEWS]);
    pod["metadata"]["labels"]["size"] = json!("large");
    fake.apply("/api/v1/pods", pod);
    let back = proxy.next_of(CLUSTER).await;
    assert_eq!(back.upserts.iter().map(|upsert| upsert.name.as_str()).collect::<Vec<_>>(), [REVIEWS]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_has_no_listener_at_its_own_address() {
    let plane = start().await;
    plane.api.fake.apply(
        "/api/v1/services",
        json!({"metadata": {"name": "reviews", "namespace": "bookinfo"},
            "spec": {"clusterIP": "None", "selector": {"app": "reviews"}, "ports": [{"name": "http", "appProtocol": "tcp", "port": 9080}]}}),
    );
    endpoints(&plane.api, &["10.64.0.5", "10.64.0.6"]);
    let mut proxy = sidecar(&plane, &[LISTENER]).await;
    let mut names: Vec<String> = Vec::new();
    while !names.iter().any(|name| name == "10.64.0.6_9080") {
        names.extend(proxy.next_of(LISTENER).await.upserts.into_iter().map(|upsert| upsert.name));
    }
    assert!(!names.iter().any(|name| name == "10.64.0.5_9080"), "{names:?}");
}
