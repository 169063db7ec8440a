//! Defaults by kind; and that filling them in twice is the same as once.

use super::*;
use crate::ResourceTable;

fn defaulted(plural: &str, mut object: Value) -> Value {
    let table = ResourceTable::builtin();
    let resource = table.iter().find(|r| r.plural == plural).unwrap();
    apply(resource, &mut object);
    let mut twice = object.clone();
    apply(resource, &mut twice);
    assert_eq!(object, twice, "{plural}: filling in twice changes something");
    object
}

#[test]
fn every_kind_takes_an_empty_object() {
    for resource in ResourceTable::builtin().iter() {
        defaulted(&resource.plural, json!({"metadata": {"name": "a"}}));
    }
}

#[test]
fn deployments_and_their_pods() {
    let object = defaulted(
        "deployments",
        json!({"spec": {"strategy": {}, "template": {"spec": {"containers": [{
            "name": "c", "image": "localhost:5000/a/b", "ports": [{"containerPort": 80}],
            "livenessProbe": {"httpGet": {"port": 80}, "periodSeconds": 2},
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}],
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}]}}}}),
    );
    let spec = &object["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(
        spec["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
    );
    let pod = &spec["template"]["spec"];
    assert_eq!((&pod["restartPolicy"], &pod["dnsPolicy"]), (&json!("Always"), &json!("ClusterFirst")));
    let container = &pod["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
    assert_eq!(
        container["livenessProbe"],
        json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "periodSeconds": 2, "timeoutSeconds": 1,
            "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(pod["volumes"][0]["emptyDir"], json!({}));
    assert_eq!(pod["volumes"][1]["secret"]["defaultMode"], 420);
    let recreate =
        defaulted("deployments", json!({"spec": {"strategy": {"type": "Recreate"}, "replicas": 0}}));
    assert_eq!(recreate["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(recreate["spec"]["replicas"], 0);
}

#[test]
fn image_pull_policy_follows_the_tag() {
    for (image, want) in [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("a:1", "IfNotPresent"),
        ("h:5000/a", "Always"),
        ("h:5000/a:2", "IfNotPresent"),
        ("a@sha256:00", "IfNotPresent"),
    ] {
        let pod = defaulted("pods", json!({"spec": {"containers": [{"name": "c", "image": image}]}}));
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], want, "{image}");
    }
}

#[test]
fn services_secrets_namespaces() {
    let service = defaulted("services", json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}));
    assert_eq!(service["spec"]["ports"], json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]));
    assert_eq!(service["spec"]["externalTrafficPolicy"], "Cluster");
    assert_eq!(service["spec"]["sessionAffinity"], "None");
    let secret = defaulted("secrets", json!({"stringData": {"a": "b"}, "data": {"c": "ZA=="}}));
    assert_eq!(secret, json!({"data": {"c": "ZA==", "a": "Yg=="}, "type": "Opaque"}));
    let namespace = defaulted("namespaces", json!({"metadata": {"name": "n"}}));
    assert_eq!(namespace["status"]["phase"], "Active");
    assert_eq!(namespace["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "n"}));
    let hook =
        defaulted("mutatingwebhookconfigurations", json!({"webhooks": [{"clientConfig": {"service": {}}}]}));
    assert_eq!(hook["webhooks"][0]["reinvocationPolicy"], "Never");
    assert_eq!(hook["webhooks"][0]["clientConfig"]["service"]["port"], 443);
}

#[test]
fn pods_get_their_token() {
    let mut pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b", "volumeMounts": [
        {"name": "own", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}]}});
    admit_service_account(&mut pod, None, "abcde");
    assert_eq!(pod["spec"]["serviceAccountName"], "default");
    assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["name"], "kube-api-access-abcde");
    assert_eq!(pod["spec"]["containers"][1]["volumeMounts"].as_array().unwrap().len(), 1);
    let before = pod.clone();
    admit_service_account(&mut pod, None, "other");
    assert_eq!(pod, before);
    let mut without = json!({"spec": {"containers": [{"name": "a"}]}});
    admit_service_account(&mut without, Some(false), "x");
    assert!(without["spec"].get("volumes").is_none());
}

#[test]
fn quality_of_service() {
    for (resources, want) in [
        (json!({}), "BestEffort"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
        (json!({"requests": {"cpu": "1"}}), "Burstable"),
    ] {
        let pod = defaulted("pods", json!({"spec": {"containers": [{"name": "c", "resources": resources}]}}));
        assert_eq!(pod["status"]["qosClass"], want);
    }
}
