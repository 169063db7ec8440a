//! One row per kind, as kubectl shows it.

use super::*;
use crate::ResourceTable;

const NOW: i64 = 1_709_251_199;

fn row(group: &str, plural: &str, mut object: Value) -> Vec<String> {
    let table = ResourceTable::builtin();
    let resource = table.iter().find(|r| r.group == group && r.plural == plural).unwrap();
    object["metadata"]["name"] = json!("x");
    object["metadata"]["creationTimestamp"] = json!(time::format(NOW - 300));
    let rendered = render(
        resource,
        [&object],
        json!({"resourceVersion": "7", "name": "x"}),
        IncludeObject::None,
        true,
        NOW,
    );
    assert_eq!(rendered["metadata"], json!({"resourceVersion": "7"}));
    let cells = rendered["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(rendered["columnDefinitions"].as_array().unwrap().len(), cells.len(), "{plural}");
    cells.iter().map(|c| c.as_str().map_or_else(|| c.to_string(), str::to_owned)).collect()
}

#[test]
fn every_kind_has_as_many_cells_as_columns() {
    for resource in ResourceTable::builtin().iter() {
        row(&resource.group, &resource.plural, json!({}));
    }
}

#[test]
fn pods() {
    let running = json!({"state": {"running": {}}, "ready": true, "restartCount": 0});
    let crashed = json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 3,
        "lastState": {"terminated": {"finishedAt": time::format(NOW - 60)}}});
    for (spec, status, want) in [
        (json!({"containers": [{}]}), json!({"phase": "Pending"}), "0/1 Pending 0"),
        (
            json!({"containers": [{}]}),
            json!({"phase": "Running", "containerStatuses": [running]}),
            "1/1 Running 0",
        ),
        (
            json!({"containers": [{}, {}]}),
            json!({"phase": "Running", "containerStatuses": [running, crashed]}),
            "1/2 CrashLoopBackOff 3 (60s ago)",
        ),
        (
            json!({"containers": [{}], "initContainers": [{"name": "a"}, {"name": "b"}]}),
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "a", "state": {"terminated": {"exitCode": 0}}}, {"name": "b", "state": {"running": {}}}]}),
            "0/1 Init:1/2 0",
        ),
        (
            json!({"containers": [{}], "initContainers": [{"name": "a"}]}),
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "a", "state": {"terminated": {"exitCode": 2, "reason": "Error"}}}]}),
            "0/1 Init:Error 0",
        ),
        (
            json!({"containers": [{}]}),
            json!({"phase": "Succeeded", "containerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}]}),
            "0/1 Completed 0",
        ),
    ] {
        let cells = row("", "pods", json!({"spec": spec, "status": status}));
        assert_eq!(cells[1..4].join(" "), want);
        assert_eq!(cells[4], "5m");
    }
    let going = json!({"metadata": {"deletionTimestamp": "x"}, "status": {"phase": "Running"}});
    assert_eq!(row("", "pods", going)[2], "Terminating");
}

#[test]
fn other_kinds() {
    for (group, plural, object, want) in [
        (
            "apps",
            "deployments",
            json!({"spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": [
                {"name": "c", "image": "i"}]}}}, "status": {"readyReplicas": 1, "updatedReplicas": 2}}),
            "x 1/2 2 0 5m c i a=b",
        ),
        (
            "",
            "services",
            json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "ports": [
                {"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
            "x LoadBalancer 10.96.0.9 <pending> 80:30080/TCP,53/UDP 5m <none>",
        ),
        ("", "configmaps", json!({"data": {"a": "", "b": ""}}), "x 2 5m"),
        ("", "secrets", json!({"type": "Opaque", "data": {"a": ""}}), "x Opaque 1 5m"),
        (
            "discovery.k8s.io",
            "endpointslices",
            json!({"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [
                {"addresses": ["1.1.1.1"]}, {"addresses": ["1.1.1.2"]}, {"addresses": ["1.1.1.3"]}, {"addresses": ["1.1.1.4"]}]}),
            "x IPv4 80 1.1.1.1,1.1.1.2,1.1.1.3 + 1 more... 5m",
        ),
        (
            "",
            "events",
            json!({"type": "Normal", "reason": "Started", "message": "hi", "count": 2, "lastTimestamp": time::format(NOW - 9),
                "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet"}}),
            "9s Normal Started pod/p  kubelet hi <unknown> 2 x",
        ),
        (
            "rbac.authorization.k8s.io",
            "rolebindings",
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "n"}]}),
            "x Role/r 5m   n/a",
        ),
        (
            "batch",
            "jobs",
            json!({"spec": {"completions": 1}, "status": {"succeeded": 1, "startTime": time::format(NOW - 20),
                "completionTime": time::format(NOW - 10), "conditions": [{"type": "Complete", "status": "True"}]}}),
            "x Complete 1/1 10s 5m   <none>",
        ),
    ] {
        assert_eq!(row(group, plural, object).join(" "), want, "{plural}");
    }
}

#[test]
fn workloads() {
    let template = json!({"spec": {"nodeSelector": {"disk": "ssd"}, "containers": [
        {"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}});
    let selector = json!({"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [
        {"key": "x", "operator": "Exists"}, {"key": "y", "operator": "DoesNotExist"},
        {"key": "z", "operator": "NotIn", "values": ["p", "q"]}]});
    let shown = "a=1,b=2,x,!y,z notin (p,q)";
    for (group, plural, object, want) in [
        ("apps", "deployments", json!({}), "x 0/1 0 0 5m   <none>".to_owned()),
        (
            "apps",
            "deployments",
            json!({"spec": {"selector": selector, "template": template}, "status": {"availableReplicas": 3}}),
            format!("x 0/1 0 3 5m c,d i,j {shown}"),
        ),
        (
            "apps",
            "replicasets",
            json!({"spec": {"replicas": 3, "selector": selector}, "status": {"replicas": 2, "readyReplicas": 1}}),
            format!("x 3 2 1 5m   {shown}"),
        ),
        ("apps", "replicasets", json!({}), "x 1 0 0 5m   <none>".into()),
        (
            "",
            "replicationcontrollers",
            json!({"kind": "ReplicationController", "spec": {"selector": {"a": "b"}}}),
            "x 1 0 0 5m   a=b".into(),
        ),
        (
            "apps",
            "statefulsets",
            json!({"spec": {"replicas": 2, "template": template}, "status": {"readyReplicas": 1}}),
            "x 1/2 5m c,d i,j".into(),
        ),
        (
            "apps",
            "daemonsets",
            json!({"spec": {"template": template}, "status": {"desiredNumberScheduled": 5, "currentNumberScheduled": 4,
                "numberReady": 3, "updatedNumberScheduled": 2, "numberAvailable": 1}}),
            "x 5 4 3 2 1 disk=ssd 5m c,d i,j <none>".into(),
        ),
        (
            "apps",
            "controllerrevisions",
            json!({"revision": 7, "metadata": {"ownerReferences": [
                {"kind": "Other", "name": "o"}, {"kind": "DaemonSet", "name": "d", "controller": true}]}}),
            "x daemonset/d 7 5m".into(),
        ),
        ("apps", "controllerrevisions", json!({}), "x <none> 0 5m".into()),
        (
            "batch",
            "cronjobs",
            json!({"spec": {"schedule": "@daily", "timeZone": "UTC", "suspend": true, "jobTemplate": {"spec": {
                "template": template}}}, "status": {"active": [{}], "lastScheduleTime": time::format(NOW - 60)}}),
            "x @daily UTC True 1 60s 5m c,d i,j <none>".into(),
        ),
        ("batch", "cronjobs", json!({}), "x  <none> False 0 <none> 5m   <none>".into()),
        (
            "autoscaling",
            "horizontalpodautoscalers",
            json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 2, "maxReplicas": 5,
                "metrics": [{"resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
                    {"resource": {"name": "memory", "target": {"averageUtilization": 70}}}]},
                "status": {"currentReplicas": 3, "currentMetrics": [
                    {"resource": {"current": {"averageUtilization": 50}}}]}}),
            "x Deployment/d cpu: 50%/80%, memory: <unknown>/70% 2 5 3 5m".into(),
        ),
        ("autoscaling", "horizontalpodautoscalers", json!({}), "x / <none> <unset> 0 0 5m".into()),
        (
            "policy",
            "poddisruptionbudgets",
            json!({"spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 2}}),
            "x 50% N/A 2 5m".into(),
        ),
        ("policy", "poddisruptionbudgets", json!({"spec": {"maxUnavailable": 1}}), "x N/A 1 0 5m".into()),
    ] {
        assert_eq!(row(group, plural, object).join(" "), want, "{plural}");
    }
}

#[test]
fn jobs_say_how_far_they_are() {
    let job = |spec: Value, status: Value| {
        row("batch", "jobs", json!({"spec": spec, "status": status}))[1..4].join(" ")
    };
    let is = |kind: &str| json!({"conditions": [{"type": kind, "status": "True"}]});
    assert_eq!(job(json!({}), is("Failed")), "Failed 0/1 ");
    assert_eq!(job(json!({}), is("Suspended")), "Suspended 0/1 ");
    assert_eq!(
        job(json!({}), json!({"conditions": [{"type": "Failed", "status": "False"}]})),
        "Running 0/1 "
    );
    assert_eq!(job(json!({"parallelism": 3}), json!({"succeeded": 2})), "Running 2/1 of 3 ");
    assert_eq!(job(json!({"parallelism": 1}), json!({})), "Running 0/1 ");
    assert_eq!(
        job(json!({"completions": 4}), json!({"startTime": time::format(NOW - 30)})),
        "Running 0/4 30s"
    );
    let going = json!({"metadata": {"deletionTimestamp": "x"}, "status": is("Suspended")});
    assert_eq!(row("batch", "jobs", going)[1], "Terminating");
}

#[test]
fn services_and_what_is_behind_them() {
    let ports = json!([{"port": 80}]);
    for (plural, object, want) in [
        (
            "services",
            json!({"spec": {"ports": ports, "selector": {"a": "b"}}}),
            "x ClusterIP <none> <none> 80/TCP 5m a=b",
        ),
        (
            "services",
            json!({"spec": {"externalIPs": ["1.1.1.1", "1.1.1.2"]}}),
            "x ClusterIP <none> 1.1.1.1,1.1.1.2 <none> 5m <none>",
        ),
        (
            "services",
            json!({"spec": {"type": "ExternalName", "externalName": "a.b"}}),
            "x ExternalName <none> a.b <none> 5m <none>",
        ),
        (
            "services",
            json!({"spec": {"type": "LoadBalancer", "externalIPs": ["1.1.1.1"]},
                "status": {"loadBalancer": {"ingress": [{"ip": "2.2.2.2"}, {"hostname": "h"}]}}}),
            "x LoadBalancer <none> 1.1.1.1,2.2.2.2,h <none> 5m <none>",
        ),
        ("endpoints", json!({}), "x <none> 5m"),
        (
            "endpoints",
            json!({"subsets": [{"addresses": [{"ip": "1.1.1.1"}], "ports": [{"port": 80}, {"port": 81}]},
                {"addresses": [{"ip": "1.1.1.2"}]}]}),
            "x 1.1.1.1:80,1.1.1.1:81,1.1.1.2 5m",
        ),
        ("namespaces", json!({"status": {"phase": "Active"}}), "x Active 5m"),
        ("serviceaccounts", json!({"secrets": [{}, {}]}), "x 2 5m"),
        ("configmaps", json!({"data": {"a": ""}, "binaryData": {"b": "", "c": ""}}), "x 3 5m"),
    ] {
        assert_eq!(row("", plural, object).join(" "), want, "{plural}");
    }
    let slice = json!({"addressType": "IPv4", "ports": [{"name": "http"}]});
    assert_eq!(row("discovery.k8s.io", "endpointslices", slice).join(" "), "x IPv4 http <unset> 5m");
    assert_eq!(row("discovery.k8s.io", "endpointslices", json!({})).join(" "), "x  <unset> <unset> 5m");
}

#[test]
fn nodes() {
    let node = |spec: Value, status: Value| row("", "nodes", json!({"spec": spec, "status": status}));
    let ready = |status: &str| json!({"conditions": [{"type": "Ready", "status": status}]});
    assert_eq!(node(json!({}), ready("True"))[1], "Ready");
    assert_eq!(node(json!({}), ready("False"))[1], "NotReady");
    assert_eq!(node(json!({"unschedulable": true}), json!({}))[1], "Unknown,SchedulingDisabled");
    let whole = json!({
        "metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "node-role.kubernetes.io/": "", "other": ""}},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "nodeInfo": {
            "kubeletVersion": "v1", "osImage": "os", "kernelVersion": "k", "containerRuntimeVersion": "r"}},
    });
    assert_eq!(row("", "nodes", whole)[2..].join(" "), "control-plane 5m v1 10.0.0.1 <none> os k r");
    assert_eq!(
        node(json!({}), json!({}))[2..].join(" "),
        "<none> 5m  <none> <none> <unknown> <unknown> <unknown>"
    );
}

#[test]
fn events_of_both_groups() {
    let old = json!({"involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec"}, "message": " hi ",
        "source": {"component": "kubelet", "host": "n"}, "firstTimestamp": time::format(NOW - 60)});
    assert_eq!(row("", "events", old).join(" "), "60s   pod/p spec kubelet, n hi 60s 1 x");
    let new = json!({"regarding": {"kind": "Pod", "name": "p"}, "note": "hi", "reportingController": "c",
        "eventTime": time::format(NOW - 60), "series": {"count": 3, "lastObservedTime": time::format(NOW - 9)}});
    assert_eq!(row("events.k8s.io", "events", new).join(" "), "9s   pod/p  c hi 60s 3 x");
}

#[test]
fn volumes_and_classes() {
    let modes = json!(["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod", "Other"]);
    for (group, plural, object, want) in [
        (
            "",
            "persistentvolumes",
            json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": modes, "storageClassName": "s",
                "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "n", "name": "c"}},
                "status": {"phase": "Bound"}}),
            "x 1Gi RWO,ROX,RWX,RWOP,Other Retain Bound n/c s 5m",
        ),
        ("", "persistentvolumes", json!({}), "x       5m"),
        (
            "",
            "persistentvolumeclaims",
            json!({"spec": {"volumeName": "v", "storageClassName": "s"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}),
            "x Bound v 1Gi RWO s 5m",
        ),
        ("storage.k8s.io", "storageclasses", json!({"provisioner": "p"}), "x p <none> <none> 5m"),
        ("scheduling.k8s.io", "priorityclasses", json!({"value": 7, "globalDefault": true}), "x 7 true 5m"),
        ("scheduling.k8s.io", "priorityclasses", json!({}), "x 0 false 5m"),
        ("coordination.k8s.io", "leases", json!({"spec": {"holderIdentity": "h"}}), "x h 5m"),
        (
            "admissionregistration.k8s.io",
            "validatingwebhookconfigurations",
            json!({"webhooks": [{}]}),
            "x 1 5m",
        ),
        (
            "networking.k8s.io",
            "networkpolicies",
            json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}),
            "x a=b 5m",
        ),
        (
            "networking.k8s.io",
            "ingresses",
            json!({"spec": {"ingressClassName": "c", "rules": [{"host": "a.b"}, {}, {"host": "c.d"}], "tls": [{}]},
                "status": {"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}, {"hostname": "h"}]}}}),
            "x c a.b,c.d 1.1.1.1,h 80, 443 5m",
        ),
        ("networking.k8s.io", "ingresses", json!({}), "x <none> *  80 5m"),
        (
            "networking.k8s.io",
            "ingressclasses",
            json!({"spec": {"controller": "c", "parameters": {"kind": "K", "name": "n"}}}),
            "x c K/n 5m",
        ),
        ("networking.k8s.io", "ingressclasses", json!({}), "x  <none> 5m"),
        (
            "apiregistration.k8s.io",
            "apiservices",
            json!({"spec": {"service": {"namespace": "n", "name": "s"}},
                "status": {"conditions": [{"type": "Available", "status": "True"}]}}),
            "x n/s True 5m",
        ),
        ("apiregistration.k8s.io", "apiservices", json!({}), "x Local Unknown 5m"),
        (
            "rbac.authorization.k8s.io",
            "rolebindings",
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"},
                {"kind": "User", "name": "v"}, {"kind": "Group", "name": "g"}]}),
            "x Role/r 5m u, v g ",
        ),
    ] {
        assert_eq!(row(group, plural, object).join(" "), want, "{plural}");
    }
    let role = row("rbac.authorization.k8s.io", "roles", json!({}));
    assert_eq!(role[1], time::format(NOW - 300));
}

#[test]
fn pods_in_less_usual_states() {
    let state = |spec: Value, status: Value| {
        let cells = row("", "pods", json!({"spec": spec, "status": status}));
        cells[1..4].join(" ")
    };
    let one = json!({"containers": [{}]});
    let terminated =
        |fields: Value| json!({"phase": "Failed", "containerStatuses": [{"state": {"terminated": fields}}]});
    assert_eq!(state(json!({}), json!({})), "0/0 Unknown 0");
    assert_eq!(state(one.clone(), terminated(json!({"exitCode": 3}))), "0/1 ExitCode:3 0");
    assert_eq!(state(one.clone(), terminated(json!({"signal": 9, "exitCode": 137}))), "0/1 Signal:9 0");
    assert_eq!(state(one.clone(), json!({"phase": "Failed", "reason": "Evicted"})), "0/1 Evicted 0");
    let gated =
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]});
    assert_eq!(state(one.clone(), gated), "0/1 SchedulingGated 0");
    let not_ready =
        json!({"phase": "Running", "containerStatuses": [{"state": {"running": {}}, "ready": false}]});
    assert_eq!(state(one.clone(), not_ready), "0/1 Running 0");
    let some_done = |ready: &str| {
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}], "containerStatuses": [
            {"state": {"terminated": {"reason": "Completed"}}}, {"state": {"running": {}}, "ready": true}]})
    };
    let two = json!({"containers": [{}, {}]});
    assert_eq!(state(two.clone(), some_done("True")), "1/2 Running 0");
    assert_eq!(state(two, some_done("False")), "1/2 NotReady 0");
    let waiting = |reason: &str, done: &str| {
        json!({"phase": "Pending", "conditions": [{"type": "Initialized", "status": done}], "initContainerStatuses": [
            {"name": "a", "restartCount": 2, "state": {"waiting": {"reason": reason}}}],
            "containerStatuses": [{"state": {"waiting": {"reason": "Later"}}, "restartCount": 4}]})
    };
    let init = json!({"containers": [{}], "initContainers": [{"name": "a"}]});
    assert_eq!(state(init.clone(), waiting("ErrImagePull", "False")), "0/1 Init:ErrImagePull 2");
    assert_eq!(state(init.clone(), waiting("PodInitializing", "False")), "0/1 Init:0/1 2");
    assert_eq!(state(init, waiting("PodInitializing", "True")), "0/1 Later 4");
    let sidecar = json!({"containers": [{}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]});
    let started = |started: bool, ready: bool| {
        json!({"phase": "Running", "initContainerStatuses": [
            {"name": "s", "restartCount": 2, "started": started, "ready": ready, "state": {"running": {}}}],
            "containerStatuses": [{"state": {"running": {}}, "ready": true, "restartCount": 1}]})
    };
    assert_eq!(state(sidecar.clone(), started(true, true)), "2/2 Running 3");
    assert_eq!(state(sidecar.clone(), started(true, false)), "1/2 Running 3");
    assert_eq!(state(sidecar, started(false, true)), "0/2 Init:0/1 2");
}

#[test]
fn pods_that_go_say_so_unless_they_are_done() {
    let going = |status: Value| {
        row("", "pods", json!({"metadata": {"deletionTimestamp": "x"}, "status": status}))[2].clone()
    };
    assert_eq!(going(json!({"phase": "Pending"})), "Terminating");
    assert_eq!(going(json!({"phase": "Succeeded"})), "Succeeded");
    assert_eq!(going(json!({"phase": "Failed"})), "Failed");
    assert_eq!(going(json!({"phase": "Running", "reason": "NodeLost"})), "Unknown");
}

#[test]
fn wide_pods_show_where_they_are() {
    let pod = json!({
        "spec": {"nodeName": "n", "readinessGates": [{"conditionType": "A"}, {"conditionType": "B"}]},
        "status": {"podIP": "10.0.0.1", "nominatedNodeName": "m", "conditions": [{"type": "A", "status": "True"},
            {"type": "B", "status": "False"}]},
    });
    assert_eq!(row("", "pods", pod)[5..].join(" "), "10.0.0.1 n m 1/2");
    let two = json!({"status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "fd00::1"}, {"ip": "10.0.0.1"}]}});
    assert_eq!(row("", "pods", two)[5..].join(" "), "fd00::1 <none> <none> <none>");
    assert_eq!(row("", "pods", json!({}))[5], "<none>");
}

#[test]
fn columns_of_built_in_kinds_are_described() {
    let table = ResourceTable::builtin();
    let resource = table.iter().find(|r| r.group == "apps" && r.plural == "deployments").unwrap();
    let definitions: Vec<Value> = resource.columns.iter().map(Column::definition).collect();
    let column = |name: &str| definitions.iter().find(|column| column["name"] == name).unwrap();
    assert_eq!(
        *column("Name"),
        json!({"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0})
    );
    assert_eq!(
        *column("Available"),
        json!({"name": "Available", "type": "integer", "format": "", "description": "", "priority": 0})
    );
    assert_eq!(column("Selector")["priority"], 1);
    let events = table.iter().find(|r| r.group.is_empty() && r.plural == "events").unwrap();
    assert_eq!((events.columns[0].name.as_str(), events.columns.len()), ("Last Seen", 10));
}

#[test]
fn rows_carry_as_much_of_their_objects_as_was_asked_for() {
    let table = ResourceTable::builtin();
    let resource = table.iter().find(|r| r.plural == "configmaps").unwrap();
    let object = json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {}});
    let row = |include: IncludeObject| {
        let all = render(
            resource,
            [&object],
            json!({"continue": "c", "remainingItemCount": 3}),
            include,
            false,
            NOW,
        );
        assert_eq!(all["columnDefinitions"], Value::Null);
        assert_eq!(all["metadata"], json!({"continue": "c", "remainingItemCount": 3}));
        all["rows"][0].get("object").cloned()
    };
    assert_eq!(row(IncludeObject::parse(Some("None"))), None);
    assert_eq!(row(IncludeObject::parse(Some("Object"))), Some(object.clone()));
    let partial =
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}});
    for parameter in [None, Some("Metadata"), Some("other")] {
        assert_eq!(row(IncludeObject::parse(parameter)), Some(partial.clone()));
    }
    assert_eq!(partial_metadata(&json!({}))["metadata"], json!({}));
}
