//! Objects that people get wrong, and the texts they see.

use super::*;
use crate::status::ApiStatus;
use crate::{ResourceTable, defaults};
use serde_json::json;

fn resource(plural: &str) -> std::sync::Arc<Resource> {
    ResourceTable::builtin().iter().find(|r| r.plural == plural).unwrap().clone()
}

fn object(plural: &str, mut object: Value) -> Value {
    let resource = resource(plural);
    if object.pointer("/metadata/name").is_none() {
        object["metadata"]["name"] = json!("a");
    }
    if resource.namespaced {
        object["metadata"]["namespace"] = json!("n");
    }
    defaults::apply(&resource, &mut object);
    object
}

fn faults(plural: &str, body: Value) -> Vec<String> {
    create(&resource(plural), &object(plural, body)).iter().map(ToString::to_string).collect()
}

fn changes(plural: &str, old: Value, new: Value) -> Vec<String> {
    let errors = update(&resource(plural), "", &object(plural, old), &object(plural, new));
    errors.iter().map(ToString::to_string).collect()
}

fn deployment(labels: Value) -> Value {
    json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
}

#[test]
fn good_objects_pass() {
    for (plural, body) in [
        ("deployments", deployment(json!({"a": "b"}))),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [
            {"name": "v", "mountPath": "/x"}]}], "volumes": [{"name": "v"}]}}),
        ),
        ("services", json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}]}})),
        ("services", json!({"spec": {"clusterIP": "None"}})),
        ("configmaps", json!({"data": {"a.b": "c"}})),
        (
            "clusterroles",
            json!({"metadata": {"name": "system:x"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
        ),
        ("namespaces", json!({})),
    ] {
        assert_eq!(faults(plural, body), Vec::<String>::new(), "{plural}");
    }
}

#[test]
fn common_mistakes_are_named() {
    for (plural, body, want) in [
        (
            "deployments",
            deployment(json!({"a": "x"})),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"x\"}: `selector` does not match template `labels`",
        ),
        ("pods", json!({"spec": {}}), "spec.containers: Required value"),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c"}]}}),
            "spec.containers[0].image: Required value",
        ),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 70000}]}]}}),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            "pods",
            json!({"spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/"}]}]}}),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            "pods",
            json!({"spec": {"restartPolicy": "Maybe", "containers": [{"name": "c", "image": "i"}]}}),
            "spec.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
        ("services", json!({"spec": {}}), "spec.ports: Required value"),
        (
            "services",
            json!({"spec": {"ports": [{"port": 80, "nodePort": 30000}]}}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            "secrets",
            json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}),
            "data[tls.key]: Required value",
        ),
        (
            "rolebindings",
            json!({"roleRef": {"kind": "Foo", "name": "x"}}),
            "roleRef.kind: Unsupported value: \"Foo\": supported values: \"Role\", \"ClusterRole\"",
        ),
        (
            "configmaps",
            json!({"metadata": {"name": "a", "labels": {"a b": "c"}}}),
            "metadata.labels: Invalid value: \"a b\": name part must consist of",
        ),
        (
            "configmaps",
            json!({"metadata": {"name": "A"}}),
            "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of",
        ),
    ] {
        let got = faults(plural, body);
        assert!(got.len() == 1 && got[0].starts_with(want), "{plural}: {got:?}");
    }
}

#[test]
fn some_fields_never_change() {
    let mut other = deployment(json!({"a": "b", "x": "y"}));
    other["spec"]["selector"]["matchLabels"]["x"] = json!("y");
    let got = changes("deployments", deployment(json!({"a": "b"})), other);
    assert_eq!(
        got,
        ["spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"x\":\"y\"}}: field is immutable"]
    );
    let pod = |image: &str, command: &str| json!({"spec": {"containers": [{"name": "c", "image": image, "command": [command]}]}});
    assert_eq!(changes("pods", pod("a:1", "x"), pod("b:1", "x")), Vec::<String>::new());
    assert!(
        changes("pods", pod("a:1", "x"), pod("a:1", "y"))[0]
            .starts_with("spec: Forbidden: pod updates may not")
    );
    let service = |ip: &str| json!({"spec": {"clusterIP": ip, "ports": [{"port": 1}]}});
    assert_eq!(
        changes("services", service("10.0.0.1"), service("10.0.0.2")),
        ["spec.clusterIPs[0]: Invalid value: \"10.0.0.2\": may not change once set"]
    );
    let frozen = json!({"immutable": true, "data": {"a": "1"}});
    assert_eq!(changes("configmaps", frozen, json!({"immutable": true, "data": {}})).len(), 1);
    let going = json!({"metadata": {"name": "a", "deletionTimestamp": "x", "finalizers": ["a/b"]}});
    let more = json!({"metadata": {"name": "a", "deletionTimestamp": "x", "finalizers": ["a/b", "c/d"]}});
    assert!(changes("configmaps", going, more)[0].contains("no new finalizers can be added"));
}

#[test]
fn the_status_of_an_invalid_object() {
    let resource = resource("deployments");
    let errors = create(
        &resource,
        &object("deployments", json!({"spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}})),
    );
    let status = ApiStatus::invalid(&resource, "a", &errors).to_value();
    assert_eq!(
        status,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Deployment.apps \"a\" is invalid: [spec.selector: Required value, spec.template.spec.containers[0].image: Required value]",
            "reason": "Invalid",
            "details": {"name": "a", "group": "apps", "kind": "Deployment", "causes": [
                {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.selector"},
                {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.template.spec.containers[0].image"}]},
            "code": 422})
    );
}

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

/// Each object has just this one fault, which begins like this.
#[track_caller]
fn each(plural: &str, table: &[(Value, &str)]) {
    for (body, want) in table {
        let got = faults(plural, body.clone());
        assert!(got.len() == 1 && got[0].starts_with(want), "{plural} {body}: {got:?}, not {want}");
    }
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
fn faults_of_services() {
    let service = |fields: Value| {
        let mut spec = json!({"ports": [{"port": 80}]});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "spec": spec })
    };
    let ports = |ports: Value| json!({"spec": {"ports": ports}});
    each(
        "services",
        &[
            (service(json!({"type": "x"})), "spec.type: Unsupported value: \"x\""),
            (service(json!({"sessionAffinity": "x"})), "spec.sessionAffinity: Unsupported value: \"x\""),
            (
                service(json!({"type": "NodePort", "clusterIP": "None"})),
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
            ),
            (
                service(json!({"type": "LoadBalancer", "clusterIP": "None"})),
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services",
            ),
            (
                service(json!({"clusterIP": "x"})),
                "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address",
            ),
            (service(json!({"type": "ExternalName"})), "spec.externalName: Required value"),
            (
                service(json!({"type": "ExternalName", "externalName": "A_"})),
                "spec.externalName: Invalid value: \"A_\"",
            ),
            (service(json!({"selector": {"a b": "c"}})), "spec.selector: Invalid value: \"a b\""),
            (ports(json!([{"port": 1, "name": "a"}, {"port": 2}])), "spec.ports[1].name: Required value"),
            (ports(json!([{"port": 1, "name": "A"}])), "spec.ports[0].name: Invalid value: \"A\""),
            (
                ports(json!([{"port": 1, "name": "a"}, {"port": 2, "name": "a"}])),
                "spec.ports[1].name: Duplicate value: \"a\"",
            ),
            (
                ports(json!([{"port": 1, "name": "a"}, {"port": 1, "name": "b"}])),
                "spec.ports[1]: Duplicate value: {",
            ),
            (
                ports(json!([{"targetPort": 80}])),
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535",
            ),
            (ports(json!([{"port": 0, "targetPort": 80}])), "spec.ports[0].port: Invalid value: 0"),
            (
                ports(json!([{"port": 1, "targetPort": "A"}])),
                "spec.ports[0].targetPort: Invalid value: \"A\"",
            ),
            (
                ports(json!([{"port": 1, "protocol": "x"}])),
                "spec.ports[0].protocol: Unsupported value: \"x\"",
            ),
            (
                service(json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 70000}]})),
                "spec.ports[0].nodePort: Invalid value: 70000",
            ),
            (
                service(
                    json!({"type": "ExternalName", "externalName": "a", "ports": [{"port": 1, "nodePort": 3}]}),
                ),
                "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ExternalName'",
            ),
        ],
    );
    for body in [
        service(json!({"type": "ExternalName", "externalName": "a.b.", "ports": []})),
        service(json!({"type": "NodePort", "ports": [{"port": 1, "nodePort": 30000}]})),
        ports(json!([{"port": 1, "nodePort": 0}])),
        ports(json!([{"port": 1, "name": "a"}, {"port": 1, "name": "b", "protocol": "UDP"}])),
        service(json!({"clusterIP": "fd00::1"})),
    ] {
        assert_eq!(faults("services", body.clone()), [""; 0], "{body}");
    }
}

#[test]
fn faults_of_endpoint_slices() {
    each(
        "endpointslices",
        &[
            (json!({}), "addressType: Required value"),
            (json!({"addressType": "x"}), "addressType: Unsupported value: \"x\""),
            (json!({"addressType": "IPv4", "endpoints": [{}]}), "endpoints[0].addresses: Required value"),
            (
                json!({"addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1"]}]}),
                "endpoints[0].addresses[0]: Invalid value",
            ),
            (
                json!({"addressType": "IPv6", "endpoints": [{"addresses": ["1.1.1.1"]}]}),
                "endpoints[0].addresses[0]: Invalid value",
            ),
            (
                json!({"addressType": "IPv4", "ports": [{"protocol": "x"}]}),
                "ports[0].protocol: Unsupported value: \"x\"",
            ),
        ],
    );
    for (kind, address) in [("IPv4", "1.1.1.1"), ("IPv6", "fd00::1"), ("FQDN", "a.b")] {
        let body = json!({"addressType": kind, "endpoints": [{"addresses": [address]}]});
        assert_eq!(faults("endpointslices", body), [""; 0], "{kind}");
    }
}

#[test]
fn faults_of_metadata() {
    let named = |fields: Value| {
        let mut metadata = json!({"name": "a"});
        metadata.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "metadata": metadata })
    };
    let owner = |controller: bool| json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": controller});
    each(
        "configmaps",
        &[
            (named(json!({"name": ""})), "metadata.name: Required value: name or generateName is required"),
            (named(json!({"labels": {"a": "b c"}})), "metadata.labels: Invalid value: \"b c\""),
            (named(json!({"annotations": {"a b": "c"}})), "metadata.annotations: Invalid value: \"a b\""),
            (
                named(json!({"annotations": {"a": "x".repeat(256 * 1024)}})),
                "metadata.annotations: Too long: may not be more than 262144 bytes",
            ),
            (named(json!({"finalizers": ["a/b", "a b"]})), "metadata.finalizers[1]: Invalid value: \"a b\""),
            (
                named(json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]})),
                "metadata.ownerReferences[0].uid: Invalid value: \"\": uid must not be empty",
            ),
            (
                named(json!({"ownerReferences": [owner(true), owner(true)]})),
                "metadata.ownerReferences: Invalid value: 2: Only one reference can have Controller set to true",
            ),
        ],
    );
    for body in [
        named(json!({"annotations": {"A/B": "x".repeat(256 * 1024 - 3)}})),
        named(json!({"ownerReferences": [owner(true), owner(false)]})),
        named(json!({"finalizers": ["a/b"], "labels": {"a": ""}})),
    ] {
        assert_eq!(faults("configmaps", body), [""; 0]);
    }
    let mut lost = object("configmaps", json!({}));
    lost["metadata"]["namespace"] = json!("");
    let texts = |object: &Value| {
        create(&resource("configmaps"), object).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(texts(&lost), ["metadata.namespace: Required value"]);
    lost["metadata"]["namespace"] = json!("A");
    assert!(texts(&lost)[0].starts_with("metadata.namespace: Invalid value: \"A\""));
}

#[test]
fn names_follow_the_rules_of_their_kinds() {
    for (plural, good, bad) in [
        ("namespaces", "a-1", "a.b"),
        ("services", "a-1", "1a"),
        ("clusterroles", "system:a", "a/b"),
        ("configmaps", "1a.b", "a_b"),
    ] {
        let named = |name: &str| {
            let body = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 1}]}});
            faults(plural, body).iter().any(|fault| fault.starts_with("metadata.name: "))
        };
        assert!(!named(good), "{plural} {good}");
        assert!(named(bad), "{plural} {bad}");
    }
}

#[test]
fn faults_of_workloads() {
    let with = |pointer: &str, value: Value| {
        let mut object = deployment(json!({"a": "b"}));
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        if object.pointer(parent).is_none() {
            object["spec"][parent.rsplit('/').next().unwrap()] = json!({});
        }
        object.pointer_mut(parent).unwrap()[key] = value;
        object
    };
    each(
        "deployments",
        &[
            (
                with("/spec/replicas", json!(-1)),
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            ),
            (with("/spec/minReadySeconds", json!(-1)), "spec.minReadySeconds: Invalid value: -1"),
            (with("/spec/revisionHistoryLimit", json!(-1)), "spec.revisionHistoryLimit: Invalid value: -1"),
            (
                with("/spec/progressDeadlineSeconds", json!(-1)),
                "spec.progressDeadlineSeconds: Invalid value: -1",
            ),
            (
                with("/spec/selector", json!({})),
                "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
            ),
            (
                with("/spec/selector", json!({"matchExpressions": [{"key": "a", "operator": "x"}]})),
                "spec.selector: Invalid value: ",
            ),
            (
                with("/spec/template/spec/restartPolicy", json!("Never")),
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ),
            (
                with("/spec/strategy/type", json!("x")),
                "spec.strategy.type: Unsupported value: \"x\": supported values: \"Recreate\"",
            ),
            (
                with("/spec/strategy", json!({"type": "Recreate", "rollingUpdate": {}})),
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            ),
            (
                with("/spec/template/spec/ephemeralContainers", json!([{"name": "e", "image": "i"}])),
                "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",
            ),
            (
                with("/spec/template/metadata/labels", json!({"a": "b", "c d": ""})),
                "spec.template.metadata.labels: Invalid value: \"c d\"",
            ),
        ],
    );
    assert_eq!(faults("deployments", with("/spec/replicas", json!(0))), [""; 0]);
    each(
        "daemonsets",
        &[(
            with("/spec/updateStrategy", json!({"type": "Recreate"})),
            "spec.updateStrategy.type: Unsupported value: \"Recreate\": supported values: \"OnDelete\"",
        )],
    );
}

#[test]
fn faults_of_jobs() {
    let job = |policy: &str| json!({"selector": {}, "template": {"spec": {"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]}}});
    let cron =
        |schedule: &str, spec: Value| json!({"spec": {"schedule": schedule, "jobTemplate": {"spec": spec}}});
    each(
        "jobs",
        &[(
            json!({"spec": job("Always")}),
            "spec.template.spec.restartPolicy: Unsupported value: \"Always\": supported values: \"OnFailure\", \"Never\"",
        )],
    );
    for policy in ["OnFailure", "Never"] {
        assert_eq!(faults("jobs", json!({"spec": job(policy)})), [""; 0]);
    }
    each(
        "cronjobs",
        &[
            (cron("", job("Never")), "spec.schedule: Required value"),
            (
                cron("* *", job("Never")),
                "spec.schedule: Invalid value: \"* *\": expected exactly 5 fields, found 2: [* *]",
            ),
            (
                cron("@daily", job("Always")),
                "spec.jobTemplate.spec.template.spec.restartPolicy: Unsupported value",
            ),
        ],
    );
    for schedule in ["@daily", "0 0 * * *"] {
        assert_eq!(faults("cronjobs", cron(schedule, job("Never"))), [""; 0]);
    }
}

#[test]
fn faults_of_configuration() {
    let most = 1024 * 1024;
    each(
        "configmaps",
        &[
            (json!({"data": {"a b": ""}}), "data[a b]: Invalid value: \"a b\""),
            (json!({"binaryData": {"a b": ""}}), "binaryData[a b]: Invalid value: \"a b\""),
            (
                json!({"data": {"a": ""}, "binaryData": {"a": ""}}),
                "data[a]: Invalid value: \"a\": duplicate of key present in binaryData",
            ),
            (json!({"data": {"a": "x".repeat(most)}}), "<nil>: Too long: may not be more than 1048576 bytes"),
        ],
    );
    assert_eq!(faults("configmaps", json!({"data": {"a": "x".repeat(most - 1)}})), [""; 0]);
    let halves = json!({"data": {"a": "x".repeat(most / 2)}, "binaryData": {"b": "x".repeat(most / 2)}});
    each("configmaps", &[(halves, "<nil>: Too long")]);
    each(
        "secrets",
        &[
            (json!({"data": {"a b": ""}}), "data[a b]: Invalid value: \"a b\""),
            (json!({"data": {"a": "x".repeat(most)}}), "data: Too long"),
            (json!({"type": "kubernetes.io/dockerconfigjson"}), "data[.dockerconfigjson]: Required value"),
            (json!({"type": "kubernetes.io/ssh-auth"}), "data[ssh-privatekey]: Required value"),
        ],
    );
}

#[test]
fn immutable_data_stay() {
    let frozen = |fields: Value| {
        let mut object = json!({"immutable": true, "data": {"a": "1"}, "binaryData": {"b": ""}});
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        object
    };
    for (change, field) in [
        (json!({"immutable": false}), "immutable"),
        (json!({"data": {}}), "data"),
        (json!({"binaryData": {}}), "binaryData"),
    ] {
        let want = format!("{field}: Forbidden: field is immutable when `immutable` is set");
        assert_eq!(changes("configmaps", frozen(json!({})), frozen(change)), [want]);
    }
    assert_eq!(changes("configmaps", json!({"data": {"a": "1"}}), json!({"data": {}})), [""; 0]);
}

#[test]
fn faults_of_roles() {
    let rule = |rule: Value| json!({ "rules": [rule] });
    let urls = json!({"verbs": ["get"], "nonResourceURLs": ["/x"]});
    each(
        "roles",
        &[
            (
                rule(json!({"apiGroups": [""], "resources": ["pods"]})),
                "rules[0].verbs: Required value: verbs must contain at least one value",
            ),
            (
                rule(json!({"verbs": ["get"], "resources": ["pods"]})),
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
            ),
            (
                rule(json!({"verbs": ["get"], "apiGroups": [""]})),
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ),
            (
                rule(urls.clone()),
                "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply",
            ),
        ],
    );
    for key in ["apiGroups", "resources"] {
        let mut both = urls.clone();
        both[key] = json!(["x"]);
        each(
            "clusterroles",
            &[(rule(both), "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both")],
        );
    }
    assert_eq!(faults("clusterroles", rule(urls)), [""; 0]);
}

#[test]
fn faults_of_role_bindings() {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let to = |role: Value| {
        let mut object = json!({"roleRef": {"kind": "ClusterRole", "name": "x", "apiGroup": GROUP}});
        object["roleRef"].as_object_mut().unwrap().extend(role.as_object().unwrap().clone());
        object
    };
    let of = |subject: Value| {
        let mut object = to(json!({}));
        object["subjects"] = json!([subject]);
        object
    };
    each(
        "rolebindings",
        &[
            (to(json!({"apiGroup": "x"})), "roleRef.apiGroup: Unsupported value: \"x\""),
            (to(json!({"name": ""})), "roleRef.name: Required value"),
            (of(json!({"kind": "User", "apiGroup": GROUP})), "subjects[0].name: Required value"),
            (
                of(json!({"kind": "User", "name": "u", "apiGroup": "x"})),
                "subjects[0].apiGroup: Unsupported value: \"x\"",
            ),
            (
                of(json!({"kind": "ServiceAccount", "name": "a", "apiGroup": GROUP})),
                "subjects[0].apiGroup: Unsupported value",
            ),
            (of(json!({"kind": "x", "name": "u"})), "subjects[0].kind: Unsupported value: \"x\""),
        ],
    );
    each(
        "clusterrolebindings",
        &[
            (
                to(json!({"kind": "Role"})),
                "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
            ),
            (of(json!({"kind": "ServiceAccount", "name": "a"})), "subjects[0].namespace: Required value"),
        ],
    );
    for subject in [
        json!({"kind": "User", "name": "u", "apiGroup": GROUP}),
        json!({"kind": "Group", "name": "g", "apiGroup": GROUP}),
        json!({"kind": "ServiceAccount", "name": "a", "namespace": "n"}),
    ] {
        assert_eq!(faults("clusterrolebindings", of(subject)), [""; 0]);
    }
    assert_eq!(faults("rolebindings", to(json!({"kind": "Role"}))), [""; 0]);
}

fn webhook(fields: Value) -> Value {
    let mut webhook = json!({"name": "a.b.c", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": "https://x"}});
    webhook.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({ "webhooks": [webhook] })
}

#[test]
fn faults_of_webhooks() {
    let rule = |fields: Value| {
        let mut rule =
            json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        webhook(json!({ "rules": [rule] }))
    };
    let mut twice = webhook(json!({}));
    twice["webhooks"] = json!([twice["webhooks"][0], twice["webhooks"][0]]);
    for (body, want) in [
        (webhook(json!({"name": ""})), "webhooks[0].name: Required value"),
        (webhook(json!({"name": "A.b.c"})), "webhooks[0].name: Invalid value: \"A.b.c\""),
        (
            webhook(json!({"name": "a.b"})),
            "webhooks[0].name: Invalid value: \"a.b\": should be a domain with at least three",
        ),
        (twice, "webhooks[1].name: Duplicate value: \"a.b.c\""),
        (
            webhook(json!({"admissionReviewVersions": []})),
            "webhooks[0].admissionReviewVersions: Required value",
        ),
        (
            webhook(json!({"admissionReviewVersions": ["v2"]})),
            "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\"]",
        ),
        (webhook(json!({"sideEffects": ""})), "webhooks[0].sideEffects: Required value"),
        (webhook(json!({"sideEffects": "Some"})), "webhooks[0].sideEffects: Unsupported value: \"Some\""),
        (webhook(json!({"failurePolicy": "x"})), "webhooks[0].failurePolicy: Unsupported value: \"x\""),
        (webhook(json!({"matchPolicy": "x"})), "webhooks[0].matchPolicy: Unsupported value: \"x\""),
        (webhook(json!({"timeoutSeconds": 0})), "webhooks[0].timeoutSeconds: Invalid value: 0"),
        (webhook(json!({"timeoutSeconds": 31})), "webhooks[0].timeoutSeconds: Invalid value: 31"),
        (
            webhook(json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "x"}]}})),
            "webhooks[0].objectSelector: Invalid value: ",
        ),
        (
            webhook(json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "x"}]}})),
            "webhooks[0].namespaceSelector: Invalid value: ",
        ),
        (
            webhook(json!({"clientConfig": {}})),
            "webhooks[0].clientConfig: Required value: exactly one of url or service",
        ),
        (
            webhook(
                json!({"clientConfig": {"url": "https://x", "service": {"name": "s", "namespace": "n"}}}),
            ),
            "webhooks[0].clientConfig: Required value: exactly one of url or service",
        ),
        (
            webhook(json!({"clientConfig": {"url": "http://x"}})),
            "webhooks[0].clientConfig.url: Invalid value: \"http://x\"",
        ),
        (
            webhook(json!({"clientConfig": {"service": {"namespace": "n"}}})),
            "webhooks[0].clientConfig.service.name: Required value: service name is required",
        ),
        (
            webhook(json!({"clientConfig": {"service": {"name": "s"}}})),
            "webhooks[0].clientConfig.service.namespace: Required value: service namespace is required",
        ),
        (rule(json!({"operations": []})), "webhooks[0].rules[0].operations: Required value"),
        (rule(json!({"apiGroups": []})), "webhooks[0].rules[0].apiGroups: Required value"),
        (
            rule(json!({"operations": ["CREATE", "x"]})),
            "webhooks[0].rules[0].operations[1]: Unsupported value: \"x\"",
        ),
    ] {
        each("validatingwebhookconfigurations", &[(body, want)]);
    }
    for body in [
        webhook(
            json!({"timeoutSeconds": 1, "admissionReviewVersions": ["v2", "v1beta1"], "sideEffects": "NoneOnDryRun"}),
        ),
        webhook(json!({"timeoutSeconds": 30, "clientConfig": {"service": {"name": "s", "namespace": "n"}}})),
        rule(json!({})),
    ] {
        assert_eq!(faults("validatingwebhookconfigurations", body), [""; 0]);
    }
}

#[test]
fn fields_that_never_change_by_kind() {
    let at = |pointer: &[&str], value: &str| {
        pointer.iter().rev().fold(json!(value), |inner, key| json!({ *key: inner }))
    };
    for (plural, pointer, why) in [
        ("replicasets", &["spec", "selector"][..], "field is immutable"),
        ("daemonsets", &["spec", "selector"], "field is immutable"),
        ("statefulsets", &["spec", "serviceName"], "field is immutable"),
        ("jobs", &["spec", "completionMode"], "field is immutable"),
        ("rolebindings", &["roleRef"], "cannot change roleRef"),
        ("clusterrolebindings", &["roleRef"], "cannot change roleRef"),
        ("secrets", &["type"], "field is immutable"),
        ("endpointslices", &["addressType"], "field is immutable"),
        ("customresourcedefinitions", &["spec", "group"], "field is immutable"),
        ("customresourcedefinitions", &["spec", "scope"], "field is immutable"),
        ("customresourcedefinitions", &["spec", "names", "plural"], "field is immutable"),
    ] {
        let mut errors = Vec::new();
        immutable(&resource(plural), &at(pointer, "a"), &at(pointer, "b"), &mut errors);
        let want = format!("{}: Invalid value: \"b\": {why}", pointer.join("."));
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [want], "{plural}");
        errors.clear();
        immutable(&resource(plural), &at(pointer, "a"), &at(pointer, "a"), &mut errors);
        immutable(&resource(plural), &json!({}), &at(pointer, "a"), &mut errors);
        assert!(errors.is_empty(), "{plural}: {errors:?}");
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

#[test]
fn a_cluster_ip_goes_only_with_the_kind_that_has_it() {
    let service = |kind: &str, ip: &str| json!({"spec": {"type": kind, "clusterIP": ip, "externalName": "a.b", "ports": [{"port": 1}]}});
    let fixed = |old: Value, new: Value| {
        changes("services", old, new).iter().any(|fault| fault.contains("may not change once set"))
    };
    assert!(fixed(service("ClusterIP", "10.0.0.1"), service("ClusterIP", "10.0.0.2")));
    assert!(!fixed(service("ClusterIP", "10.0.0.1"), service("ExternalName", "")));
    assert!(!fixed(service("ExternalName", "10.0.0.1"), service("ClusterIP", "10.0.0.2")));
    assert!(!fixed(service("ClusterIP", ""), service("ClusterIP", "10.0.0.2")));
    assert!(!fixed(service("ClusterIP", "10.0.0.1"), service("ClusterIP", "10.0.0.1")));
}

#[test]
fn writes_to_sub_resources_check_metadata_only() {
    let resource = resource("deployments");
    let (old, mut new) =
        (object("deployments", deployment(json!({"a": "b"}))), object("deployments", json!({})));
    assert!(update(&resource, "status", &old, &new).is_empty());
    new["metadata"]["labels"] = json!({"a b": "c"});
    assert_eq!(update(&resource, "status", &old, &new).len(), 1);
}

#[test]
fn finalizers_may_go_while_an_object_is_deleted() {
    let going = |finalizers: Value| json!({"metadata": {"name": "a", "deletionTimestamp": "x", "finalizers": finalizers}});
    assert_eq!(changes("configmaps", going(json!(["a/b"])), going(json!([]))), [""; 0]);
    let staying = |finalizers: Value| json!({"metadata": {"name": "a", "finalizers": finalizers}});
    assert_eq!(changes("configmaps", staying(json!([])), staying(json!(["a/b"]))), [""; 0]);
}
