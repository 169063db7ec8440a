//! Pods, their volumes and containers.

use super::*;

/// A Pod of one container with these fields.
fn container(fields: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i"});
    container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"spec": {"containers": [container]}})
}

fn spec(fields: Value) -> Value {
    let mut pod = container(json!({}));
    pod["spec"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    pod
}

#[test]
fn faults_of_pods() {
    each(
        "pods",
        &[
            (spec(json!({"containers": [{"image": "i"}]})), "spec.containers[0].name: Required value"),
            (
                spec(json!({"containers": [{"name": "C", "image": "i"}]})),
                "spec.containers[0].name: Invalid value: \"C\"",
            ),
            (
                spec(json!({"initContainers": [{"name": "c", "image": "i"}]})),
                "spec.containers[0].name: Duplicate value: \"c\"",
            ),
            (
                spec(json!({"ephemeralContainers": [{"name": "e"}]})),
                "spec.ephemeralContainers[0].image: Required value",
            ),
            (spec(json!({"dnsPolicy": "x"})), "spec.dnsPolicy: Unsupported value: \"x\""),
            (spec(json!({"serviceAccountName": "A"})), "spec.serviceAccountName: Invalid value: \"A\""),
            (
                spec(json!({"terminationGracePeriodSeconds": -1})),
                "spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                spec(json!({"activeDeadlineSeconds": -1})),
                "spec.activeDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
            ),
            (spec(json!({"nodeSelector": {"a b": "c"}})), "spec.nodeSelector: Invalid value: \"a b\""),
            (
                container(json!({"imagePullPolicy": "x"})),
                "spec.containers[0].imagePullPolicy: Unsupported value: \"x\"",
            ),
        ],
    );
}

#[test]
fn faults_of_volumes() {
    each(
        "pods",
        &[
            (spec(json!({"volumes": [{}]})), "spec.volumes[0].name: Required value"),
            (spec(json!({"volumes": [{"name": "V"}]})), "spec.volumes[0].name: Invalid value: \"V\""),
            (
                spec(json!({"volumes": [{"name": "v"}, {"name": "v"}]})),
                "spec.volumes[1].name: Duplicate value: \"v\"",
            ),
            (
                spec(json!({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]})),
                "spec.volumes[0]: Forbidden: may not specify more than 1 volume type",
            ),
            (
                spec(json!({"volumes": [{"name": "v", "configMap": {}}]})),
                "spec.volumes[0].configMap.name: Required value",
            ),
            (
                spec(json!({"volumes": [{"name": "v", "secret": {}}]})),
                "spec.volumes[0].secret.secretName: Required value",
            ),
            (
                spec(json!({"volumes": [{"name": "v", "persistentVolumeClaim": {}}]})),
                "spec.volumes[0].persistentVolumeClaim.claimName: Required value",
            ),
        ],
    );
}

#[test]
fn faults_of_containers() {
    let port = |fields: Value| container(json!({ "ports": [fields] }));
    let mounts = |mounts: Value| {
        let mut pod = container(json!({ "volumeMounts": mounts }));
        pod["spec"]["volumes"] = json!([{"name": "v"}]);
        pod
    };
    let at = "spec.containers[0]";
    for (body, want) in [
        (port(json!({})), "ports[0].containerPort: Required value"),
        (port(json!({"containerPort": 0})), "ports[0].containerPort: Invalid value: 0"),
        (port(json!({"containerPort": 65536})), "ports[0].containerPort: Invalid value: 65536"),
        (port(json!({"containerPort": 1, "protocol": "x"})), "ports[0].protocol: Unsupported value: \"x\""),
        (port(json!({"containerPort": 1, "name": "A"})), "ports[0].name: Invalid value: \"A\""),
        (
            container(
                json!({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}),
            ),
            "ports[1].name: Duplicate value: \"a\"",
        ),
        (container(json!({"env": [{}]})), "env[0].name: Required value"),
        (container(json!({"env": [{"name": "a=b"}]})), "env[0].name: Invalid value: \"a=b\""),
        (
            container(json!({"env": [{"name": "A", "value": "b", "valueFrom": {}}]})),
            "env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
        ),
        (mounts(json!([{"mountPath": "/x"}])), "volumeMounts[0].name: Required value"),
        (mounts(json!([{"name": "v"}])), "volumeMounts[0].mountPath: Required value"),
        (
            mounts(json!([{"name": "v", "mountPath": "/x"}, {"name": "v", "mountPath": "/x"}])),
            "volumeMounts[1].mountPath: Invalid value: \"/x\": must be unique",
        ),
        (
            container(json!({"livenessProbe": {}})),
            "livenessProbe: Required value: must specify a handler type",
        ),
        (
            container(json!({"readinessProbe": {"exec": {}, "grpc": {"port": 1}}})),
            "readinessProbe: Forbidden: may not specify more than 1 handler type",
        ),
        (
            container(json!({"startupProbe": {"httpGet": {"port": 0}}})),
            "startupProbe.httpGet.port: Invalid value: 0",
        ),
        (
            container(json!({"livenessProbe": {"tcpSocket": {"port": "A"}}})),
            "livenessProbe.tcpSocket.port: Invalid value: \"A\"",
        ),
    ] {
        each("pods", &[(body, &format!("{at}.{want}"))]);
    }
}

#[test]
fn pods_at_the_edge_of_what_is_allowed_pass() {
    for body in [
        container(
            json!({"ports": [{"containerPort": 1}, {"containerPort": 65535, "name": "a", "protocol": "SCTP"}]}),
        ),
        container(json!({"env": [{"name": "A", "valueFrom": {}}, {"name": "B", "value": "b"}]})),
        container(json!({"livenessProbe": {"httpGet": {"port": "http"}}})),
        spec(
            json!({"terminationGracePeriodSeconds": 0, "activeDeadlineSeconds": 0, "serviceAccountName": "a.b"}),
        ),
        spec(
            json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}, {"name": "w", "secret": {"secretName": "s"}}]}),
        ),
    ] {
        assert_eq!(faults("pods", body.clone()), [""; 0], "{body}");
    }
}

#[test]
fn a_running_pod_may_change_a_little() {
    let pod = |fields: Value| spec(fields);
    let allowed = |before: Value, after: Value| changes("pods", pod(before), pod(after)).is_empty();
    assert!(allowed(json!({}), json!({"activeDeadlineSeconds": 5, "terminationGracePeriodSeconds": 5})));
    assert!(allowed(json!({}), json!({"tolerations": [{"key": "a"}]})));
    assert!(allowed(json!({}), json!({"nodeName": "n"})));
    assert!(!allowed(json!({"nodeName": "m"}), json!({"nodeName": "n"})));
    assert!(!allowed(json!({}), json!({"hostname": "h"})));
    let init = |image: &str| json!({"initContainers": [{"name": "x", "image": image}]});
    assert!(allowed(init("a"), init("b")));
}
