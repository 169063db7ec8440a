//! The Node object that stands for this machine, and its heartbeat.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::fields::Capacity;
use crate::plan::Plan;

/// The status is renewed this often (the kubelet's period for an unchanged status is five minutes).
const HEARTBEAT: Duration = Duration::from_secs(60);
/// After an error it is tried again sooner.
const RETRY: Duration = Duration::from_secs(1);
/// More Pods than this make no sense on one machine.
const MAX_PODS: &str = "250";

/// Creates the Node if it is not there and keeps its status fresh, for ever.
pub(crate) async fn keep_node(client: Client, plan: Plan, capacity: Capacity) {
    let api: Api<Node> = Api::all(client);
    let name = plan.node_name();
    let since = Timestamp::now();
    loop {
        let wait = match renew(&api, &name, &plan, capacity, since).await {
            Ok(()) => HEARTBEAT,
            Err(error) => {
                tracing::warn!(node = name, %error, "Node status not written");
                RETRY
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn renew(
    api: &Api<Node>,
    name: &str,
    plan: &Plan,
    capacity: Capacity,
    since: Timestamp,
) -> Result<(), kube::Error> {
    let status = json!({ "status": status(name, plan, capacity, since) });
    match api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await {
        Ok(_) => return Ok(()),
        Err(kube::Error::Api(answer)) if answer.code == 404 => {}
        Err(error) => return Err(error),
    }
    let node = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "labels": {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": architecture(),
            "node-role.kubernetes.io/control-plane": "",
        } },
        "spec": { "podCIDR": plan.pod_cidr(), "podCIDRs": [plan.pod_cidr()] }
    });
    match serde_json::from_value::<Node>(node) {
        Ok(node) => match api.create(&PostParams::default(), &node).await {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if answer.code == 409 => {}
            Err(error) => return Err(error),
        },
        Err(error) => return Err(kube::Error::SerdeError(error)),
    }
    api.patch_status(name, &PatchParams::default(), &Patch::Merge(&status)).await.map(drop)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn status(name: &str, plan: &Plan, capacity: Capacity, since: Timestamp) -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let os = read("/etc/os-release")
        .lines()
        .find_map(|l| l.strip_prefix("PRETTY_NAME=").map(|v| v.trim_matches('"').to_owned()))
        .unwrap_or_else(|| "Linux".to_owned());
    let now = Timestamp::now();
    let condition = |kind: &str, holds: bool, reason: &str, message: &str| {
        json!({ "type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": since })
    };
    let resources = json!({
        "cpu": capacity.cpus.to_string(),
        "memory": format!("{}Ki", capacity.memory_bytes / 1024),
        "pods": MAX_PODS,
    });
    json!({
        "addresses": [
            { "type": "InternalIP", "address": plan.node_address().to_string() },
            { "type": "Hostname", "address": name },
        ],
        "capacity": resources,
        "allocatable": resources,
        "conditions": [
            condition("MemoryPressure", false, "KubeletHasSufficientMemory", "memory is not limited per Pod"),
            condition("DiskPressure", false, "KubeletHasNoDiskPressure", "disk is not limited per Pod"),
            condition("PIDPressure", false, "KubeletHasSufficientPID", "processes are not limited per Pod"),
            condition("Ready", true, "KubeletReady", "the node runtime is running"),
        ],
        "nodeInfo": {
            "machineID": read("/etc/machine-id"),
            "systemUUID": "",
            "bootID": read("/proc/sys/kernel/random/boot_id"),
            "kernelVersion": read("/proc/sys/kernel/osrelease"),
            "osImage": os,
            "containerRuntimeVersion": concat!("portolan://", env!("CARGO_PKG_VERSION")),
            "kubeletVersion": concat!("v1.33.0-portolan.", env!("CARGO_PKG_VERSION")),
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": architecture(),
        },
    })
}
