//! Deployment: rolls a Pod template out through ReplicaSets. [`plan`] decides, this file carries it out.

pub(crate) mod plan;

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::meta;
use super::queue::{Key, Next};

/// A change of ours that the watch has not shown yet is looked for again after this time.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The controller.
pub(crate) struct Controller {
    pub(crate) client: Client,
    pub(crate) deployments: Store<Deployment>,
    pub(crate) sets: Store<ReplicaSet>,
}

impl Controller {
    /// Brings one Deployment one step further.
    pub(crate) async fn reconcile(&self, key: Key) -> kube::Result<Next> {
        let Some(deployment) = self.deployments.get(&ObjectRef::new(&key.name).within(&key.namespace)) else {
            return Ok(Next::Idle);
        };
        let uid = deployment.metadata.uid.clone().unwrap_or_default();
        let sets = self.sets.state_filter(|set| {
            set.namespace().as_deref() == Some(&key.namespace) && meta::is_controlled_by(&set.metadata, &uid)
        });
        let plan = plan::plan(&deployment, &sets, Timestamp::now());
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), &key.namespace);
        let mut raced = false;

        if let Some(set) = &plan.create {
            raced |= lost_race(api.create(&PostParams::default(), set).await)?;
        }
        if let Some((name, annotations)) = &plan.annotate {
            let patch = json!({"metadata": {"annotations": annotations}});
            raced |= lost_race(api.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await)?;
        }
        for scale in &plan.scale {
            // The resource version makes a decision from an outdated cache fail instead of taking effect.
            let version = sets.iter().find(|set| set.name_any() == scale.name).and_then(|set| {
                (plan.annotate.as_ref().map(|(name, _)| name) != Some(&scale.name))
                    .then(|| set.resource_version())?
            });
            let patch =
                json!({"metadata": {"resourceVersion": version}, "spec": {"replicas": scale.replicas}});
            raced |= lost_race(api.patch(&scale.name, &PatchParams::default(), &Patch::Merge(&patch)).await)?;
        }
        for name in &plan.delete {
            meta::gone_is_fine(api.delete(name, &DeleteParams::background()).await)?;
        }

        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), &key.namespace);
        if let Some(revision) = &plan.revision
            && deployment.annotations().get(plan::REVISION) != Some(revision)
        {
            let patch = json!({"metadata": {"annotations": {plan::REVISION: revision}}});
            raced |= lost_race(
                deployments.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await,
            )?;
        }
        if deployment.status.as_ref() != Some(&plan.status) {
            let patch = json!({"status": plan.status});
            let patched =
                deployments.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
            raced |= lost_race(patched)?;
        }
        Ok(match (raced, plan.check_after) {
            (true, _) => Next::After(LOOK_AGAIN),
            (false, Some(delay)) => Next::After(delay),
            (false, None) => Next::Idle,
        })
    }
}

/// Was somebody faster? Then the cache lags behind and a later look decides anew.
fn lost_race<T>(result: kube::Result<T>) -> kube::Result<bool> {
    match result {
        Ok(_) => Ok(false),
        Err(error) if meta::is_race(&error) => Ok(true),
        Err(error) => Err(error),
    }
}
