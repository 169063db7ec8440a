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

/// What defaults add to an object, by the pointers that are asked for.
#[track_caller]
fn adds(plural: &str, object: Value, wanted: &[(&str, Value)]) {
    let object = defaulted(plural, object);
    for (pointer, value) in wanted {
        assert_eq!(object.pointer(pointer), Some(value), "{plural} {pointer}: {object}");
    }
}

#[test]
fn workloads_have_a_size_and_a_way_to_change() {
    let rolling = |parameters: Value| json!({"type": "RollingUpdate", "rollingUpdate": parameters});
    adds(
        "deployments",
        json!({}),
        &[
            ("/spec/replicas", json!(1)),
            ("/spec/revisionHistoryLimit", json!(10)),
            ("/spec/progressDeadlineSeconds", json!(600)),
            ("/spec/strategy", rolling(json!({"maxUnavailable": "25%", "maxSurge": "25%"}))),
        ],
    );
    adds(
        "replicasets",
        json!({"spec": {"template": {"spec": {}}}}),
        &[("/spec/replicas", json!(1)), ("/spec/template/spec/restartPolicy", json!("Always"))],
    );
    adds(
        "replicationcontrollers",
        json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}}}),
        &[
            ("/spec/replicas", json!(1)),
            ("/spec/selector", json!({"a": "b"})),
            ("/spec/template/spec/dnsPolicy", json!("ClusterFirst")),
        ],
    );
    adds(
        "statefulsets",
        json!({"spec": {"template": {"spec": {}}}}),
        &[
            ("/spec/replicas", json!(1)),
            ("/spec/podManagementPolicy", json!("OrderedReady")),
            ("/spec/revisionHistoryLimit", json!(10)),
            (
                "/spec/persistentVolumeClaimRetentionPolicy",
                json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
            ),
            ("/spec/updateStrategy", rolling(json!({"partition": 0}))),
            ("/spec/template/spec/restartPolicy", json!("Always")),
        ],
    );
    adds(
        "daemonsets",
        json!({"spec": {"template": {"spec": {}}}}),
        &[
            ("/spec/revisionHistoryLimit", json!(10)),
            ("/spec/updateStrategy", rolling(json!({"maxUnavailable": 1, "maxSurge": 0}))),
            ("/spec/template/spec/restartPolicy", json!("Always")),
        ],
    );
    adds("horizontalpodautoscalers", json!({}), &[("/spec/minReplicas", json!(1))]);
    adds(
        "podtemplates",
        json!({"template": {"spec": {}}}),
        &[("/template/spec/restartPolicy", json!("Always"))],
    );
}

#[test]
fn jobs_run_once_unless_they_say_how_often() {
    adds(
        "jobs",
        json!({"spec": {"template": {"spec": {}}}}),
        &[
            ("/spec/completions", json!(1)),
            ("/spec/parallelism", json!(1)),
            ("/spec/backoffLimit", json!(6)),
            ("/spec/completionMode", json!("NonIndexed")),
            ("/spec/suspend", json!(false)),
            ("/spec/podReplacementPolicy", json!("TerminatingOrFailed")),
            ("/spec/template/spec/schedulerName", json!("default-scheduler")),
        ],
    );
    let queue = defaulted("jobs", json!({"spec": {"parallelism": 3}}));
    assert_eq!((queue["spec"].get("completions"), &queue["spec"]["parallelism"]), (None, &json!(3)));
    adds(
        "jobs",
        json!({"spec": {"completions": 3}}),
        &[("/spec/parallelism", json!(1)), ("/spec/completions", json!(3))],
    );
    adds(
        "cronjobs",
        json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": {}}}}}}),
        &[
            ("/spec/concurrencyPolicy", json!("Allow")),
            ("/spec/suspend", json!(false)),
            ("/spec/successfulJobsHistoryLimit", json!(3)),
            ("/spec/failedJobsHistoryLimit", json!(1)),
            ("/spec/jobTemplate/spec/template/spec/restartPolicy", json!("Always")),
        ],
    );
}

#[test]
fn pods_have_what_is_not_said() {
    adds(
        "pods",
        json!({"spec": {"containers": [{"name": "c"}]}}),
        &[
            ("/spec/enableServiceLinks", json!(true)),
            ("/spec/schedulerName", json!("default-scheduler")),
            ("/spec/terminationGracePeriodSeconds", json!(30)),
            ("/spec/securityContext", json!({})),
            ("/status/phase", json!("Pending")),
            ("/spec/containers/0/terminationMessagePath", json!("/dev/termination-log")),
            ("/spec/containers/0/terminationMessagePolicy", json!("File")),
            ("/spec/containers/0/resources", json!({})),
        ],
    );
}

#[test]
fn the_old_name_of_the_account_is_kept_equal() {
    for field in ["serviceAccountName", "serviceAccount"] {
        adds(
            "pods",
            json!({"spec": {field: "a"}}),
            &[("/spec/serviceAccountName", json!("a")), ("/spec/serviceAccount", json!("a"))],
        );
    }
    let none = defaulted("pods", json!({"spec": {"serviceAccount": ""}}));
    assert_eq!(none["spec"].get("serviceAccountName"), None);
}

#[test]
fn all_containers_of_a_pod_have_defaults() {
    let one = json!([{"name": "c", "image": "a:1"}]);
    adds(
        "pods",
        json!({"spec": {"containers": one, "initContainers": one, "ephemeralContainers": one}}),
        &[
            ("/spec/containers/0/imagePullPolicy", json!("IfNotPresent")),
            ("/spec/initContainers/0/imagePullPolicy", json!("IfNotPresent")),
            ("/spec/ephemeralContainers/0/imagePullPolicy", json!("IfNotPresent")),
        ],
    );
}

#[test]
fn ports_of_the_host_follow_those_of_the_container() {
    let pod = |host: bool| json!({"spec": {"hostNetwork": host, "containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}});
    adds("pods", pod(true), &[("/spec/containers/0/ports/0/hostPort", json!(80))]);
    let own = defaulted("pods", pod(false));
    assert_eq!(own.pointer("/spec/containers/0/ports/0/hostPort"), None);
}

#[test]
fn probes_and_hooks_have_defaults() {
    let get = json!({"httpGet": {"port": 80}});
    let container = json!({"name": "c", "readinessProbe": get, "startupProbe": {"grpc": {"port": 1}},
        "lifecycle": {"postStart": get, "preStop": get}});
    let whole = json!({"port": 80, "path": "/", "scheme": "HTTP"});
    adds(
        "pods",
        json!({"spec": {"containers": [container]}}),
        &[
            ("/spec/containers/0/readinessProbe/failureThreshold", json!(3)),
            ("/spec/containers/0/readinessProbe/httpGet", whole.clone()),
            ("/spec/containers/0/startupProbe/grpc", json!({"port": 1, "service": ""})),
            ("/spec/containers/0/lifecycle/postStart/httpGet", whole.clone()),
            ("/spec/containers/0/lifecycle/preStop/httpGet", whole),
        ],
    );
    let named = json!({"spec": {"containers": [{"name": "c", "livenessProbe": {"grpc": {"port": 1, "service": "s"}}}]}});
    adds("pods", named, &[("/spec/containers/0/livenessProbe/grpc/service", json!("s"))]);
}

#[test]
fn volumes_have_defaults_by_their_kind() {
    let reference = json!({"path": "p", "fieldRef": {"fieldPath": "metadata.name"}});
    let volumes = json!([
        {"name": "a", "configMap": {"name": "c"}}, {"name": "b", "secret": {"secretName": "s", "defaultMode": 256}},
        {"name": "c", "downwardAPI": {"items": [reference]}}, {"name": "d", "hostPath": {"path": "/x"}},
        {"name": "e", "hostPath": {"path": "/x", "type": "Socket"}},
        {"name": "f", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}, {"downwardAPI": {"items": [reference]}}]}},
        {"name": "g", "persistentVolumeClaim": {"claimName": "x"}},
    ]);
    adds(
        "pods",
        json!({"spec": {"volumes": volumes}}),
        &[
            ("/spec/volumes/0/configMap/defaultMode", json!(420)),
            ("/spec/volumes/1/secret/defaultMode", json!(256)),
            ("/spec/volumes/2/downwardAPI/defaultMode", json!(420)),
            ("/spec/volumes/2/downwardAPI/items/0/fieldRef/apiVersion", json!("v1")),
            ("/spec/volumes/3/hostPath/type", json!("")),
            ("/spec/volumes/4/hostPath/type", json!("Socket")),
            ("/spec/volumes/5/projected/defaultMode", json!(420)),
            ("/spec/volumes/5/projected/sources/0/serviceAccountToken/expirationSeconds", json!(3600)),
            ("/spec/volumes/5/projected/sources/1/downwardAPI/items/0/fieldRef/apiVersion", json!("v1")),
            ("/spec/volumes/6", json!({"name": "g", "persistentVolumeClaim": {"claimName": "x"}})),
        ],
    );
}

#[test]
fn spread_constraints_have_defaults() {
    adds(
        "pods",
        json!({"spec": {"topologySpreadConstraints": [{}]}}),
        &[(
            "/spec/topologySpreadConstraints/0",
            json!({"nodeAffinityPolicy": "Honor", "nodeTaintsPolicy": "Ignore"}),
        )],
    );
}

#[test]
fn requests_follow_from_limits() {
    let resources = json!({"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}});
    adds(
        "pods",
        json!({"spec": {"containers": [{"name": "c", "resources": resources}]}}),
        &[
            ("/spec/containers/0/resources/requests", json!({"cpu": "1", "memory": "1Gi"})),
            ("/status/qosClass", json!("Burstable")),
        ],
    );
}

#[test]
fn only_processors_and_memory_make_a_class() {
    let class = |first: Value, second: Value| {
        let containers = json!([{"name": "a", "resources": first}, {"name": "b", "resources": second}]);
        defaulted("pods", json!({"spec": {"containers": containers}}))["status"]["qosClass"].clone()
    };
    let whole = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    assert_eq!(class(json!({"requests": {"disk": "1"}}), json!({})), "BestEffort");
    assert_eq!(class(whole.clone(), json!({})), "Burstable");
    assert_eq!(class(whole.clone(), whole.clone()), "Guaranteed");
    assert_eq!(class(whole, json!({"limits": {"cpu": "1"}})), "Burstable");
}

#[test]
fn services_have_defaults_by_their_type() {
    let families = [("/spec/ipFamilies", json!(["IPv4"])), ("/spec/ipFamilyPolicy", json!("SingleStack"))];
    adds(
        "services",
        json!({"spec": {"sessionAffinity": "ClientIP"}}),
        &[
            ("/spec/type", json!("ClusterIP")),
            ("/spec/sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10_800}})),
            ("/spec/internalTrafficPolicy", json!("Cluster")),
            ("/status/loadBalancer", json!({})),
            families[0].clone(),
            families[1].clone(),
        ],
    );
    let external = defaulted("services", json!({"spec": {"type": "ExternalName"}}));
    for field in ["internalTrafficPolicy", "ipFamilies", "externalTrafficPolicy", "sessionAffinityConfig"] {
        assert_eq!(external["spec"].get(field), None, "{field}");
    }
    let node = defaulted("services", json!({"spec": {"type": "NodePort"}}));
    assert_eq!(node["spec"]["externalTrafficPolicy"], "Cluster");
    assert_eq!(node["spec"].get("allocateLoadBalancerNodePorts"), None);
    adds(
        "services",
        json!({"spec": {"type": "LoadBalancer"}}),
        &[("/spec/allocateLoadBalancerNodePorts", json!(true))],
    );
    adds(
        "services",
        json!({"spec": {"ports": [{"port": 80, "targetPort": 0}, {"port": 81, "targetPort": "http"}]}}),
        &[("/spec/ports/0/targetPort", json!(80)), ("/spec/ports/1/targetPort", json!("http"))],
    );
}

#[test]
fn what_is_around_services_has_protocols() {
    adds(
        "endpoints",
        json!({"subsets": [{"ports": [{"port": 80}]}]}),
        &[("/subsets/0/ports/0/protocol", json!("TCP"))],
    );
    adds(
        "endpointslices",
        json!({"ports": [{"port": 80}, {"name": "a", "protocol": "UDP"}]}),
        &[
            ("/ports/0", json!({"port": 80, "protocol": "TCP", "name": ""})),
            ("/ports/1", json!({"name": "a", "protocol": "UDP"})),
        ],
    );
    let rules = json!([{"ports": [{"port": 80}]}]);
    adds(
        "networkpolicies",
        json!({"spec": {"ingress": rules}}),
        &[("/spec/policyTypes", json!(["Ingress"])), ("/spec/ingress/0/ports/0/protocol", json!("TCP"))],
    );
    adds(
        "networkpolicies",
        json!({"spec": {"egress": rules}}),
        &[
            ("/spec/policyTypes", json!(["Ingress", "Egress"])),
            ("/spec/egress/0/ports/0/protocol", json!("TCP")),
        ],
    );
    adds("networkpolicies", json!({"spec": {"egress": []}}), &[("/spec/policyTypes", json!(["Ingress"]))]);
    adds(
        "ingresses",
        json!({"spec": {"rules": [{"http": {"paths": [{}]}}]}}),
        &[
            ("/spec/rules/0/http/paths/0/pathType", json!("ImplementationSpecific")),
            ("/status/loadBalancer", json!({})),
        ],
    );
}

#[test]
fn other_kinds_have_defaults() {
    adds(
        "persistentvolumeclaims",
        json!({}),
        &[("/spec/volumeMode", json!("Filesystem")), ("/status/phase", json!("Pending"))],
    );
    adds(
        "persistentvolumes",
        json!({}),
        &[
            ("/spec/persistentVolumeReclaimPolicy", json!("Retain")),
            ("/spec/volumeMode", json!("Filesystem")),
            ("/status/phase", json!("Pending")),
        ],
    );
    adds(
        "storageclasses",
        json!({}),
        &[("/reclaimPolicy", json!("Delete")), ("/volumeBindingMode", json!("Immediate"))],
    );
    adds("priorityclasses", json!({}), &[("/preemptionPolicy", json!("PreemptLowerPriority"))]);
    let group = json!("rbac.authorization.k8s.io");
    let subjects = json!([{"kind": "User"}, {"kind": "Group"}, {"kind": "ServiceAccount"}]);
    adds(
        "rolebindings",
        json!({"roleRef": {}, "subjects": subjects}),
        &[
            ("/roleRef/apiGroup", group.clone()),
            ("/subjects/0/apiGroup", group.clone()),
            ("/subjects/1/apiGroup", group),
            ("/subjects/2", json!({"kind": "ServiceAccount"})),
        ],
    );
    adds(
        "customresourcedefinitions",
        json!({"spec": {"names": {"kind": "Gadget"}}}),
        &[
            ("/spec/names/singular", json!("gadget")),
            ("/spec/names/listKind", json!("GadgetList")),
            ("/spec/conversion", json!({"strategy": "None"})),
        ],
    );
}

#[test]
fn webhooks_have_defaults() {
    let object = || json!({"webhooks": [{"rules": [{}]}]});
    adds(
        "validatingwebhookconfigurations",
        object(),
        &[
            ("/webhooks/0/matchPolicy", json!("Equivalent")),
            ("/webhooks/0/failurePolicy", json!("Fail")),
            ("/webhooks/0/namespaceSelector", json!({})),
            ("/webhooks/0/objectSelector", json!({})),
            ("/webhooks/0/timeoutSeconds", json!(10)),
            ("/webhooks/0/rules/0/scope", json!("*")),
        ],
    );
    let validating = defaulted("validatingwebhookconfigurations", object());
    assert_eq!(validating["webhooks"][0].get("reinvocationPolicy"), None);
}

#[test]
fn a_namespace_that_is_deleted_gets_no_finalizer_back() {
    let going = defaulted("namespaces", json!({"metadata": {"name": "n", "deletionTimestamp": "x"}}));
    assert_eq!((going.get("spec"), going.get("status")), (None, None));
    adds("namespaces", json!({"metadata": {"name": "n"}}), &[("/spec/finalizers", json!(["kubernetes"]))]);
}

#[test]
fn texts_that_are_empty_and_nulls_count_as_none() {
    adds("secrets", json!({"type": ""}), &[("/type", json!("Opaque"))]);
    adds("deployments", json!({"spec": {"replicas": null}}), &[("/spec/replicas", json!(1))]);
}

#[test]
fn a_pod_decides_before_its_account_whether_it_has_a_token() {
    let mounts = |own: Option<bool>, account: Option<bool>| {
        let mut pod = json!({"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "b"}]}});
        if let Some(own) = own {
            pod["spec"]["automountServiceAccountToken"] = json!(own);
        }
        admit_service_account(&mut pod, account, "x");
        let count = |list: &str| pod["spec"][list][0]["volumeMounts"].as_array().map_or(0, Vec::len);
        (count("containers"), count("initContainers"), pod["spec"]["volumes"].as_array().map_or(0, Vec::len))
    };
    assert_eq!(mounts(None, None), (1, 1, 1));
    assert_eq!(mounts(None, Some(false)), (0, 0, 0));
    assert_eq!(mounts(Some(true), Some(false)), (1, 1, 1));
    assert_eq!(mounts(Some(false), Some(true)), (0, 0, 0));
}

#[test]
fn a_token_comes_with_authority_and_namespace() {
    let mut pod = json!({"spec": {"serviceAccountName": "own", "volumes": [{"name": "v"}], "containers": [{"name": "a"}]}});
    admit_service_account(&mut pod, None, "x");
    assert_eq!(pod["spec"]["serviceAccount"], "own");
    assert_eq!(
        pod["spec"]["volumes"][1],
        json!({"name": "kube-api-access-x", "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}})
    );
    assert_eq!(
        pod["spec"]["containers"][0]["volumeMounts"],
        json!([{"name": "kube-api-access-x", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}])
    );
    let mut own = json!({"spec": {"containers": [{"name": "b", "volumeMounts": [
        {"name": "own", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}]}});
    admit_service_account(&mut own, None, "x");
    assert_eq!(own["spec"].get("volumes"), None);
}
