//! ReplicaSet: as many Pods of one template as `spec.replicas` says.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, ResourceExt};

use super::meta::{self, is_finished, is_ready, ready_since};
use super::queue::{Key, Next};

/// Pods created or deleted in one go; the rest follows when these are seen.
const BURST: usize = 50;
/// How long a change of ours may stay unseen in the watch before it is taken as lost.
const EXPECT_FOR: Duration = Duration::from_secs(30);

/// What is to be done for one ReplicaSet.
#[derive(Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) create: usize,
    /// Names of Pods to delete, the least useful first.
    pub(crate) delete: Vec<String>,
    pub(crate) status: ReplicaSetStatus,
    /// When a Pod becomes available by the mere passing of time (minReadySeconds).
    pub(crate) check_after: Option<Duration>,
}

/// Decides from the set and the Pods that it controls. `unseen` Pods were created but are not in `pods` yet.
pub(crate) fn plan(set: &ReplicaSet, pods: &[Arc<Pod>], unseen: usize, now: Timestamp) -> Plan {
    let spec = set.spec.clone();
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let mut active: Vec<&Arc<Pod>> =
        pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none() && !is_finished(pod)).collect();
    let have = active.len() + unseen;

    let deleting_set = set.metadata.deletion_timestamp.is_some();
    let create = if deleting_set { 0 } else { wanted.saturating_sub(have).min(BURST) };
    let surplus = if deleting_set { 0 } else { have.saturating_sub(wanted) };
    active.sort_by_key(|pod| usefulness(pod));
    let delete = active.iter().take(surplus.min(BURST)).map(|pod| pod.name_any()).collect();

    let min_ready = SignedDuration::from_secs(spec.min_ready_seconds.unwrap_or(0).into());
    let mut available = 0;
    let mut check_after = None;
    for since in active.iter().filter_map(|pod| ready_since(pod)) {
        let left = min_ready - now.duration_since(since);
        if min_ready.is_zero() || left <= SignedDuration::ZERO {
            available += 1;
        } else {
            let left = Duration::try_from(left).unwrap_or_default();
            check_after = Some(check_after.map_or(left, |earlier: Duration| earlier.min(left)));
        }
    }
    let template_labels =
        spec.template.and_then(|template| template.metadata).and_then(|meta| meta.labels).unwrap_or_default();
    let labeled = active
        .iter()
        .filter(|pod| template_labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value)))
        .count();
    let previous = set.status.clone().unwrap_or_default();
    let status = ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: Some(count(labeled)),
        ready_replicas: Some(count(active.iter().filter(|pod| is_ready(pod)).count())),
        available_replicas: Some(available),
        observed_generation: set.metadata.generation,
        conditions: previous.conditions,
        terminating_replicas: previous.terminating_replicas,
    };
    Plan { create, delete, status, check_after }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Sort key: Pods that are of least use come first (no node, not running, not ready, youngest).
fn usefulness(pod: &Pod) -> (bool, bool, bool, std::cmp::Reverse<Option<Time>>) {
    let on_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let running = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .is_some_and(|phase| phase == "Running");
    (on_node, running, is_ready(pod), std::cmp::Reverse(pod.metadata.creation_timestamp.clone()))
}

/// The Pod that the set's template describes.
pub(crate) fn pod_of(set: &ReplicaSet) -> Pod {
    let template = set.spec.template.clone().unwrap_or_default();
    let template_meta = template.metadata.unwrap_or_default();
    let name = set.name_any();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: set.namespace(),
            labels: template_meta.labels,
            annotations: template_meta.annotations,
            finalizers: template_meta.finalizers,
            owner_references: Some(vec![meta::owner_reference("apps/v1", "ReplicaSet", &set.metadata)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// Our own creations and deletions that the watch has not shown yet: without them a second look at a
/// cache that lags behind would create the same Pods twice.
#[derive(Debug, Default)]
struct Expected {
    created: HashMap<String, tokio::time::Instant>,
    deleted: HashSet<String>,
}

/// The controller.
pub(crate) struct Controller {
    pub(crate) client: Client,
    pub(crate) sets: Store<ReplicaSet>,
    pub(crate) pods: Store<Pod>,
    expected: Mutex<HashMap<Key, Expected>>,
}

impl Controller {
    pub(crate) fn new(client: Client, sets: Store<ReplicaSet>, pods: Store<Pod>) -> Self {
        Self { client, sets, pods, expected: Mutex::new(HashMap::new()) }
    }

    /// Brings one ReplicaSet closer to its spec.
    pub(crate) async fn reconcile(&self, key: Key) -> kube::Result<Next> {
        let Some(set) = self.sets.get(&ObjectRef::new(&key.name).within(&key.namespace)) else {
            self.expected.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            return Ok(Next::Idle);
        };
        let uid = set.metadata.uid.clone().unwrap_or_default();
        let pods_api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        self.adopt(&set, &pods_api).await?;
        let mut pods = self.pods.state_filter(|pod| {
            pod.namespace().as_deref() == Some(&key.namespace) && meta::is_controlled_by(&pod.metadata, &uid)
        });
        let unseen = {
            let mut all = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
            let expected = all.entry(key.clone()).or_default();
            let now = tokio::time::Instant::now();
            let seen: HashSet<String> = pods.iter().filter_map(|pod| pod.uid()).collect();
            expected
                .created
                .retain(|uid, since| !seen.contains(uid) && now.duration_since(*since) < EXPECT_FOR);
            expected.deleted.retain(|uid| seen.contains(uid));
            pods.retain(|pod| pod.uid().is_none_or(|uid| !expected.deleted.contains(&uid)));
            expected.created.len()
        };
        let plan = plan(&set, &pods, unseen, Timestamp::now());

        let mut failure = None;
        let pod = pod_of(&set);
        for _ in 0..plan.create {
            match pods_api.create(&PostParams::default(), &pod).await {
                Ok(created) => self.expect(&key, |expected| {
                    expected.created.insert(created.uid().unwrap_or_default(), tokio::time::Instant::now());
                }),
                Err(error) => {
                    failure = Some(("FailedCreate", error));
                    break;
                }
            }
        }
        for name in &plan.delete {
            match meta::gone_is_fine(pods_api.delete(name, &DeleteParams::background()).await) {
                Ok(()) => {
                    let uid = pods.iter().find(|pod| pod.name_any() == *name).and_then(|pod| pod.uid());
                    self.expect(&key, |expected| expected.deleted.extend(uid));
                }
                Err(error) => {
                    failure = Some(("FailedDelete", error));
                    break;
                }
            }
        }
        let mut status = plan.status;
        set_failure(&mut status, failure.as_ref().map(|(reason, error)| (*reason, error.to_string())));
        if set.status.as_ref() != Some(&status) {
            let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &key.namespace);
            let patch = serde_json::json!({"status": status});
            match sets.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Err(error) if meta::is_race(&error) => {}
                other => {
                    other?;
                }
            }
        }
        match failure {
            Some((_, error)) => Err(error),
            None => Ok(plan.check_after.map_or(Next::Idle, Next::After)),
        }
    }

    fn expect(&self, key: &Key, change: impl FnOnce(&mut Expected)) {
        let mut all = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(key.clone()).or_default());
    }

    /// Takes over Pods that match the selector and have no controller (left by an orphaning deletion).
    async fn adopt(&self, set: &ReplicaSet, pods: &Api<Pod>) -> kube::Result<()> {
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let orphans = self.pods.state_filter(|pod| {
            pod.namespace() == set.namespace()
                && pod.metadata.deletion_timestamp.is_none()
                && meta::controller_of(&pod.metadata).is_none()
                && meta::selects(&set.spec.selector, pod.metadata.labels.as_ref())
        });
        for orphan in orphans {
            let mut owners = orphan.metadata.owner_references.clone().unwrap_or_default();
            owners.push(meta::owner_reference("apps/v1", "ReplicaSet", &set.metadata));
            let patch = serde_json::json!({"metadata": {"uid": orphan.uid(), "ownerReferences": owners}});
            match pods.patch(&orphan.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
                Err(error) if meta::is_race(&error) => {}
                other => {
                    other?;
                }
            }
        }
        Ok(())
    }

    /// The ReplicaSets of a namespace that could adopt this Pod.
    pub(crate) fn candidates(sets: &Store<ReplicaSet>, pod: &Pod) -> Vec<Key> {
        if let Some(owner) = meta::controller_of(&pod.metadata) {
            if owner.kind != "ReplicaSet" {
                return Vec::new();
            }
            return vec![Key::new(pod.namespace().unwrap_or_default(), owner.name.clone())];
        }
        sets.state_filter(|set| {
            set.namespace() == pod.namespace()
                && meta::selects(&set.spec.selector, pod.metadata.labels.as_ref())
        })
        .iter()
        .map(|set| Key::of(&**set))
        .collect()
    }
}

/// Sets or clears the condition `ReplicaFailure`, which the Deployment passes on to the user.
fn set_failure(status: &mut ReplicaSetStatus, failure: Option<(&str, String)>) {
    let previous = status.conditions.take().unwrap_or_default();
    let mut conditions: Vec<_> = previous
        .iter()
        .filter(|condition| condition.type_.as_deref() != Some("ReplicaFailure"))
        .cloned()
        .collect();
    if let Some((reason, message)) = failure {
        let same = previous.into_iter().find(|old| {
            old.type_.as_deref() == Some("ReplicaFailure") && old.message.as_ref() == Some(&message)
        });
        conditions.push(same.unwrap_or_else(|| ReplicaSetCondition {
            type_: Some("ReplicaFailure".to_owned()),
            status: Some("True".to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(Time(Timestamp::now())),
        }));
    }
    status.conditions = (!conditions.is_empty()).then_some(conditions);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "web", "namespace": "x", "uid": "u", "generation": 3},
            "spec": {"replicas": replicas, "minReadySeconds": 10, "selector": {"matchLabels": {"app": "web"}},
                     "template": {"metadata": {"labels": {"app": "web"}}}},
        }))
        .unwrap()
    }

    fn pod(name: &str, ready_at: Option<&str>, extra: serde_json::Value) -> Arc<Pod> {
        let mut value = serde_json::json!({
            "metadata": {"name": name, "uid": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": "Running", "conditions": [{
                "type": "Ready", "status": if ready_at.is_some() { "True" } else { "False" },
                "lastTransitionTime": ready_at.unwrap_or("2024-01-01T00:00:00Z"),
            }]},
        });
        json_merge(&mut value, extra);
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn json_merge(into: &mut serde_json::Value, from: serde_json::Value) {
        match (into, from) {
            (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
                for (key, value) in from {
                    json_merge(into.entry(key).or_insert(serde_json::Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }

    fn none() -> serde_json::Value {
        serde_json::json!({})
    }

    fn now() -> Timestamp {
        "2024-01-01T01:00:00Z".parse().unwrap()
    }

    #[test]
    fn missing_pods_are_created_counting_the_unseen() {
        assert_eq!(plan(&set(3), &[], 0, now()).create, 3);
        assert_eq!(plan(&set(3), &[], 2, now()).create, 1);
        assert_eq!(plan(&set(3), &[pod("a", None, none())], 2, now()).create, 0);
        assert_eq!(plan(&set(1000), &[], 0, now()).create, BURST);
    }

    #[test]
    fn finished_and_leaving_pods_are_replaced() {
        let failed = pod("a", None, serde_json::json!({"status": {"phase": "Failed"}}));
        let leaving =
            pod("b", None, serde_json::json!({"metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"}}));
        let plan = plan(&set(1), &[failed, leaving], 0, now());
        assert_eq!((plan.create, plan.delete.len(), plan.status.replicas), (1, 0, 0));
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let pods = [
            pod("ready", Some("2024-01-01T00:00:00Z"), none()),
            pod("running", None, none()),
            pod("pending", None, serde_json::json!({"status": {"phase": "Pending"}})),
        ];
        assert_eq!(plan(&set(1), &pods, 0, now()).delete, ["pending", "running"]);
        assert_eq!(plan(&set(0), &pods, 0, now()).delete.len(), 3);
    }

    #[test]
    fn availability_waits_for_min_ready_seconds() {
        let pods = [
            pod("old", Some("2024-01-01T00:00:00Z"), none()),
            pod("new", Some("2024-01-01T00:59:56Z"), none()),
        ];
        let plan = plan(&set(2), &pods, 0, now());
        assert_eq!(plan.status.ready_replicas, Some(2));
        assert_eq!(plan.status.available_replicas, Some(1));
        assert_eq!(plan.check_after, Some(Duration::from_secs(6)));
    }

    #[test]
    fn the_pod_carries_template_and_owner() {
        let pod = pod_of(&set(1));
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("web-"));
        assert!(meta::is_controlled_by(&pod.metadata, "u"));
        assert_eq!(pod.labels()["app"], "web");
    }
}
