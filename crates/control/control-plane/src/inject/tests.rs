use std::sync::Arc;

use portolan_resources::MeshConfig;
use serde_json::{Value, json};

use super::*;

fn settings() -> InjectSettings {
    let mesh = MeshConfig { trust_domain: "west.local".into(), ..Default::default() };
    InjectSettings {
        proxy_image: "portolan/proxy".into(),
        revision: "default".into(),
        cluster_id: "west".into(),
        cluster_domain: "cluster.local".into(),
        mesh: Arc::new(mesh),
        default_config: Arc::new(json!({"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}})),
    }
}

fn reviews() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "reviews-v1-5d8f-",
            "labels": {"app": "reviews", "version": "v1", "pod-template-hash": "5d8f"},
            "annotations": {
                "sidecar.istio.io/inject": "true",
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "9080",
                "prometheus.io/path": "/metrics",
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "reviews-v1-5d8f",
                "uid": "1", "controller": true,
            }],
        },
        "spec": {
            "serviceAccountName": "bookinfo-reviews",
            "fieldOfTomorrow": {"kept": true},
            "containers": [{
                "name": "reviews",
                "image": "portolan/bookinfo",
                "ports": [{"containerPort": 9080, "name": "http"}],
                "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "timeoutSeconds": 2},
                "livenessProbe": {"exec": {"command": ["true"]}},
            }],
        },
    })
}

fn injected(pod: &Value) -> Value {
    injected_with(pod, &settings())
}

fn injected_with(pod: &Value, settings: &InjectSettings) -> Value {
    let outcome = review(pod, "bookinfo", &NamespaceLabels::new(), settings).unwrap();
    let Outcome::Injected { patch, .. } = outcome else { panic!("not injected") };
    let mut result = pod.clone();
    json_patch::patch(&mut result, &patch).unwrap();
    result
}

fn env<'a>(container: &'a Value, name: &str) -> &'a Value {
    container["env"]
        .as_array()
        .unwrap()
        .iter()
        .find(|var| var["name"] == name)
        .map_or(&Value::Null, |var| &var["value"])
}

fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let lists = ["containers", "initContainers"];
    lists
        .iter()
        .flat_map(|list| pod["spec"][list].as_array().into_iter().flatten())
        .find(|c| c["name"] == name)
        .unwrap()
}

#[test]
fn a_sidecar_is_added() {
    let pod = injected(&reviews());
    assert_eq!(pod["spec"]["fieldOfTomorrow"]["kept"], true);
    let init = container(&pod, "istio-init");
    assert_eq!(
        init["args"],
        json!([
            "redirect",
            "-p",
            "15001",
            "-z",
            "15006",
            "-u",
            "1337",
            "-m",
            "REDIRECT",
            "-i",
            "*",
            "-x",
            "",
            "-b",
            "*",
            "-d",
            "15090,15021,15020"
        ])
    );
    assert_eq!(env(init, "ISTIO_META_DNS_CAPTURE"), "true");
    let proxy = container(&pod, "istio-proxy");
    assert_eq!((&proxy["args"][0], &proxy["args"][1]), (&json!("proxy"), &json!("sidecar")));
    assert_eq!(proxy["securityContext"]["runAsUser"], 1337);
    assert_eq!(env(proxy, "ISTIO_META_WORKLOAD_NAME"), "reviews-v1");
    assert_eq!(
        env(proxy, "ISTIO_META_OWNER"),
        "kubernetes://apis/apps/v1/namespaces/bookinfo/deployments/reviews-v1"
    );
    assert_eq!(env(proxy, "TRUST_DOMAIN"), "west.local");
    assert_eq!(env(proxy, "ISTIO_META_POD_PORTS"), r#"[{"containerPort":9080,"name":"http"}]"#);
    assert_eq!(pod["metadata"]["labels"]["security.istio.io/tlsMode"], "istio");
    assert_eq!(pod["metadata"]["labels"]["service.istio.io/canonical-name"], "reviews");
    assert_eq!(pod["metadata"]["labels"]["service.istio.io/canonical-revision"], "v1");
    assert_eq!(pod["metadata"]["annotations"]["prometheus.io/port"], "15020");
    assert_eq!(
        env(proxy, "ISTIO_PROMETHEUS_ANNOTATIONS"),
        r#"{"scrape":"true","path":"/metrics","port":"9080"}"#
    );
    let volumes: Vec<_> =
        pod["spec"]["volumes"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(volumes, ["istio-envoy", "istio-data", "istio-podinfo", "istio-token", "istiod-ca-cert"]);
    let status: Value =
        serde_json::from_str(pod["metadata"]["annotations"]["sidecar.istio.io/status"].as_str().unwrap())
            .unwrap();
    assert_eq!(status["containers"], json!(["istio-proxy"]));
    assert_eq!(status["initContainers"], json!(["istio-init"]));
    // The result is a Pod.
    serde_json::from_value::<Pod>(pod).unwrap();
}

#[test]
fn http_probes_go_through_the_agent() {
    let pod = injected(&reviews());
    let app = container(&pod, "reviews");
    assert_eq!(
        app["readinessProbe"]["httpGet"],
        json!({"path": "/app-health/reviews/readyz", "port": 15020})
    );
    assert_eq!(app["livenessProbe"], json!({"exec": {"command": ["true"]}}));
    let probers: Value =
        serde_json::from_str(env(container(&pod, "istio-proxy"), "ISTIO_KUBE_APP_PROBERS").as_str().unwrap())
            .unwrap();
    assert_eq!(
        probers,
        json!({"/app-health/reviews/readyz":
            {"httpGet": {"path": "/health", "port": 9080}, "timeoutSeconds": 2}})
    );
    let mut off = reviews();
    off["metadata"]["annotations"]["sidecar.istio.io/rewriteAppHTTPProbers"] = "false".into();
    assert_eq!(container(&injected(&off), "reviews")["readinessProbe"]["httpGet"]["path"], "/health");
}

#[test]
fn injecting_again_changes_nothing() {
    let once = injected(&reviews());
    let outcome = review(&once, "bookinfo", &NamespaceLabels::new(), &settings()).unwrap();
    assert!(matches!(outcome, Outcome::Skipped(Skip::AlreadyInjected)));
}

#[test]
fn annotations_are_honoured() {
    let mut pod = reviews();
    let annotations = &mut pod["metadata"]["annotations"];
    for (key, value) in [
        ("traffic.sidecar.istio.io/excludeOutboundPorts", "9000"),
        ("traffic.sidecar.istio.io/excludeInboundPorts", "81"),
        ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8"),
        ("sidecar.istio.io/proxyCPULimit", "2"),
        ("sidecar.istio.io/logLevel", "debug"),
        ("sidecar.istio.io/proxyImage", "mine"),
        ("portolan.io/proxy", "envoy"),
        ("proxy.istio.io/config", "concurrency: 1\nproxyMetadata:\n  EXTRA: x\n"),
        ("readiness.status.sidecar.istio.io/periodSeconds", "7"),
    ] {
        annotations[key] = value.into();
    }
    let pod = injected(&pod);
    let args = container(&pod, "istio-init")["args"].to_string();
    assert!(args.contains(r#""-o","9000""#) && args.contains(r#""-i","10.0.0.0/8""#), "{args}");
    assert!(args.contains("15090,15021,15020,81"), "{args}");
    let proxy = container(&pod, "istio-proxy");
    assert_eq!(proxy["image"], "mine");
    assert_eq!(proxy["resources"]["limits"]["cpu"], "2");
    assert!(proxy["args"].to_string().contains("--proxyLogLevel=debug"));
    assert!(proxy["args"].to_string().contains(r#""--concurrency","1""#));
    assert_eq!(env(proxy, "PORTOLAN_PROXY"), "envoy");
    assert_eq!(env(proxy, "EXTRA"), "x");
    assert_eq!(env(proxy, "ISTIO_META_DNS_CAPTURE"), "true");
    assert_eq!(proxy["readinessProbe"]["periodSeconds"], 7);

    let mut bad = reviews();
    bad["metadata"]["annotations"]["status.sidecar.istio.io/port"] = "many".into();
    let error = review(&bad, "bookinfo", &NamespaceLabels::new(), &settings()).unwrap_err().to_string();
    assert!(error.contains("status.sidecar.istio.io/port") && error.contains("many"), "{error}");
}

/// What a Pod with one annotation more looks like.
fn annotated(name: &str, value: &str) -> Value {
    let mut pod = reviews();
    pod["metadata"]["annotations"][name] = value.into();
    pod
}

#[test]
fn each_annotation_has_its_place() {
    let flag = |name: &str, value: &str| format!("\"{name}\",\"{value}\"");
    for (annotation, value, place) in [
        ("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8", flag("-i", "10.0.0.0/8")),
        ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.1.0.0/16", flag("-x", "10.1.0.0/16")),
        ("traffic.sidecar.istio.io/includeInboundPorts", "81", flag("-b", "81")),
        ("traffic.sidecar.istio.io/excludeInboundPorts", "82", flag("-d", "15090,15021,15020,82")),
        ("traffic.sidecar.istio.io/includeOutboundPorts", "83", flag("-q", "83")),
        ("traffic.sidecar.istio.io/excludeOutboundPorts", "84", flag("-o", "84")),
    ] {
        let args = container(&injected(&annotated(annotation, value)), "istio-init")["args"].to_string();
        assert!(args.contains(&place), "{annotation}: {args}");
    }
    for (annotation, value, pointer, expected) in [
        ("sidecar.istio.io/proxyImage", "mine", "/image", json!("mine")),
        ("sidecar.istio.io/proxyCPU", "20m", "/resources/requests/cpu", json!("20m")),
        ("sidecar.istio.io/proxyCPULimit", "2", "/resources/limits/cpu", json!("2")),
        ("sidecar.istio.io/proxyMemory", "1Gi", "/resources/requests/memory", json!("1Gi")),
        ("sidecar.istio.io/proxyMemoryLimit", "2Gi", "/resources/limits/memory", json!("2Gi")),
        ("sidecar.istio.io/logLevel", "debug", "/args/6", json!("--proxyLogLevel=debug")),
        (
            "sidecar.istio.io/componentLogLevel",
            "rbac:debug",
            "/args/7",
            json!("--proxyComponentLogLevel=rbac:debug"),
        ),
        (
            "readiness.status.sidecar.istio.io/initialDelaySeconds",
            "5",
            "/readinessProbe/initialDelaySeconds",
            json!(5),
        ),
        ("readiness.status.sidecar.istio.io/periodSeconds", "7", "/readinessProbe/periodSeconds", json!(7)),
        (
            "readiness.status.sidecar.istio.io/failureThreshold",
            "9",
            "/readinessProbe/failureThreshold",
            json!(9),
        ),
        ("inject.istio.io/templates", "sidecar", "/args/1", json!("sidecar")),
    ] {
        let pod = injected(&annotated(annotation, value));
        assert_eq!(container(&pod, "istio-proxy").pointer(pointer), Some(&expected), "{annotation}");
    }
    let unmerged = injected(&annotated("prometheus.istio.io/merge-metrics", "false"));
    assert_eq!(unmerged["metadata"]["annotations"]["prometheus.io/port"], "9080");
}

/// Probes, scrapes and what is not captured agree with the port that the agent is told.
#[test]
fn the_agent_listens_where_probes_are_sent() {
    for (pod, port) in [(reviews(), 15020), (annotated("status.sidecar.istio.io/port", "16000"), 16000)] {
        let pod = injected(&pod);
        assert_eq!(env(container(&pod, "istio-proxy"), "STATUS_PORT"), &json!(port.to_string()));
        assert_eq!(container(&pod, "reviews")["readinessProbe"]["httpGet"]["port"], port);
        assert_eq!(pod["metadata"]["annotations"]["prometheus.io/port"], port.to_string());
        let args = container(&pod, "istio-init")["args"].to_string();
        assert!(args.contains(&port.to_string()), "{args}");
    }
}

#[test]
fn settings_of_the_mesh_reach_the_proxy() {
    let mut settings = settings();
    let mesh =
        json!({"proxyListenPort": 16001, "enablePrometheusMerge": false, "defaultConfig": {"meshId": "m"}});
    settings.mesh = Arc::new(serde_json::from_value(mesh).unwrap());
    let pod = injected_with(&reviews(), &settings);
    assert!(container(&pod, "istio-init")["args"].to_string().contains(r#""-p","16001""#));
    assert_eq!(env(container(&pod, "istio-proxy"), "ISTIO_META_MESH_ID"), "m");
    assert_eq!(pod["metadata"]["annotations"]["prometheus.io/port"], "9080");
}

#[test]
fn what_a_pod_asks_for_and_does_not_get_is_said() {
    let found = |pod: &Value| match review(pod, "bookinfo", &NamespaceLabels::new(), &settings()).unwrap() {
        Outcome::Injected { warnings, .. } => warnings.iter().map(ToString::to_string).collect(),
        Outcome::Skipped(_) => vec!["skipped".to_owned()],
    };
    assert!(found(&reviews()).is_empty());
    for (annotation, value, field) in [
        ("sidecar.istio.io/userVolume", "[]", "metadata.annotations[sidecar.istio.io/userVolume]: "),
        ("sidecar.istio.io/proxyCpu", "1", "metadata.annotations[sidecar.istio.io/proxyCpu]: "),
        (
            "proxy.istio.io/config",
            "tracing: {sampling: 5}",
            "metadata.annotations[proxy.istio.io/config].tracing.sampling: ",
        ),
        (
            "proxy.istio.io/config",
            "concurency: 1",
            "metadata.annotations[proxy.istio.io/config].concurency: ",
        ),
    ] {
        let warnings = found(&annotated(annotation, value));
        assert!(warnings.len() == 1 && warnings[0].starts_with(field), "{annotation}: {warnings:?}");
    }
}

/// A Pod that would pass beside its proxy is not made.
#[test]
fn capture_that_is_not_there_is_refused() {
    let refused = |pod: &Value, settings: &InjectSettings| {
        review(pod, "bookinfo", &NamespaceLabels::new(), settings).unwrap_err().to_string()
    };
    for (annotation, value) in [
        ("sidecar.istio.io/interceptionMode", "NONE"),
        ("sidecar.istio.io/interceptionMode", "TPROXY"),
        ("sidecar.istio.io/interceptionMode", "other"),
        ("proxy.istio.io/config", "interceptionMode: NONE"),
        ("traffic.sidecar.istio.io/kubevirtInterfaces", "k6t0"),
    ] {
        let error = refused(&annotated(annotation, value), &settings());
        assert!(error.contains(annotation), "{error}");
    }
    let mut of_mesh = settings();
    of_mesh.default_config = Arc::new(json!({"interceptionMode": "NONE"}));
    assert!(refused(&reviews(), &of_mesh).contains("ConfigMap istio"));
    assert_eq!(
        env(container(&injected(&reviews()), "istio-proxy"), "ISTIO_META_INTERCEPTION_MODE"),
        "REDIRECT"
    );
}

#[test]
fn a_gateway_completes_its_container() {
    let pod = json!({
        "metadata": {
            "generateName": "istio-ingressgateway-7c-",
            "labels": {"app": "istio-ingressgateway", "istio": "ingressgateway"},
            "annotations": {"sidecar.istio.io/inject": "true", "inject.istio.io/templates": "gateway"},
        },
        "spec": {"containers": [{
            "name": "istio-proxy",
            "image": "auto",
            "ports": [{"containerPort": 8080, "name": "http2"}],
            "env": [{"name": "ISTIO_META_ROUTER_MODE", "value": "sni-dnat"}],
            "resources": {"requests": {"cpu": "100m"}},
        }]},
    });
    let result = injected(&pod);
    assert!(result["spec"].get("initContainers").is_none());
    let containers = result["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    let proxy = &containers[0];
    assert_eq!(proxy["image"], "portolan/proxy");
    assert_eq!(proxy["args"][1], "router");
    assert_eq!(env(proxy, "ISTIO_META_ROUTER_MODE"), "sni-dnat");
    assert_eq!(env(proxy, "ISTIO_META_UNPRIVILEGED_POD"), "true");
    assert_eq!(proxy["ports"].as_array().unwrap().len(), 2);
    assert_eq!(proxy["resources"]["requests"], json!({"cpu": "100m", "memory": "128Mi"}));

    let mut without = pod;
    without["spec"]["containers"][0]["name"] = "other".into();
    assert!(matches!(
        review(&without, "x", &NamespaceLabels::new(), &settings()),
        Err(InjectError::NoGatewayContainer)
    ));
}

#[test]
fn who_decides() {
    let decision = |label: Option<&str>, annotation: Option<&str>, ns: &[(&str, &str)], namespace: &str| {
        let mut pod = Pod::default();
        pod.metadata.labels = label.map(|v| [("sidecar.istio.io/inject".to_owned(), v.to_owned())].into());
        pod.metadata.annotations =
            annotation.map(|v| [("sidecar.istio.io/inject".to_owned(), v.to_owned())].into());
        let labels = ns.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        decide(&pod, namespace, &labels, "default")
    };
    let yes = Decision::Inject(Template::Sidecar);
    let enabled = [("istio-injection", "enabled")];
    let disabled = [("istio-injection", "disabled")];
    for (label, annotation, ns, namespace, expected) in [
        (None, None, &[][..], "a", Decision::Skip(Skip::NotRequested)),
        (None, Some("true"), &[], "a", yes),
        (None, Some("yes"), &disabled, "a", yes),
        (Some("true"), Some("false"), &[], "a", yes),
        (Some("false"), None, &enabled, "a", Decision::Skip(Skip::PodRefuses)),
        (None, None, &enabled, "a", yes),
        (None, None, &disabled, "a", Decision::Skip(Skip::NamespaceRefuses)),
        (None, None, &[("istio.io/rev", "default")], "a", yes),
        (None, None, &[("istio.io/rev", "canary")], "a", Decision::Skip(Skip::NotRequested)),
        (None, Some("true"), &[], "kube-system", Decision::Skip(Skip::IgnoredNamespace)),
        (None, Some("maybe"), &[], "a", Decision::Skip(Skip::NotRequested)),
    ] {
        assert_eq!(decision(label, annotation, ns, namespace), expected, "{label:?} {annotation:?} {ns:?}");
    }
    let spec = k8s_openapi::api::core::v1::PodSpec { host_network: Some(true), ..Default::default() };
    let host = Pod { spec: Some(spec), ..Default::default() };
    assert_eq!(decide(&host, "a", &Default::default(), "default"), Decision::Skip(Skip::HostNetwork));
}
