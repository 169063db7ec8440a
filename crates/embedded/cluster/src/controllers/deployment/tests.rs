use super::*;
use serde_json::json;

fn now() -> Timestamp {
    "2024-01-01T01:00:00Z".parse().unwrap()
}

fn deployment(replicas: i32, extra: serde_json::Value) -> Deployment {
    let mut spec = json!({
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "two"}]}},
    });
    for (key, value) in extra.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "x", "uid": "d", "generation": 2,
                     "annotations": {"note": "kept", "kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "spec": spec,
    }))
    .unwrap()
}

/// A ReplicaSet: `(image, revision, wanted, pods, available)`.
fn set(image: &str, revision: i64, wanted: i32, pods: i32, available: i32) -> Arc<ReplicaSet> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": format!("web-{image}"), "uid": image,
                         "creationTimestamp": format!("2024-01-01T00:00:{revision:02}Z"),
                         "annotations": {REVISION: revision.to_string()}},
            "spec": {"replicas": wanted, "selector": {},
                     "template": {"metadata": {"labels": {"app": "web", HASH_LABEL: image}},
                                  "spec": {"containers": [{"name": "c", "image": image}]}}},
            "status": {"replicas": pods, "availableReplicas": available, "readyReplicas": available},
        }))
        .unwrap(),
    )
}

fn scales(plan: &Plan) -> Vec<(&str, i32)> {
    plan.scale.iter().map(|scale| (scale.name.as_str(), scale.replicas)).collect()
}

#[test]
fn a_new_deployment_gets_its_replica_set() {
    let plan = plan(&deployment(3, json!({})), &[], now());
    let set = plan.create.unwrap();
    assert_eq!(wanted(&set), 3);
    assert!(set.name_any().starts_with("web-"));
    let hash = set.labels()[HASH_LABEL].clone();
    assert_eq!(set.name_any(), format!("web-{hash}"));
    assert_eq!(set.spec.selector.match_labels.unwrap()[HASH_LABEL], hash);
    let annotations = set.metadata.annotations.unwrap();
    assert_eq!(annotations[REVISION], "1");
    assert_eq!(annotations["note"], "kept");
    assert!(!annotations.contains_key("kubectl.kubernetes.io/last-applied-configuration"));
    assert_eq!(plan.revision.as_deref(), Some("1"));
    assert_eq!(find(&plan.status, "Progressing").unwrap().reason.as_deref(), Some("NewReplicaSetCreated"));
}

#[test]
fn the_hash_follows_the_template_only() {
    let one = deployment(1, json!({}));
    let more = deployment(5, json!({}));
    let other = deployment(1, json!({"template": {"metadata": {"labels": {"app": "web"}}}}));
    let hash = |deployment: &Deployment| template_hash(&deployment.spec);
    assert_eq!(hash(&one), hash(&more));
    assert_ne!(hash(&one), hash(&other));
}

#[test]
fn a_rollout_goes_up_within_the_surge_then_down_within_availability() {
    let four = |extra| deployment(4, extra);
    // 25 % of 4: one more, one missing.
    let first = plan(&four(json!({})), &[set("one", 1, 4, 4, 4)], now());
    assert_eq!(wanted(first.create.as_ref().unwrap()), 1);
    assert_eq!(first.revision.as_deref(), Some("2"));
    // The new Pod does not serve yet: one old Pod may already go.
    let step = plan(&four(json!({})), &[set("one", 1, 4, 4, 4), set("two", 2, 1, 1, 0)], now());
    assert_eq!(scales(&step), [("web-one", 3)]);
    let step = plan(&four(json!({})), &[set("one", 1, 3, 3, 3), set("two", 2, 1, 1, 0)], now());
    assert_eq!(scales(&step), [("web-two", 2)]);
    // Enough missing: wait.
    let step = plan(&four(json!({})), &[set("one", 1, 3, 3, 3), set("two", 2, 2, 2, 0)], now());
    assert_eq!(scales(&step), []);
    let step = plan(&four(json!({})), &[set("one", 1, 3, 3, 3), set("two", 2, 2, 2, 2)], now());
    assert_eq!(scales(&step), [("web-one", 1)]);
    let done = plan(&four(json!({})), &[set("one", 1, 0, 0, 0), set("two", 2, 4, 4, 4)], now());
    assert_eq!(scales(&done), []);
    assert_eq!(find(&done.status, "Progressing").unwrap().reason.as_deref(), Some("NewReplicaSetAvailable"));
    assert_eq!(find(&done.status, "Available").unwrap().status.as_deref(), Some("True"));
}

#[test]
fn zero_unavailable_keeps_all_old_pods_until_the_new_serve() {
    let extra =
        json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}});
    let d = deployment(1, extra);
    let step = plan(&d, &[set("one", 1, 1, 1, 1), set("two", 2, 1, 1, 0)], now());
    assert_eq!(scales(&step), []);
    let step = plan(&d, &[set("one", 1, 1, 1, 1), set("two", 2, 1, 1, 1)], now());
    assert_eq!(scales(&step), [("web-one", 0)]);
}

#[test]
fn old_pods_that_never_served_do_not_hold_the_rollout() {
    let step = plan(&deployment(2, json!({})), &[set("bad", 1, 2, 2, 0), set("two", 2, 1, 1, 1)], now());
    assert_eq!(scales(&step), [("web-bad", 1)]);
}

#[test]
fn recreate_waits_until_the_old_are_gone() {
    let d = deployment(2, json!({"strategy": {"type": "Recreate"}}));
    let first = plan(&d, &[set("one", 1, 2, 2, 2)], now());
    assert_eq!(wanted(first.create.as_ref().unwrap()), 0);
    assert_eq!(scales(&first), [("web-one", 0)]);
    assert_eq!(scales(&plan(&d, &[set("one", 1, 0, 1, 0), set("two", 2, 0, 0, 0)], now())), []);
    assert_eq!(scales(&plan(&d, &[set("one", 1, 0, 0, 0), set("two", 2, 0, 0, 0)], now())), [("web-two", 2)]);
}

#[test]
fn going_back_reuses_the_old_set_with_a_new_revision() {
    let step = plan(&deployment(1, json!({})), &[set("two", 1, 0, 0, 0), set("one", 2, 1, 1, 1)], now());
    assert!(step.create.is_none());
    assert_eq!(step.revision.as_deref(), Some("3"));
    assert_eq!(step.annotate.unwrap().1[REVISION], "3");
    assert_eq!(
        scales(&Plan {
            annotate: None,
            ..plan(&deployment(1, json!({})), &[set("two", 1, 0, 0, 0), set("one", 2, 1, 1, 1)], now())
        }),
        [("web-two", 1)]
    );
}

#[test]
fn a_paused_deployment_rolls_nothing_out() {
    let step = plan(&deployment(1, json!({"paused": true})), &[set("one", 1, 1, 1, 1)], now());
    assert!(step.create.is_none() && step.scale.is_empty());
}

#[test]
fn history_is_cut_when_the_rollout_is_complete() {
    let d = deployment(1, json!({"revisionHistoryLimit": 1}));
    let sets = [set("a", 1, 0, 0, 0), set("b", 2, 0, 0, 0), set("two", 3, 1, 1, 1)];
    assert_eq!(plan(&d, &sets, now()).delete, ["web-a"]);
}

#[test]
fn the_progress_deadline_is_noticed_once_nothing_moves() {
    let mut d = deployment(1, json!({"progressDeadlineSeconds": 60}));
    let sets = [set("two", 1, 1, 1, 0)];
    let first = plan(&d, &sets, now());
    assert_eq!(first.check_after, Some(Duration::from_secs(61)));
    d.status = Some(first.status);
    let later = now().checked_add(SignedDuration::from_secs(61)).unwrap();
    let second = plan(&d, &sets, later);
    let progressing = find(&second.status, "Progressing").unwrap();
    assert_eq!(
        (progressing.status.as_deref(), progressing.reason.as_deref()),
        (Some("False"), Some("ProgressDeadlineExceeded"))
    );
    // And stays so without changing the status again.
    d.status = Some(second.status.clone());
    assert_eq!(plan(&d, &sets, later).status, second.status);
}

#[test]
fn percentages_round_in_the_safe_direction() {
    let text = |percent: &str| Some(IntOrString::String(percent.to_owned()));
    assert_eq!(portion(text("25%").as_ref(), 3, true), 1);
    assert_eq!(portion(text("25%").as_ref(), 3, false), 0);
    assert_eq!(portion(Some(&IntOrString::Int(2)), 3, false), 2);
    assert_eq!(portion(None, 4, true), 1);
}
