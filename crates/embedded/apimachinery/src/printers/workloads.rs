//! Kinds that run Pods, and those that steer them.

use serde_json::{Value, json};

use super::util::{NONE, age, containers, list, number, pairs, plain, selector, since, text};
use crate::time;

pub(super) fn deployment(object: &Value, now: i64) -> Vec<Value> {
    let desired = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let [names, images] = containers(object, "/spec/template/spec");
    vec![
        json!(format!("{}/{desired}", number(object, "/status/readyReplicas"))),
        json!(number(object, "/status/updatedReplicas")),
        json!(number(object, "/status/availableReplicas")),
        age(object, now),
        names,
        images,
        json!(selector(object, "/spec/selector")),
    ]
}

pub(super) fn replica_set(object: &Value, now: i64) -> Vec<Value> {
    let [names, images] = containers(object, "/spec/template/spec");
    // A ReplicationController's selector is a plain map.
    let selected = match text(object, "/kind") {
        "ReplicationController" => pairs(object, "/spec/selector"),
        _ => selector(object, "/spec/selector"),
    };
    vec![
        json!(object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)),
        json!(number(object, "/status/replicas")),
        json!(number(object, "/status/readyReplicas")),
        age(object, now),
        names,
        images,
        json!(selected),
    ]
}

pub(super) fn stateful_set(object: &Value, now: i64) -> Vec<Value> {
    let desired = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
    let [names, images] = containers(object, "/spec/template/spec");
    vec![
        json!(format!("{}/{desired}", number(object, "/status/readyReplicas"))),
        age(object, now),
        names,
        images,
    ]
}

pub(super) fn daemon_set(object: &Value, now: i64) -> Vec<Value> {
    let [names, images] = containers(object, "/spec/template/spec");
    vec![
        json!(number(object, "/status/desiredNumberScheduled")),
        json!(number(object, "/status/currentNumberScheduled")),
        json!(number(object, "/status/numberReady")),
        json!(number(object, "/status/updatedNumberScheduled")),
        json!(number(object, "/status/numberAvailable")),
        json!(pairs(object, "/spec/template/spec/nodeSelector")),
        age(object, now),
        names,
        images,
        json!(selector(object, "/spec/selector")),
    ]
}

pub(super) fn controller_revision(object: &Value, now: i64) -> Vec<Value> {
    let owners = list(object, "/metadata/ownerReferences");
    let owner = owners.iter().find(|o| o.get("controller") == Some(&Value::Bool(true)));
    let owner = owner
        .map_or(NONE.to_owned(), |o| format!("{}/{}", text(o, "/kind").to_lowercase(), text(o, "/name")));
    vec![json!(owner), json!(number(object, "/revision")), age(object, now)]
}

pub(super) fn job(object: &Value, now: i64) -> Vec<Value> {
    let is = |kind: &str| {
        list(object, "/status/conditions")
            .iter()
            .any(|c| text(c, "/type") == kind && text(c, "/status") == "True")
    };
    let status = if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if object.pointer("/metadata/deletionTimestamp").is_some() {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else {
        "Running"
    };
    let succeeded = number(object, "/status/succeeded");
    let completions = match object.pointer("/spec/completions").and_then(Value::as_i64) {
        Some(wanted) => format!("{succeeded}/{wanted}"),
        None => match number(object, "/spec/parallelism") {
            n if n > 1 => format!("{succeeded}/1 of {n}"),
            _ => format!("{succeeded}/1"),
        },
    };
    let start = time::parse(text(object, "/status/startTime"));
    let end = time::parse(text(object, "/status/completionTime")).unwrap_or(now);
    let duration = start.map_or(String::new(), |start| time::human_duration(end - start));
    let [names, images] = containers(object, "/spec/template/spec");
    let selected = selector(object, "/spec/selector");
    vec![json!(status), json!(completions), json!(duration), age(object, now), names, images, json!(selected)]
}

pub(super) fn cron_job(object: &Value, now: i64) -> Vec<Value> {
    let zone = text(object, "/spec/timeZone");
    let suspended = object.pointer("/spec/suspend") == Some(&Value::Bool(true));
    let last = object.pointer("/status/lastScheduleTime");
    let last = last.map_or(NONE.to_owned(), |_| since(object, "/status/lastScheduleTime", now));
    let [names, images] = containers(object, "/spec/jobTemplate/spec/template/spec");
    vec![
        json!(text(object, "/spec/schedule")),
        json!(if zone.is_empty() { NONE } else { zone }),
        json!(if suspended { "True" } else { "False" }),
        json!(list(object, "/status/active").len()),
        json!(last),
        age(object, now),
        names,
        images,
        json!(selector(object, "/spec/jobTemplate/spec/selector")),
    ]
}

pub(super) fn autoscaler(object: &Value, now: i64) -> Vec<Value> {
    let reference = format!(
        "{}/{}",
        text(object, "/spec/scaleTargetRef/kind"),
        text(object, "/spec/scaleTargetRef/name")
    );
    let mut targets = Vec::new();
    for (i, metric) in list(object, "/spec/metrics").iter().enumerate() {
        let name = text(metric, "/resource/name");
        let current = list(object, "/status/currentMetrics")
            .get(i)
            .and_then(|m| m.pointer("/resource/current/averageUtilization"))
            .and_then(Value::as_i64)
            .map_or("<unknown>".to_owned(), |n| format!("{n}%"));
        let wanted = plain(metric.pointer("/resource/target/averageUtilization"));
        targets.push(format!("{name}: {current}/{wanted}%"));
    }
    vec![
        json!(reference),
        json!(if targets.is_empty() { NONE.to_owned() } else { targets.join(", ") }),
        json!(object.pointer("/spec/minReplicas").map_or("<unset>".to_owned(), Value::to_string)),
        json!(number(object, "/spec/maxReplicas")),
        json!(number(object, "/status/currentReplicas")),
        age(object, now),
    ]
}

pub(super) fn disruption_budget(object: &Value, now: i64) -> Vec<Value> {
    vec![
        json!(plain(object.pointer("/spec/minAvailable"))),
        json!(plain(object.pointer("/spec/maxUnavailable"))),
        json!(number(object, "/status/disruptionsAllowed")),
        age(object, now),
    ]
}
