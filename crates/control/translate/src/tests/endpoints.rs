//! Endpoints of clusters: which ones, and what is said of each.

use portolan_xds::type_url;
use serde_json::{Value, json};

use super::mesh::{Mesh, Seen, at, list, sidecar};

const NAME: &str = "outbound|80||s.example";

/// A ServiceEntry with these endpoints.
fn entry(endpoints: Value) -> Value {
    json!({"kind": "ServiceEntry", "metadata": {"name": "s", "namespace": "shop"}, "spec": {
        "hosts": ["s.example"], "ports": [{"number": 80, "name": "p", "protocol": "TCP", "targetPort": 8080}],
        "resolution": "STATIC", "location": "MESH_INTERNAL", "endpoints": endpoints}})
}

fn policy(policy: Value) -> Value {
    json!({"kind": "DestinationRule", "metadata": {"name": "r", "namespace": "shop"},
        "spec": {"host": "s.example", "trafficPolicy": policy, "subsets": [
            {"name": "v1", "labels": {"version": "v1", "track": "main"}}]}})
}

fn pod(labels: &str) -> String {
    format!(
        "
kind: Pod
metadata: {{name: web-1, namespace: shop, labels: {{app: web, {labels}}}}}
spec: {{containers: [{{name: app}}]}}
status: {{podIP: 10.0.0.1}}
"
    )
}

/// Locality, priority and weight of each group of endpoints.
fn groups(seen: &Seen) -> Vec<Value> {
    let found = seen.endpoints(NAME);
    let group = |g: &Value| json!([g["locality"]["region"], g["priority"], g["load_balancing_weight"]]);
    list(&found["endpoints"]).iter().map(group).collect()
}

fn addresses(endpoints: &Value) -> Vec<String> {
    let all = list(&endpoints["endpoints"]).iter().flat_map(|g| list(&g["lb_endpoints"]));
    let text = |e: &Value| at(e, "/endpoint/address/socket_address/address").as_str().unwrap().to_owned();
    all.map(text).collect()
}

#[test]
fn the_endpoints_of_a_cluster_in_full() {
    let mesh = Mesh::of("").and(entry(json!([
        {"address": "10.1.0.1", "weight": 3, "locality": "r/z/s",
            "labels": {"app": "s", "version": "v1", "security.istio.io/tlsMode": "istio"}},
        {"address": "10.1.0.2", "locality": "r/z/s"},
    ])));
    let endpoint = |address: &str, weight: u32, tls: &str, workload: &str| {
        json!({
            "endpoint": {"address": {"socket_address": {"address": address, "port_value": 8080}}},
            "metadata": {"filter_metadata": {
                "envoy.transport_socket_match": {"tlsMode": tls}, "istio": {"workload": workload}}},
            "load_balancing_weight": weight,
        })
    };
    assert_eq!(
        mesh.seen_by_sidecar().endpoints(NAME),
        json!({
            "cluster_name": NAME,
            "endpoints": [{
                "locality": {"region": "r", "zone": "z", "sub_zone": "s"},
                "lb_endpoints": [
                    endpoint("10.1.0.1", 3, "istio", ";shop;s;v1;Kubernetes"),
                    endpoint("10.1.0.2", 1, "disabled", ";shop;;;Kubernetes"),
                ],
                "load_balancing_weight": 4,
            }],
        })
    );
}

#[test]
fn clusters_that_are_not_there_have_no_endpoints() {
    let seen = Mesh::of("").and(entry(json!([]))).and(policy(json!({}))).seen_by_sidecar();
    for (name, there) in [
        (NAME, true),
        ("outbound|80|v1|s.example", true),
        ("outbound|80|v2|s.example", false),
        ("outbound|81||s.example", false),
        ("outbound|80||other.example", false),
        ("nonsense", false),
    ] {
        assert_eq!(!seen.find(type_url::ENDPOINT, name).is_null(), there, "{name}");
    }
}

#[test]
fn an_endpoint_may_be_a_unix_socket() {
    let mesh = Mesh::of("").and(entry(json!([{"address": "unix:///run/s.sock"}])));
    let found = mesh.seen_by_sidecar().endpoints(NAME);
    assert_eq!(
        at(&found, "/endpoints/0/lb_endpoints/0/endpoint/address"),
        json!({"pipe": {"path": "/run/s.sock"}})
    );
}

#[test]
fn a_subset_has_the_endpoints_with_all_of_its_labels() {
    let mesh = Mesh::of("")
        .and(entry(json!([
            {"address": "10.1.0.1", "labels": {"version": "v1", "track": "main"}},
            {"address": "10.1.0.2", "labels": {"version": "v1"}},
            {"address": "10.1.0.3", "labels": {"version": "v2", "track": "main"}},
        ])))
        .and(policy(json!({})));
    let seen = mesh.seen_by_sidecar();
    assert_eq!(addresses(&seen.endpoints("outbound|80|v1|s.example")), ["10.1.0.1"]);
    assert_eq!(addresses(&seen.endpoints(NAME)), ["10.1.0.1", "10.1.0.2", "10.1.0.3"]);
}

/// A cluster that DNS resolves carries its endpoints itself: those listed, by subset as all others.
#[test]
fn listed_endpoints_are_what_dns_is_asked_for() {
    let mut listed = entry(json!([
        {"address": "one.example", "labels": {"version": "v1", "track": "main"}},
        {"address": "two.example"},
    ]));
    listed["spec"]["resolution"] = json!("DNS");
    let seen = Mesh::of("").and(listed).and(policy(json!({}))).seen_by_sidecar();
    let found = |name: &str| addresses(&seen.cluster(name)["load_assignment"]);
    assert_eq!(found(NAME), ["one.example", "two.example"]);
    assert_eq!(found("outbound|80|v1|s.example"), ["one.example"]);
}

#[test]
fn an_external_name_is_what_dns_is_asked_for() {
    let mesh = Mesh::of(
        "{kind: Service, metadata: {name: a, namespace: shop}, spec: {type: ExternalName, externalName: other.example, \
         ports: [{name: tcp, port: 80}]}}",
    );
    let cluster = mesh.seen_by_sidecar().cluster("outbound|80||a.shop.svc.cluster.local");
    assert_eq!(
        at(&cluster, "/load_assignment/endpoints/0/lb_endpoints"),
        json!([{
            "endpoint": {"address": {"socket_address": {"address": "other.example", "port_value": 80}}},
            "metadata": {"filter_metadata": {
                "envoy.transport_socket_match": {"tlsMode": "disabled"},
                "istio": {"workload": ";shop;;;Kubernetes"}}},
            "load_balancing_weight": 1,
        }])
    );
}

#[test]
fn a_proxy_gets_the_endpoints_of_the_networks_that_it_asks_for() {
    let mesh = Mesh::of("").and(entry(json!([
        {"address": "10.1.0.1"}, {"address": "10.1.0.2", "network": "east"}, {"address": "10.1.0.3", "network": "west"},
    ])));
    let mut node = sidecar();
    node.metadata.requested_network_view = vec!["east".to_owned()];
    assert_eq!(addresses(&mesh.seen_by(node).endpoints(NAME)), ["10.1.0.1", "10.1.0.2"]);
}

/// An endpoint that can terminate mesh TLS and is told not to gets plaintext.
#[test]
fn mesh_tls_is_not_sent_where_it_is_forbidden() {
    for (modes, expected) in [
        (json!({"mtls": {"mode": "DISABLE"}}), "disabled"),
        (json!({"mtls": {"mode": "PERMISSIVE"}}), "istio"),
        (json!({"mtls": {"mode": "STRICT"}}), "istio"),
        (
            json!({"selector": {"matchLabels": {"app": "s"}}, "portLevelMtls": {"8080": {"mode": "DISABLE"}}}),
            "disabled",
        ),
        (
            json!({"selector": {"matchLabels": {"app": "s"}}, "portLevelMtls": {"80": {"mode": "DISABLE"}}}),
            "istio",
        ),
    ] {
        let mesh = Mesh::of("")
            .and(entry(json!([
                {"address": "10.1.0.1", "labels": {"app": "s", "security.istio.io/tlsMode": "istio"}}])))
            .and(json!({"kind": "PeerAuthentication", "metadata": {"name": "p", "namespace": "shop"}, "spec": modes}));
        let found = mesh.seen_by_sidecar().endpoints(NAME);
        let metadata = at(&found, "/endpoints/0/lb_endpoints/0/metadata/filter_metadata");
        assert_eq!(metadata["envoy.transport_socket_match"]["tlsMode"], expected, "{modes}");
    }
}

/// Workload, namespace, canonical name and revision, cluster: for statistics of requests that fail early.
#[test]
fn endpoints_name_their_workload() {
    let text = |labels: &str| {
        let mesh = Mesh::of(&pod(labels)).and(json!({"kind": "Service",
            "metadata": {"name": "a", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.1", "selector": {"app": "web"}, "ports": [{"name": "tcp", "port": 80}]}}))
            .and(json!({"kind": "EndpointSlice",
                "metadata": {"name": "a-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "a"}},
                "addressType": "IPv4", "ports": [{"name": "tcp", "port": 80}],
                "endpoints": [{"addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "web-1", "namespace": "shop"}}]}));
        let found = mesh.seen_by_sidecar().endpoints("outbound|80||a.shop.svc.cluster.local");
        at(&found, "/endpoints/0/lb_endpoints/0/metadata/filter_metadata/istio/workload")
    };
    for (labels, expected) in [
        ("color: blue", "web-1;shop;web;latest;Kubernetes"),
        ("version: v1", "web-1;shop;web;v1;Kubernetes"),
        (
            "app.kubernetes.io/name: shown, app.kubernetes.io/version: v2, version: v1",
            "web-1;shop;shown;v2;Kubernetes",
        ),
        (
            "service.istio.io/canonical-name: c, service.istio.io/canonical-revision: r, \
             app.kubernetes.io/name: shown, app.kubernetes.io/version: v2",
            "web-1;shop;c;r;Kubernetes",
        ),
    ] {
        assert_eq!(text(labels), expected, "{labels}");
    }
}

const REGIONS: &str = "topology.kubernetes.io/region: r";

fn two_regions() -> Value {
    entry(json!([{"address": "10.1.0.1", "locality": "q"}, {"address": "10.1.0.2", "locality": "r"}]))
}

/// Without outlier detection nothing ever becomes unhealthy.
#[test]
fn the_own_locality_comes_first_where_outliers_are_detected() {
    let even = vec![json!(["q", null, 1]), json!(["r", null, 1])];
    let own_first = vec![json!(["q", 1, 1]), json!(["r", null, 1])];
    let outliers = json!({"outlierDetection": {}});
    let off = json!({"outlierDetection": {}, "loadBalancer": {"localityLbSetting": {"enabled": false}}});
    let on = json!({"outlierDetection": {}, "loadBalancer": {"localityLbSetting": {"enabled": true}}});
    let mesh_off = json!({"localityLbSetting": {"enabled": false}});
    for (settings, traffic, expected) in [
        (json!({}), json!({}), &even),
        (json!({}), outliers.clone(), &own_first),
        (json!({}), off, &even),
        (mesh_off.clone(), outliers, &even),
        (mesh_off, on, &own_first),
    ] {
        let mesh =
            Mesh::of(&pod(REGIONS)).and(two_regions()).and(policy(traffic.clone())).with(settings.clone());
        assert_eq!(groups(&mesh.seen_by_sidecar()), *expected, "{settings} {traffic}");
    }
}

#[test]
fn a_proxy_that_is_nowhere_prefers_no_locality() {
    let mesh = Mesh::of("").and(two_regions()).and(policy(json!({"outlierDetection": {}})));
    assert_eq!(groups(&mesh.seen_by_sidecar()), [json!(["q", null, 1]), json!(["r", null, 1])]);
}

#[test]
fn a_proxy_without_a_pod_is_where_it_says() {
    let mesh = Mesh::of("").and(two_regions()).and(policy(json!({"outlierDetection": {}})));
    let mut node = sidecar();
    node.locality = portolan_mesh::Locality::parse("q");
    assert_eq!(groups(&mesh.seen_by(node)), [json!(["q", null, 1]), json!(["r", 1, 1])]);
}

#[test]
fn shares_come_before_failover() {
    let mesh = Mesh::of(&pod(REGIONS)).and(two_regions()).and(policy(json!({
        "outlierDetection": {},
        "loadBalancer": {"localityLbSetting": {"distribute": [
            {"from": "q", "to": {"q": 100}}, {"from": "r", "to": {"q": 30, "r": 70}}]}},
    })));
    assert_eq!(groups(&mesh.seen_by_sidecar()), [json!(["q", null, 30]), json!(["r", null, 70])]);
}

/// Without any DestinationRule the place of a proxy matters if the mesh says so.
#[test]
fn shares_may_be_those_of_the_mesh() {
    let shares = json!({"distribute": [{"from": "r", "to": {"q": 30, "r": 70}}]});
    let mesh = Mesh::of(&pod(REGIONS)).and(two_regions()).with(json!({"localityLbSetting": shares}));
    assert_eq!(groups(&mesh.seen_by_sidecar()), [json!(["q", null, 30]), json!(["r", null, 70])]);
}
