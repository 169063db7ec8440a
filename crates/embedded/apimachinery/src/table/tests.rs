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
