//! What a Deployment wants of its ReplicaSets: a decision from objects alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetSpec,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::controllers::meta::{owner_reference, short_hash};

/// Label that tells the Pods of one template from those of another.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";
/// Number of the rollout, on the Deployment and on each ReplicaSet (what `kubectl rollout history` shows).
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that its ReplicaSets do not get.
const NOT_INHERITED: [&str; 4] = ["kubectl.kubernetes.io/last-applied-configuration", REVISION, DESIRED, MAX];
const DEFAULT_HISTORY: i32 = 10;
const DEFAULT_PROGRESS_DEADLINE: i32 = 600;

/// A new number of replicas for one ReplicaSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) name: String,
    pub(crate) replicas: i32,
}

/// Everything that is to be done for one Deployment now.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) create: Option<ReplicaSet>,
    pub(crate) scale: Vec<Scale>,
    /// ReplicaSets beyond the history limit.
    pub(crate) delete: Vec<String>,
    /// Annotations that the current ReplicaSet lacks.
    pub(crate) annotate: Option<(String, BTreeMap<String, String>)>,
    /// The revision that the Deployment's own annotation must show.
    pub(crate) revision: Option<String>,
    pub(crate) status: DeploymentStatus,
    /// When the progress deadline is due.
    pub(crate) check_after: Option<Duration>,
}

/// Decides from the Deployment and the ReplicaSets that it controls.
pub(crate) fn plan(deployment: &Deployment, sets: &[Arc<ReplicaSet>], now: Timestamp) -> Plan {
    let spec = &deployment.spec;
    let mut sets: Vec<&ReplicaSet> =
        sets.iter().map(|set| &**set).filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
    sets.sort_by_key(|set| (set.metadata.creation_timestamp.clone(), set.name_any()));
    let current = current_set(deployment, spec, &sets);
    let old: Vec<&ReplicaSet> = sets
        .iter()
        .copied()
        .filter(|set| current.is_none_or(|current| current.metadata.name != set.metadata.name))
        .collect();

    let mut plan = Plan::default();
    let bounds = Bounds::of(spec);
    let last_revision = old.iter().map(|set| revision(set)).max().unwrap_or(0);
    let own_revision = match current {
        Some(set) if revision(set) > last_revision => revision(set),
        _ => last_revision + 1,
    };
    if deployment.metadata.deletion_timestamp.is_none() {
        match current {
            None if spec.paused != Some(true) => {
                let replicas = if bounds.recreate {
                    // Nothing of the old may run beside the new.
                    if old.iter().all(|set| pods(set) == 0) { bounds.replicas } else { 0 }
                } else {
                    grow(0, &bounds, old.iter().map(|set| wanted(set)).sum())
                };
                plan.create = Some(new_set(deployment, spec, replicas, own_revision, &bounds));
                plan.revision = Some(own_revision.to_string());
                if bounds.recreate {
                    plan.scale = old.iter().filter(|set| wanted(set) > 0).map(|set| to(set, 0)).collect();
                }
            }
            None => {}
            Some(current) => {
                plan.scale = if bounds.recreate {
                    recreate(current, &old, &bounds)
                } else {
                    roll(current, &old, &bounds)
                };
                plan.revision = Some(own_revision.to_string());
                plan.annotate = missing_annotations(deployment, current, own_revision, &bounds);
            }
        }
    }
    plan.status = status(deployment, spec, current, &sets, &plan, &bounds, now);
    if is_complete(&plan.status, &bounds, deployment) {
        plan.delete = beyond_history(spec, &old);
    } else if let Some(condition) = find(&plan.status, "Progressing")
        && is_true(condition)
        && let Some(deadline) = deadline(spec, condition)
    {
        let left = deadline.duration_since(now) + SignedDuration::from_secs(1);
        plan.check_after = Duration::try_from(left).ok();
    }
    plan
}

/// How many Pods there may be and must be during a rollout.
#[derive(Debug)]
struct Bounds {
    replicas: i32,
    max_total: i32,
    min_available: i32,
    recreate: bool,
}

impl Bounds {
    fn of(spec: &DeploymentSpec) -> Self {
        let replicas = spec.replicas.unwrap_or(1).max(0);
        let strategy = spec.strategy.clone().unwrap_or_default();
        let rolling = strategy.rolling_update.unwrap_or_default();
        let surge = portion(rolling.max_surge.as_ref(), replicas, true);
        let mut unavailable = portion(rolling.max_unavailable.as_ref(), replicas, false);
        if surge == 0 && unavailable == 0 {
            // Both zero would never move (rounding of small percentages): let one be missing.
            unavailable = 1;
        }
        let recreate = strategy.type_.as_deref() == Some("Recreate");
        Self {
            replicas,
            max_total: if recreate { replicas } else { replicas.saturating_add(surge) },
            min_available: if recreate { 0 } else { (replicas - unavailable).max(0) },
            recreate,
        }
    }
}

/// A number or a percentage of `total`; percentages round up for the surge, down for what may be missing.
/// The default is 25 %.
fn portion(value: Option<&IntOrString>, total: i32, up: bool) -> i32 {
    let percent = match value {
        Some(IntOrString::Int(number)) => return (*number).max(0),
        Some(IntOrString::String(text)) => {
            text.strip_suffix('%').and_then(|number| number.parse::<i64>().ok()).unwrap_or(25)
        }
        None => 25,
    };
    let product = i64::from(total) * percent.max(0);
    let part = if up { (product + 99) / 100 } else { product / 100 };
    i32::try_from(part).unwrap_or(i32::MAX)
}

fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

fn pods(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}

fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

fn revision(set: &ReplicaSet) -> i64 {
    set.annotations().get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn to(set: &ReplicaSet, replicas: i32) -> Scale {
    Scale { name: set.name_any(), replicas }
}

/// The ReplicaSet of the present template: by the name that it would get, else by its content (a template
/// may have been given defaults since).
fn current_set<'a>(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    sets: &[&'a ReplicaSet],
) -> Option<&'a ReplicaSet> {
    let name = format!("{}-{}", deployment.name_any(), template_hash(spec));
    sets.iter()
        .find(|set| set.metadata.name.as_deref() == Some(&name))
        .or_else(|| {
            sets.iter().find(|set| {
                let template = set.spec.template.clone();
                template.map(without_hash).as_ref() == Some(&spec.template)
            })
        })
        .copied()
}

fn without_hash(mut template: PodTemplateSpec) -> PodTemplateSpec {
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    template
}

fn template_hash(spec: &DeploymentSpec) -> String {
    // Typed values serialise with sorted keys: equal templates give equal text.
    short_hash(&serde_json::to_string(&spec.template).unwrap_or_default())
}

fn new_set(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    replicas: i32,
    revision: i64,
    bounds: &Bounds,
) -> ReplicaSet {
    let hash = template_hash(spec);
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector: LabelSelector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels: Some(labels),
            annotations: Some(annotations(deployment, revision, bounds)),
            owner_references: Some(vec![owner_reference("apps/v1", "Deployment", &deployment.metadata)]),
            ..ObjectMeta::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        },
        status: None,
    }
}

fn annotations(deployment: &Deployment, revision: i64, bounds: &Bounds) -> BTreeMap<String, String> {
    let mut out: BTreeMap<String, String> = deployment
        .annotations()
        .iter()
        .filter(|(key, _)| !NOT_INHERITED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    out.insert(REVISION.to_owned(), revision.to_string());
    out.insert(DESIRED.to_owned(), bounds.replicas.to_string());
    out.insert(MAX.to_owned(), bounds.max_total.to_string());
    out
}

fn missing_annotations(
    deployment: &Deployment,
    current: &ReplicaSet,
    revision: i64,
    bounds: &Bounds,
) -> Option<(String, BTreeMap<String, String>)> {
    let mut wanted = annotations(deployment, revision, bounds);
    wanted.retain(|key, value| current.annotations().get(key) != Some(value));
    (!wanted.is_empty()).then(|| (current.name_any(), wanted))
}

/// The size that the new set may grow to from `has`, with `others` Pods wanted elsewhere.
fn grow(has: i32, bounds: &Bounds, others: i32) -> i32 {
    let room = (bounds.max_total - has - others).max(0);
    has + room.min(bounds.replicas - has).max(0)
}

/// One step of a rolling update: first the new set as far as the surge allows, else the old ones as far as
/// availability allows.
fn roll(current: &ReplicaSet, old: &[&ReplicaSet], bounds: &Bounds) -> Vec<Scale> {
    let has = wanted(current);
    if has > bounds.replicas {
        return vec![to(current, bounds.replicas)];
    }
    let others: i32 = old.iter().map(|set| wanted(set)).sum();
    let grown = grow(has, bounds, others);
    if grown != has {
        return vec![to(current, grown)];
    }
    if others == 0 {
        return Vec::new();
    }
    // Pods of the new set that do not serve yet count as missing already.
    let new_missing = (has - available(current)).max(0);
    let mut budget = has + others - bounds.min_available - new_missing;
    let mut left: BTreeMap<String, i32> = old.iter().map(|set| (set.name_any(), wanted(set))).collect();
    // Those that do not serve can go first: nobody misses them.
    for set in old {
        let broken = (wanted(set) - available(set)).max(0).min(budget.max(0));
        if broken > 0 {
            *left.entry(set.name_any()).or_default() -= broken;
            budget -= broken;
        }
    }
    let serving = available(current) + old.iter().map(|set| available(set)).sum::<i32>();
    let mut spare = (serving - bounds.min_available).max(0);
    for set in old {
        let entry = left.entry(set.name_any()).or_default();
        let cut = (*entry).min(spare).min(available(set)).max(0);
        *entry -= cut;
        spare -= cut;
    }
    old.iter()
        .filter_map(|set| {
            let target = *left.get(&set.name_any())?;
            (target != wanted(set)).then(|| to(set, target))
        })
        .collect()
}

fn recreate(current: &ReplicaSet, old: &[&ReplicaSet], bounds: &Bounds) -> Vec<Scale> {
    let stops: Vec<Scale> = old.iter().filter(|set| wanted(set) > 0).map(|set| to(set, 0)).collect();
    if !stops.is_empty() {
        return stops;
    }
    if old.iter().all(|set| pods(set) == 0) && wanted(current) != bounds.replicas {
        return vec![to(current, bounds.replicas)];
    }
    Vec::new()
}

fn beyond_history(spec: &DeploymentSpec, old: &[&ReplicaSet]) -> Vec<String> {
    let keep = usize::try_from(spec.revision_history_limit.unwrap_or(DEFAULT_HISTORY)).unwrap_or(0);
    let mut idle: Vec<&&ReplicaSet> = old.iter().filter(|set| wanted(set) == 0 && pods(set) == 0).collect();
    idle.sort_by_key(|set| revision(set));
    let surplus = idle.len().saturating_sub(keep);
    idle.into_iter().take(surplus).map(|set| set.name_any()).collect()
}

fn is_complete(status: &DeploymentStatus, bounds: &Bounds, deployment: &Deployment) -> bool {
    status.updated_replicas.unwrap_or(0) == bounds.replicas
        && status.replicas.unwrap_or(0) == bounds.replicas
        && status.available_replicas.unwrap_or(0) == bounds.replicas
        && status.observed_generation == deployment.metadata.generation
}

fn is_true(condition: &DeploymentCondition) -> bool {
    condition.status.as_deref() == Some("True")
}

fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_deref()?.iter().find(|condition| condition.type_.as_deref() == Some(kind))
}

fn deadline(spec: &DeploymentSpec, progressing: &DeploymentCondition) -> Option<Timestamp> {
    let seconds = spec.progress_deadline_seconds.unwrap_or(DEFAULT_PROGRESS_DEADLINE);
    let since = progressing.last_update_time.as_ref()?.0;
    since.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

fn status(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    current: Option<&ReplicaSet>,
    sets: &[&ReplicaSet],
    plan: &Plan,
    bounds: &Bounds,
    now: Timestamp,
) -> DeploymentStatus {
    let before = deployment.status.clone().unwrap_or_default();
    let sum = |of: fn(&ReplicaSet) -> i32| sets.iter().map(|set| of(set)).sum::<i32>();
    let total = sum(pods);
    let serving = sum(available);
    let ready = sum(|set| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0));
    let wanted_total = sum(wanted);
    let mut status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: Some(total),
        updated_replicas: Some(current.map_or(0, pods)),
        ready_replicas: Some(ready),
        available_replicas: Some(serving),
        unavailable_replicas: Some((wanted_total - serving).max(0)),
        collision_count: before.collision_count,
        conditions: None,
        terminating_replicas: before.terminating_replicas,
    };
    let name = current.map(ResourceExt::name_any).or_else(|| plan.create.as_ref().map(ResourceExt::name_any));
    let name = name.unwrap_or_default();

    let mut conditions = Vec::new();
    let (flag, reason, message) = if serving >= bounds.min_available {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    conditions.push(condition(&before, "Available", flag, reason, message.to_owned(), now, false));

    let failure =
        sets.iter().filter_map(|set| set.status.as_ref()?.conditions.as_ref()).flatten().find(|condition| {
            condition.type_.as_deref() == Some("ReplicaFailure")
                && condition.status.as_deref() == Some("True")
        });
    if let Some(failure) = failure {
        let reason = failure.reason.clone().unwrap_or_default();
        let message = failure.message.clone().unwrap_or_default();
        conditions.push(condition(&before, "ReplicaFailure", "True", &reason, message, now, false));
    }

    let progressed = status.updated_replicas > before.updated_replicas.or(Some(0))
        || status.ready_replicas > before.ready_replicas.or(Some(0))
        || status.available_replicas > before.available_replicas.or(Some(0))
        || plan.create.is_some()
        || !plan.scale.is_empty();
    let old_progress = find(&before, "Progressing");
    let (flag, reason, message) = if is_complete(&status, bounds, deployment) {
        ("True", "NewReplicaSetAvailable", format!("ReplicaSet \"{name}\" has successfully progressed."))
    } else if spec.paused == Some(true) {
        ("Unknown", "DeploymentPaused", "Deployment is paused".to_owned())
    } else if plan.create.is_some() {
        ("True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\""))
    } else if progressed || old_progress.is_none() {
        ("True", "ReplicaSetUpdated", format!("ReplicaSet \"{name}\" is progressing."))
    } else if old_progress.and_then(|condition| deadline(spec, condition)).is_some_and(|at| at <= now)
        && old_progress.is_some_and(|condition| condition.reason.as_deref() != Some("NewReplicaSetAvailable"))
    {
        ("False", "ProgressDeadlineExceeded", format!("ReplicaSet \"{name}\" has timed out progressing."))
    } else if let Some(old) = old_progress.filter(|old| old.status.as_deref() != Some("Unknown")) {
        let reason = old.reason.as_deref().unwrap_or_default();
        (if is_true(old) { "True" } else { "False" }, reason, old.message.clone().unwrap_or_default())
    } else {
        ("True", "ReplicaSetUpdated", format!("ReplicaSet \"{name}\" is progressing."))
    };
    conditions.push(condition(&before, "Progressing", flag, reason, message, now, progressed));
    status.conditions = Some(conditions);
    status
}

/// A condition with its times carried over from the last status as far as nothing changed.
fn condition(
    before: &DeploymentStatus,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
    touch: bool,
) -> DeploymentCondition {
    let old = find(before, kind);
    let same_status = old.filter(|old| old.status.as_deref() == Some(status));
    let same = same_status.filter(|old| {
        !touch && old.reason.as_deref() == Some(reason) && old.message.as_deref() == Some(&message)
    });
    DeploymentCondition {
        type_: Some(kind.to_owned()),
        status: Some(status.to_owned()),
        reason: Some(reason.to_owned()),
        last_transition_time: same_status.map_or(Some(Time(now)), |old| old.last_transition_time.clone()),
        last_update_time: same.map_or(Some(Time(now)), |old| old.last_update_time.clone()),
        message: Some(message),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
