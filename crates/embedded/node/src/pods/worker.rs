//! One Pod from its arrival to its removal. One task owns it; its containers are tasks of their own that report what they see to [`Observed`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::sync::watch;

use super::Context;
use super::fields::Addresses;
use super::files;
use super::life::Life;
use super::observed::Observed;
use super::status::status;
use super::stop::Stop;

/// Status changes that come together are written together.
const STATUS_DEBOUNCE: Duration = Duration::from_millis(20);
/// A status that could not be written is tried again.
const STATUS_RETRY: Duration = Duration::from_secs(1);
/// A deletion that failed is tried again this soon, then less often.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LIMIT: Duration = Duration::from_secs(5);
/// Grace period of Pods that say nothing.
const DEFAULT_GRACE: i64 = 30;
/// Containers of a Pod that was removed by force get this long.
const FORCED_GRACE: Duration = Duration::from_secs(2);

/// What the API says about the Pod.
#[derive(Clone)]
pub(crate) enum Desired {
    Exists(Arc<Pod>),
    /// The object is gone.
    Gone,
}

pub(crate) struct Worker {
    pub(crate) ctx: Arc<Context>,
    pub(crate) desired: watch::Receiver<Desired>,
    /// The runtime shuts down: stop the containers, leave the object.
    pub(crate) shutdown: watch::Receiver<bool>,
}

enum Ending {
    /// All containers have ended by themselves.
    Done,
    Deleted,
    Gone,
    Shutdown,
}

impl Worker {
    pub(crate) async fn run(mut self, pod: Arc<Pod>) {
        let uid = pod.uid().unwrap_or_default();
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let pod_dir = self.ctx.state_dir.join("pods").join(&uid);
        let terminal = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        let terminal = matches!(terminal, Some("Succeeded" | "Failed"));

        let deleted = pod.metadata.deletion_timestamp.is_some();
        let ending = if terminal || deleted {
            self.wait_for_removal().await
        } else {
            self.live(&pod, pod_dir.clone()).await
        };
        let ending = match ending {
            Ending::Done => self.wait_for_removal().await,
            other => other,
        };
        if !matches!(ending, Ending::Shutdown) {
            let (logs, of) = (self.ctx.logs.clone(), (namespace.clone(), name.clone(), uid.clone()));
            let removed = files::blocking(move || {
                logs.remove(&of.0, &of.1, &of.2);
                Ok(())
            });
            let _ = removed.await;
        }
        let _ = tokio::fs::remove_dir_all(&pod_dir).await;
        if matches!(ending, Ending::Deleted) {
            self.delete_object(&namespace, &name, uid).await;
        }
    }

    async fn wait_for_removal(&mut self) -> Ending {
        loop {
            match &*self.desired.borrow_and_update() {
                Desired::Gone => return Ending::Gone,
                Desired::Exists(pod) if pod.metadata.deletion_timestamp.is_some() => return Ending::Deleted,
                Desired::Exists(_) => {}
            }
            tokio::select! {
                changed = self.desired.changed() => if changed.is_err() { return Ending::Shutdown },
                _ = self.shutdown.changed() => return Ending::Shutdown,
            }
        }
    }

    /// Runs the Pod; when this returns nothing of it runs any more.
    async fn live(&mut self, pod: &Arc<Pod>, pod_dir: PathBuf) -> Ending {
        let ctx = self.ctx.clone();
        let uid = pod.uid().unwrap_or_default();
        let observed = Arc::new(Observed::new(pod));
        let (stop_tx, stop) = watch::channel::<Stop>(None);
        let (pod_tx, latest) = watch::channel(pod.clone());
        let Some(address) = ctx.addresses.take() else {
            ctx.events.warning(pod, None, "FailedCreatePodSandBox", "no Pod address is free on this node");
            return self.wait_for_removal().await;
        };
        let addresses = Addresses { pod: address, host: ctx.network.plan().node_address() };
        let life = Life {
            ctx: ctx.clone(),
            observed: observed.clone(),
            latest,
            stop,
            addresses,
            pod_dir: pod_dir.clone(),
            default_grace: grace(pod),
        };
        let mut life = tokio::spawn(life.run());

        let mut conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten()).cloned().collect();
        let mut written = serde_json::Value::Null;
        let mut ending = Ending::Done;
        let mut retry: Option<tokio::time::Instant> = None;
        loop {
            // Deletion and shutdown turn into a stop; the end of the life is awaited in any case.
            let wanted = match &*self.desired.borrow_and_update() {
                Desired::Gone => Some((Ending::Gone, FORCED_GRACE)),
                Desired::Exists(pod) => {
                    let deleted = pod.metadata.deletion_timestamp.is_some();
                    let period = pod.metadata.deletion_grace_period_seconds;
                    pod_tx.send_replace(pod.clone());
                    deleted.then(|| (Ending::Deleted, period.map_or_else(|| grace(pod), seconds)))
                }
            };
            let wanted = match wanted {
                None if *self.shutdown.borrow_and_update() => Some((Ending::Shutdown, FORCED_GRACE)),
                other => other,
            };
            if let Some((why, grace)) = wanted {
                if stop_tx.borrow().is_none_or(|before| grace < before) {
                    observed.update(|f| f.stopping = !matches!(why, Ending::Shutdown));
                    stop_tx.send_replace(Some(grace));
                }
                ending = why;
            }
            let retry_at = retry;
            let retry_sleep = async move {
                match retry_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = &mut life => break,
                changed = self.desired.changed() => if changed.is_err() { self.shutdown_now(&stop_tx) },
                changed = self.shutdown.changed() => if changed.is_err() { self.shutdown_now(&stop_tx) },
                () = observed.changed.notified() => {
                    tokio::time::sleep(STATUS_DEBOUNCE).await;
                    let ok = self.write_status(&observed, &mut conditions, &mut written).await;
                    retry = (!ok).then(|| tokio::time::Instant::now() + STATUS_RETRY);
                }
                () = retry_sleep => {
                    let ok = self.write_status(&observed, &mut conditions, &mut written).await;
                    retry = (!ok).then(|| tokio::time::Instant::now() + STATUS_RETRY);
                }
            }
        }
        if let Err(error) = ctx.network.delete_pod(&uid).await {
            tracing::warn!(pod = pod.name_any(), %error, "removing the Pod's network");
        }
        ctx.addresses.give_back(address);
        if !matches!(ending, Ending::Gone | Ending::Shutdown) {
            while !self.write_status(&observed, &mut conditions, &mut written).await {
                if matches!(*self.desired.borrow(), Desired::Gone) || *self.shutdown.borrow() {
                    break;
                }
                tokio::time::sleep(STATUS_RETRY).await;
            }
        }
        ending
    }

    fn shutdown_now(&self, stop: &watch::Sender<Stop>) {
        stop.send_replace(Some(Duration::ZERO));
    }

    /// `false`: try again later.
    async fn write_status(
        &self,
        observed: &Observed,
        conditions: &mut Vec<PodCondition>,
        written: &mut serde_json::Value,
    ) -> bool {
        let Desired::Exists(pod) = self.desired.borrow().clone() else { return true };
        let status = status(&pod, &observed.facts(), self.ctx.network.plan().node_address(), conditions);
        conditions.clone_from(status.conditions.as_ref().unwrap_or(&Vec::new()));
        let Ok(value) = serde_json::to_value(&status) else { return true };
        if value == *written {
            return true;
        }
        let api: Api<Pod> = Api::namespaced(self.ctx.client.clone(), &pod.namespace().unwrap_or_default());
        // The uid makes the API server refuse a Pod of the same name that came later.
        let patch = json!({ "metadata": { "uid": pod.uid() }, "status": value });
        match api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => {
                *written = value;
                true
            }
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => true,
            Err(error) => {
                tracing::warn!(pod = pod.name_any(), %error, "Pod status not written");
                false
            }
        }
    }

    /// The containers have ended: lets the object go.
    async fn delete_object(&self, namespace: &str, name: &str, uid: String) {
        let api: Api<Pod> = Api::namespaced(self.ctx.client.clone(), namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
            ..DeleteParams::default()
        };
        let mut wait = RETRY_FIRST;
        loop {
            match api.delete(name, &params).await {
                Ok(_) => return,
                Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => return,
                Err(error) => tracing::warn!(namespace, name, %error, "deleting the Pod"),
            }
            if *self.shutdown.borrow() {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_LIMIT);
        }
    }
}

fn seconds(value: i64) -> Duration {
    Duration::from_secs(u64::try_from(value).unwrap_or(0))
}

fn grace(pod: &Pod) -> Duration {
    let asked = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    seconds(asked.unwrap_or(DEFAULT_GRACE))
}
