//! One container from its first start to its last end: restarts, back-off, probes, termination.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Context;
use super::assemble::{StartError, assemble};
use super::fields::Addresses;
use super::files;
use super::observed::{Observed, State, Terminated};
use super::runner::Runner;
use super::stop::{Deadline, Stop, stopped};
use crate::logs::Stream;
use crate::sandbox::{Process, START_FAILED, exit_code, spawn};

/// Second restart waits this long, each further one twice as long (Kubernetes' numbers).
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
const BACKOFF_LIMIT: Duration = Duration::from_secs(300);
/// A container that ran this long starts over without back-off.
const BACKOFF_RESET: Duration = Duration::from_secs(600);
/// Configuration errors are tried again this soon, then less often: the missing object may arrive at any moment.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LIMIT: Duration = Duration::from_secs(10);
/// How long the log of an ended container may take to drain.
const LOG_DRAIN: Duration = Duration::from_secs(1);
/// Text of a failed start that is kept.
const MAX_START_ERROR: usize = 2000;

/// What happens when the container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

pub(crate) struct Supervisor {
    pub(crate) ctx: Arc<Context>,
    pub(crate) observed: Arc<Observed>,
    /// The newest version of the Pod.
    pub(crate) pod: watch::Receiver<Arc<Pod>>,
    pub(crate) container: Container,
    pub(crate) restart: Restart,
    pub(crate) addresses: Addresses,
    pub(crate) pod_dir: PathBuf,
    pub(crate) stop: watch::Receiver<Stop>,
    /// Told `true` once the container runs, its postStart hook has ended and its startup probe has succeeded.
    pub(crate) started: watch::Sender<bool>,
    pub(crate) default_grace: Duration,
}

/// A started process with its id and the tasks that write its log.
struct Started {
    process: Process,
    id: String,
    log: JoinSet<()>,
}

enum End {
    Exited(std::io::Result<std::process::ExitStatus>),
    Unhealthy(String),
    Stopped,
}

impl Supervisor {
    /// Runs until the container has ended for good; tells whether the last end was a success.
    pub(crate) async fn run(mut self) -> bool {
        let mut backoff = Duration::ZERO;
        loop {
            let Some(started) = self.start().await else { return false };
            let began = Instant::now();
            let success = self.attend(started).await;
            if self.stop.borrow().is_some() {
                return success;
            }
            match self.restart {
                Restart::Never => return success,
                Restart::OnFailure if success => return true,
                Restart::Always | Restart::OnFailure => {}
            }
            if began.elapsed() >= BACKOFF_RESET {
                backoff = Duration::ZERO;
            }
            if !self.back_off(backoff).await {
                return success;
            }
            backoff = (backoff * 2).clamp(BACKOFF_FIRST, BACKOFF_LIMIT);
        }
    }

    fn pod(&self) -> Arc<Pod> {
        self.pod.borrow().clone()
    }

    fn name(&self) -> &str {
        &self.container.name
    }

    fn wait_in(&self, reason: &'static str, message: Option<String>) {
        self.observed.container(self.name(), |e| e.enter(State::Waiting { reason, message }));
    }

    /// Sleeps; `false` when the container has to stop.
    async fn pause(&mut self, time: Duration) -> bool {
        tokio::select! {
            () = stopped(&mut self.stop) => false,
            () = tokio::time::sleep(time) => true,
        }
    }

    /// Waits before a restart; `false` when the container has to stop.
    async fn back_off(&mut self, time: Duration) -> bool {
        if !time.is_zero() {
            let pod = self.pod();
            let message = format!(
                "back-off {}s restarting failed container={} pod={}_{}({})",
                time.as_secs(),
                self.name(),
                pod.name_any(),
                pod.namespace().unwrap_or_default(),
                pod.uid().unwrap_or_default()
            );
            self.ctx.events.warning(
                &pod,
                Some(self.name()),
                "BackOff",
                format!("Back-off restarting failed container {} in pod {}", self.name(), pod.name_any()),
            );
            self.wait_in("CrashLoopBackOff", Some(message));
            if !self.pause(time).await {
                // The status goes back to how the container ended.
                self.observed.container(self.name(), |e| {
                    if let Some(last) = e.last.take() {
                        e.state = State::Terminated(last);
                    }
                });
                return false;
            }
        }
        self.observed.container(self.name(), |e| e.restarts += 1);
        true
    }

    /// Starts the container, however long its configuration takes to become complete. `None`: has to stop.
    async fn start(&mut self) -> Option<Started> {
        let mut retry = RETRY_FIRST;
        loop {
            if self.stop.borrow().is_some() {
                return None;
            }
            let attempt = self.attempt().await;
            let error = match attempt {
                Ok(started) => return Some(started),
                Err(error) => error,
            };
            let pod = self.pod();
            let image = self.container.image.as_deref().unwrap_or_default();
            let reason = if error.reason == "ErrImagePull" {
                self.ctx.events.warning(
                    &pod,
                    Some(self.name()),
                    "Failed",
                    format!("Failed to pull image \"{image}\": {}", error.message),
                );
                self.ctx.events.warning(&pod, Some(self.name()), "Failed", "Error: ImagePullBackOff");
                "ImagePullBackOff"
            } else {
                self.ctx.events.warning(
                    &pod,
                    Some(self.name()),
                    "Failed",
                    format!("Error: {}", error.message),
                );
                error.reason
            };
            self.wait_in(reason, Some(error.message));
            if !self.pause(retry).await {
                return None;
            }
            retry = (retry * 2).min(RETRY_LIMIT);
        }
    }

    async fn attempt(&self) -> Result<Started, StartError> {
        let pod = self.pod();
        let failed = |message: String| StartError { reason: "RunContainerError", message };
        let spec = assemble(&self.ctx, &pod, &self.container, self.addresses, &self.pod_dir).await?;
        tokio::fs::create_dir_all(&spec.scratch)
            .await
            .map_err(|e| failed(format!("{}: {e}", spec.scratch.display())))?;
        let _ = tokio::fs::remove_file(&spec.error_file).await;
        let (namespace, name, uid) =
            (pod.namespace().unwrap_or_default(), pod.name_any(), pod.uid().unwrap_or_default());
        let attempt = self.observed.container(self.name(), |e| e.restarts);
        let (logs, container) = (self.ctx.logs.clone(), self.name().to_owned());
        let opened = (namespace, name, uid.clone());
        let log = files::blocking(move || logs.open(&opened.0, &opened.1, &opened.2, &container, attempt));
        let log = log.await.map_err(|e| failed(format!("opening the container's log: {e}")))?;

        if attempt == 0 {
            let image = self.container.image.as_deref().unwrap_or_default();
            self.ctx.events.normal(
                &pod,
                Some(self.name()),
                "Pulled",
                format!("Container image \"{image}\" already present on machine"),
            );
        }
        self.ctx.events.normal(
            &pod,
            Some(self.name()),
            "Created",
            format!("Created container: {}", self.name()),
        );
        let mut process = spawn(self.ctx.network.handle(), &self.ctx.pod_init, &spec)
            .await
            .map_err(|e| failed(e.to_string()))?;
        let short: String = uid.chars().take(8).collect();
        let id = format!("portolan://{short}-{}-{attempt}-{}", self.name(), process.pid());
        let mut tasks = JoinSet::new();
        if let Some(stdout) = process.stdout.take() {
            tasks.spawn(log.clone().copy(Stream::Stdout, stdout));
        }
        if let Some(stderr) = process.stderr.take() {
            tasks.spawn(log.copy(Stream::Stderr, stderr));
        }
        Ok(Started { process, id, log: tasks })
    }

    /// From running to terminated; tells whether it succeeded.
    async fn attend(&mut self, started: Started) -> bool {
        let Started { mut process, id, mut log } = started;
        let since = Timestamp::now();
        let pid = process.pid();
        self.observed.container(self.name(), |e| {
            e.id = Some(id.clone());
            e.enter(State::Running { since });
            e.started = self.container.startup_probe.is_none();
            e.ready = self.container.startup_probe.is_none() && self.container.readiness_probe.is_none();
        });
        let pod = self.pod();
        self.ctx.events.normal(
            &pod,
            Some(self.name()),
            "Started",
            format!("Started container {}", self.name()),
        );

        let end = {
            let mut stop = self.stop.clone();
            let runner = self.runner(&pod, pid);
            tokio::select! {
                status = process.wait() => End::Exited(status),
                why = runner.watch_health(&self.observed, &self.started) => End::Unhealthy(why),
                () = stopped(&mut stop) => End::Stopped,
            }
        };
        let status = match end {
            End::Exited(status) => status,
            End::Unhealthy(why) => {
                self.observed.container(self.name(), |e| e.ready = false);
                self.ctx.events.normal(&pod, Some(self.name()), "Killing", why);
                self.terminate(&mut process, self.default_grace).await
            }
            End::Stopped => {
                let grace = (*self.stop.borrow()).unwrap_or_default();
                self.ctx.events.normal(
                    &pod,
                    Some(self.name()),
                    "Killing",
                    format!("Stopping container {}", self.name()),
                );
                // An application that ends on its own terms still answers, but gets no new connections.
                self.observed.container(self.name(), |e| e.ready = e.ready && !grace.is_zero());
                self.terminate(&mut process, grace).await
            }
        };
        // Whoever sees the end in the status finds the whole log.
        let _ = tokio::time::timeout(LOG_DRAIN, async { while log.join_next().await.is_some() {} }).await;
        let (code, signal) = status.map_or((255, None), exit_code);
        let error = self.start_error(code).await;
        let success = code == 0;
        let ended = Terminated {
            exit_code: code,
            signal,
            reason: match (&error, success) {
                (Some(_), _) => "StartError",
                (None, true) => "Completed",
                (None, false) => "Error",
            },
            message: error,
            started_at: since,
            finished_at: Timestamp::now(),
            id,
        };
        if let Some(message) = &ended.message {
            self.ctx.events.warning(&pod, Some(self.name()), "Failed", format!("Error: {message}"));
        }
        let init = self.restart != Restart::Always && self.is_init();
        self.observed.container(self.name(), |e| {
            e.ready = init && success;
            e.started = false;
            e.enter(State::Terminated(ended));
        });
        success
    }

    fn is_init(&self) -> bool {
        self.pod()
            .spec
            .iter()
            .flat_map(|s| s.init_containers.iter().flatten())
            .any(|c| c.name == self.container.name)
    }

    async fn start_error(&self, code: i32) -> Option<String> {
        if code != START_FAILED {
            return None;
        }
        let path = self.pod_dir.join("containers").join(format!("{}.error", self.name()));
        let text = tokio::fs::read_to_string(path).await.ok()?;
        let text: String = text.trim().chars().take(MAX_START_ERROR).collect();
        (!text.is_empty()).then_some(text)
    }

    /// preStop hook, SIGTERM, grace, SIGKILL. The hook's time is part of the grace.
    async fn terminate(
        &mut self,
        process: &mut Process,
        grace: Duration,
    ) -> std::io::Result<std::process::ExitStatus> {
        if !grace.is_zero() {
            let mut deadline = Deadline::new(grace, self.stop.clone());
            let pod = self.pod();
            let pid = process.pid();
            let runner = self.runner(&pod, pid);
            tokio::select! {
                status = process.wait() => return status,
                () = deadline.passed() => {}
                () = runner.pre_stop() => {}
            }
            process.signal(Signal::TERM);
            tokio::select! {
                status = process.wait() => return status,
                () = deadline.passed() => {}
            }
        }
        process.signal(Signal::KILL);
        process.wait().await
    }

    fn runner<'a>(&'a self, pod: &'a Arc<Pod>, pid: i32) -> Runner<'a> {
        Runner {
            ctx: &self.ctx,
            pod_dir: &self.pod_dir,
            container: &self.container,
            pod,
            addresses: self.addresses,
            pid,
        }
    }
}
