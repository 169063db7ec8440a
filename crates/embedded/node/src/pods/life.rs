//! A Pod between its sandbox and its last container's end.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::fields::Addresses;
use super::observed::Observed;
use super::status::phase;
use super::stop::{Stop, stopped};
use super::supervisor::{Restart, Supervisor};
use super::volumes::{Kind, VolumeInput, Volumes, references};
use super::{Change, Context};

/// Sandbox and volumes are tried again this soon, then less often.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LIMIT: Duration = Duration::from_secs(5);
/// Volumes are looked at this often even if no change was seen.
const REFRESH: Duration = Duration::from_secs(60);
/// Shortest time between two looks at the volumes.
const MIN_REFRESH: Duration = Duration::from_millis(500);

/// What happens between sandbox and the last container's end.
pub(super) struct Life {
    pub(super) ctx: Arc<Context>,
    pub(super) observed: Arc<Observed>,
    pub(super) latest: watch::Receiver<Arc<Pod>>,
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) addresses: Addresses,
    pub(super) pod_dir: PathBuf,
    pub(super) default_grace: Duration,
}

impl Life {
    pub(super) async fn run(mut self) {
        let pod = self.latest.borrow().clone();
        if let Some(why) = unsupported(&pod) {
            self.ctx.events.warning(&pod, None, "Failed", why);
            self.observed.update(|f| f.failed = Some(("Unsupported", why.to_owned())));
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
                    self.observed.update(|f| f.addresses = Some(self.addresses));
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
                self.observed.update(|f| f.failed = Some(("InitContainerFailed", message)));
                initialized = false;
                break;
            }
        }
        if initialized {
            self.observed.update(|f| f.initialized = true);
            self.main_containers(&spec.containers, policy).await;
        }
        let grace = (*self.stop.borrow()).unwrap_or(self.default_grace);
        sidecar_stop.send_replace(Some(grace));
        loop {
            tokio::select! {
                ended = sidecars.join_next() => if ended.is_none() { break },
                // A later, shorter grace is theirs too.
                Ok(()) = self.stop.changed() => {
                    if let Some(grace) = *self.stop.borrow_and_update() {
                        sidecar_stop.send_replace(Some(grace));
                    }
                }
            }
        }
        let facts = self.observed.facts();
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
            observed: self.observed.clone(),
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
            () = tokio::time::sleep(until_token.max(MIN_REFRESH)) => {}
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
