//! Kinds that make Pods.

use super::*;

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
