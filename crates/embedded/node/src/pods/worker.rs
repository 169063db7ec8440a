//! One Pod from its arrival to its removal. One task owns it; its containers are tasks of their own that report to the board.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::board::{Board, phase, status};
use super::fields::Addresses;
use super::supervisor::{Restart, Stop, Supervisor, stopped};
use super::volumes::{Kind, VolumeInput, Volumes, references};
use super::{Change, Context};

/// Status changes that come together are written together.
const STATUS_DEBOUNCE: Duration = Duration::from_millis(20);
/// A status that could not be written is tried again.
const STATUS_RETRY: Duration = Duration::from_secs(1);
/// Sandbox and volumes are tried again this soon, then less often.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LIMIT: Duration = Duration::from_secs(5);
/// Grace period of Pods that say nothing.
const DEFAULT_GRACE: i64 = 30;
/// Containers of a Pod that was removed by force get this long.
const FORCED_GRACE: Duration = Duration::from_secs(2);
/// Volumes are looked at this often even if no change was seen.
const REFRESH: Duration = Duration::from_secs(60);

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
            self.ctx.logs.remove(&namespace, &name, &uid);
        }
        let _ = std::fs::remove_dir_all(&pod_dir);
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
        let board = Arc::new(Board::new(pod));
        let (stop_tx, stop) = watch::channel::<Stop>(None);
        let (pod_tx, latest) = watch::channel(pod.clone());
        let Some(address) = ctx.addresses.take() else {
            ctx.events.warning(pod, None, "FailedCreatePodSandBox", "no Pod address is free on this node");
            return self.wait_for_removal().await;
        };
        let addresses = Addresses { pod: address, host: ctx.network.plan().node_address() };
        let life = Life {
            ctx: ctx.clone(),
            board: board.clone(),
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
                    board.update(|f| f.stopping = !matches!(why, Ending::Shutdown));
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
                () = board.changed.notified() => {
                    tokio::time::sleep(STATUS_DEBOUNCE).await;
                    let ok = self.write_status(&board, &mut conditions, &mut written).await;
                    retry = (!ok).then(|| tokio::time::Instant::now() + STATUS_RETRY);
                }
                () = retry_sleep => {
                    let ok = self.write_status(&board, &mut conditions, &mut written).await;
                    retry = (!ok).then(|| tokio::time::Instant::now() + STATUS_RETRY);
                }
            }
        }
        if let Err(error) = ctx.network.delete_pod(&uid).await {
            tracing::warn!(pod = pod.name_any(), %error, "removing the Pod's network");
        }
        ctx.addresses.give_back(address);
        if !matches!(ending, Ending::Gone | Ending::Shutdown) {
            while !self.write_status(&board, &mut conditions, &mut written).await {
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
        board: &Board,
        conditions: &mut Vec<PodCondition>,
        written: &mut serde_json::Value,
    ) -> bool {
        let Desired::Exists(pod) = self.desired.borrow().clone() else { return true };
        let status = status(&pod, &board.facts(), self.ctx.network.plan().node_address(), conditions);
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

/// What happens between sandbox and the last container's end.
struct Life {
    ctx: Arc<Context>,
    board: Arc<Board>,
    latest: watch::Receiver<Arc<Pod>>,
    stop: watch::Receiver<Stop>,
    addresses: Addresses,
    pod_dir: PathBuf,
    default_grace: Duration,
}

impl Life {
    async fn run(mut self) {
        let pod = self.latest.borrow().clone();
        if let Some(why) = unsupported(&pod) {
            self.ctx.events.warning(&pod, None, "Failed", why);
            self.board.update(|f| f.failed = Some(("Unsupported", why.to_owned())));
            return;
        }
        if !self.sandbox(&pod).await {
            return;
        }
        let mut volumes = Volumes::new(&pod, &self.pod_dir);
        if !self.mount(&pod, &mut volumes).await {
            return;
        }
        let refresh = tokio::spawn(refresh(self.ctx.clone(), self.latest.clone(), self.addresses, volumes));
        self.containers(&pod).await;
        refresh.abort();
    }

    async fn sandbox(&mut self, pod: &Pod) -> bool {
        let uid = pod.uid().unwrap_or_default();
        let mut wait = RETRY_FIRST;
        loop {
            if self.stop.borrow().is_some() {
                return false;
            }
            match self.ctx.network.add_pod(&uid, self.addresses.pod).await {
                Ok(()) => {
                    self.board.update(|f| f.addresses = Some(self.addresses));
                    return true;
                }
                Err(error) => {
                    let message = format!("Failed to create pod sandbox: {error}");
                    self.ctx.events.warning(pod, None, "FailedCreatePodSandBox", message);
                    let _ = self.ctx.network.delete_pod(&uid).await;
                }
            }
            if !self.pause(&mut wait).await {
                return false;
            }
        }
    }

    async fn mount(&mut self, pod: &Arc<Pod>, volumes: &mut Volumes) -> bool {
        let mut changes = self.ctx.changes.subscribe();
        let wanted = references(pod);
        let namespace = pod.namespace().unwrap_or_default();
        let mut wait = RETRY_FIRST;
        loop {
            if self.stop.borrow().is_some() {
                return false;
            }
            let input = VolumeInput {
                client: &self.ctx.client,
                pod,
                addresses: self.addresses,
                capacity: self.ctx.capacity,
            };
            match volumes.update(&input).await {
                Ok(()) => return true,
                Err((volume, error)) => {
                    let message = format!("MountVolume.SetUp failed for volume \"{volume}\" : {error}");
                    self.ctx.events.warning(pod, None, "FailedMount", message);
                }
            }
            // What is missing may be created at any moment.
            tokio::select! {
                more = self.pause(&mut wait) => if !more { return false },
                () = relevant(&mut changes, &namespace, &wanted) => {}
            }
        }
    }

    async fn pause(&mut self, wait: &mut Duration) -> bool {
        let time = *wait;
        *wait = (*wait * 2).min(RETRY_LIMIT);
        tokio::select! {
            () = stopped(&mut self.stop) => false,
            () = tokio::time::sleep(time) => true,
        }
    }

    /// Init containers in order, then the others.
    async fn containers(&mut self, pod: &Arc<Pod>) {
        let Some(spec) = &pod.spec else { return };
        let policy = match spec.restart_policy.as_deref() {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        };
        // Sidecars (init containers that run along) end after the main containers.
        let (sidecar_stop, sidecar_stopped) = watch::channel::<Stop>(None);
        let mut sidecars = JoinSet::new();
        let mut initialized = true;
        for container in spec.init_containers.iter().flatten() {
            if container.restart_policy.as_deref() == Some("Always") {
                let (supervisor, mut started) =
                    self.supervisor(container, Restart::Always, sidecar_stopped.clone());
                sidecars.spawn(supervisor.run());
                tokio::select! {
                    _ = async { let _ = started.wait_for(|s| *s).await; } => continue,
                    () = stopped(&mut self.stop) => { initialized = false; break }
                }
            }
            let restart = if policy == Restart::Never { Restart::Never } else { Restart::OnFailure };
            let (supervisor, _started) = self.supervisor(container, restart, self.stop.clone());
            let success = supervisor.run().await;
            if self.stop.borrow().is_some() {
                initialized = false;
                break;
            }
            if !success {
                let message =
                    format!("init container {} failed and the Pod's restartPolicy is Never", container.name);
                self.board.update(|f| f.failed = Some(("InitContainerFailed", message)));
                initialized = false;
                break;
            }
        }
        if initialized {
            self.board.update(|f| f.initialized = true);
            self.main_containers(&spec.containers, policy).await;
        }
        let grace = (*self.stop.borrow()).unwrap_or(self.default_grace);
        sidecar_stop.send_replace(Some(grace));
        while sidecars.join_next().await.is_some() {}
        let facts = self.board.facts();
        if initialized && !facts.stopping && matches!(phase(pod, &facts), "Running" | "Pending") {
            tracing::debug!(pod = pod.name_any(), "containers ended while the Pod is expected to run");
        }
    }

    async fn main_containers(&mut self, containers: &[Container], policy: Restart) {
        let mut running = JoinSet::new();
        for container in containers {
            let (supervisor, mut started) = self.supervisor(container, policy, self.stop.clone());
            running.spawn(supervisor.run());
            // A postStart hook holds up the containers after it (holdApplicationUntilProxyStarts relies on that).
            let hook = container.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some());
            if hook {
                tokio::select! {
                    _ = async { let _ = started.wait_for(|s| *s).await; } => {}
                    () = stopped(&mut self.stop) => break,
                }
            }
        }
        while running.join_next().await.is_some() {}
    }

    fn supervisor(
        &self,
        container: &Container,
        restart: Restart,
        stop: watch::Receiver<Stop>,
    ) -> (Supervisor, watch::Receiver<bool>) {
        let (started, receiver) = watch::channel(false);
        let supervisor = Supervisor {
            ctx: self.ctx.clone(),
            board: self.board.clone(),
            pod: self.latest.clone(),
            container: container.clone(),
            restart,
            addresses: self.addresses,
            pod_dir: self.pod_dir.clone(),
            stop,
            started,
            default_grace: self.default_grace,
        };
        (supervisor, receiver)
    }
}

/// What this runtime refuses to run.
fn unsupported(pod: &Pod) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    if spec.host_network == Some(true) {
        return Some(
            "hostNetwork is not supported by the embedded cluster: every Pod has a network of its own",
        );
    }
    if spec.host_pid == Some(true) || spec.host_ipc == Some(true) {
        return Some("hostPID and hostIPC are not supported by the embedded cluster");
    }
    None
}

/// Waits for a change of one of the objects.
async fn relevant(
    changes: &mut broadcast::Receiver<Change>,
    namespace: &str,
    wanted: &std::collections::HashSet<(Kind, String)>,
) {
    loop {
        match changes.recv().await {
            Ok(change)
                if change.namespace == namespace && wanted.contains(&(change.kind, change.name.clone())) =>
            {
                return;
            }
            Ok(_) => {}
            // Missed some: it may have been one of them.
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Keeps projected volumes up to date: changed objects, new labels, tokens that run out.
async fn refresh(
    ctx: Arc<Context>,
    mut latest: watch::Receiver<Arc<Pod>>,
    addresses: Addresses,
    mut volumes: Volumes,
) {
    let mut changes = ctx.changes.subscribe();
    loop {
        let pod = latest.borrow_and_update().clone();
        let wanted = references(&pod);
        let namespace = pod.namespace().unwrap_or_default();
        let until_token = volumes.next_refresh().map_or(REFRESH, |at| {
            Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO).min(REFRESH)
        });
        tokio::select! {
            () = relevant(&mut changes, &namespace, &wanted) => {}
            () = tokio::time::sleep(until_token.max(Duration::from_millis(500))) => {}
            changed = latest.changed() => if changed.is_err() { return },
        }
        let pod = latest.borrow().clone();
        let input = VolumeInput { client: &ctx.client, pod: &pod, addresses, capacity: ctx.capacity };
        if let Err((volume, error)) = volumes.update(&input).await {
            // The files that are there stay.
            let message = format!("MountVolume.SetUp failed for volume \"{volume}\" : {error}");
            ctx.events.warning(&pod, None, "FailedMount", message);
            tokio::time::sleep(RETRY_LIMIT).await;
        }
    }
}
