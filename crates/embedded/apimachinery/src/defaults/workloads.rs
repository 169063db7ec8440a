//! Kinds that make Pods.

use serde_json::{Value, json};

use super::{pod, set, set_in};

/// Old ReplicaSets or revisions that are kept.
const REVISION_HISTORY: i64 = 10;

pub(super) fn deployment(object: &mut Value) {
    set(object, "/spec", "replicas", 1);
    set(object, "/spec", "revisionHistoryLimit", REVISION_HISTORY);
    set(object, "/spec", "progressDeadlineSeconds", 600);
    rolling(object, "strategy", json!({"maxUnavailable": "25%", "maxSurge": "25%"}));
    pod::template(object.pointer_mut("/spec/template"));
}

pub(super) fn replica_set(object: &mut Value) {
    set(object, "/spec", "replicas", 1);
    pod::template(object.pointer_mut("/spec/template"));
}

pub(super) fn replication_controller(object: &mut Value) {
    set(object, "/spec", "replicas", 1);
    if let Some(labels) = object.pointer("/spec/template/metadata/labels").cloned() {
        set(object, "/spec", "selector", labels);
    }
    pod::template(object.pointer_mut("/spec/template"));
}

pub(super) fn stateful_set(object: &mut Value) {
    set(object, "/spec", "replicas", 1);
    set(object, "/spec", "podManagementPolicy", "OrderedReady");
    set(object, "/spec", "revisionHistoryLimit", REVISION_HISTORY);
    set(
        object,
        "/spec",
        "persistentVolumeClaimRetentionPolicy",
        json!({"whenDeleted": "Retain", "whenScaled": "Retain"}),
    );
    rolling(object, "updateStrategy", json!({"partition": 0}));
    pod::template(object.pointer_mut("/spec/template"));
}

pub(super) fn daemon_set(object: &mut Value) {
    set(object, "/spec", "revisionHistoryLimit", REVISION_HISTORY);
    rolling(object, "updateStrategy", json!({"maxUnavailable": 1, "maxSurge": 0}));
    pod::template(object.pointer_mut("/spec/template"));
}

/// `type: RollingUpdate` and its parameters, each for itself.
fn rolling(object: &mut Value, field: &str, parameters: Value) {
    set(object, "/spec", field, json!({}));
    let Some(strategy) = object.pointer_mut(&format!("/spec/{field}")).and_then(Value::as_object_mut) else {
        return;
    };
    set_in(strategy, "type", "RollingUpdate");
    if strategy.get("type") != Some(&json!("RollingUpdate")) {
        return;
    }
    set_in(strategy, "rollingUpdate", json!({}));
    if let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
        for (key, value) in parameters.as_object().into_iter().flatten() {
            set_in(rolling, key, value.clone());
        }
    }
}

/// `spec` of a Job, also inside a CronJob.
pub(super) fn job(spec: Option<&mut Value>) {
    let Some(spec) = spec else { return };
    let Some(map) = spec.as_object_mut() else { return };
    match (map.contains_key("completions"), map.contains_key("parallelism")) {
        (false, false) => {
            set_in(map, "completions", 1);
            set_in(map, "parallelism", 1);
        }
        _ => set_in(map, "parallelism", 1),
    }
    set_in(map, "backoffLimit", 6);
    set_in(map, "completionMode", "NonIndexed");
    set_in(map, "suspend", false);
    set_in(map, "podReplacementPolicy", "TerminatingOrFailed");
    pod::template(spec.get_mut("template"));
}

pub(super) fn cron_job(object: &mut Value) {
    set(object, "/spec", "concurrencyPolicy", "Allow");
    set(object, "/spec", "suspend", false);
    set(object, "/spec", "successfulJobsHistoryLimit", 3);
    set(object, "/spec", "failedJobsHistoryLimit", 1);
    pod::template(object.pointer_mut("/spec/jobTemplate/spec/template"));
}
