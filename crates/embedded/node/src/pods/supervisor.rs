//! One container from its first start to its last end: restarts, back-off, probes, termination.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ExecAction, LifecycleHandler, Pod, Probe};
use kube::ResourceExt as _;
use rustix::process::Signal;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Context;
use super::assemble::{StartError, assemble};
use super::board::{Board, State, Terminated};
use super::fields::Addresses;
use super::probes::{Exec, probe, timing};
use crate::logs::Stream;
use crate::sandbox::{InitSpec, Process, START_FAILED, exit_code, spawn};

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
/// Output of an exec probe that is kept.
const MAX_EXEC_OUTPUT: u64 = 10 << 10;
/// Text of a failed start that is kept.
const MAX_START_ERROR: usize = 2000;

/// `None`: run. `Some(grace)`: end within `grace`.
pub(crate) type Stop = Option<Duration>;

/// What happens when the container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

pub(crate) struct Supervisor {
    pub(crate) ctx: Arc<Context>,
    pub(crate) board: Arc<Board>,
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

/// Waits until the container has to stop; a vanished owner counts.
pub(crate) async fn stopped(stop: &mut watch::Receiver<Stop>) {
    let _ = stop.wait_for(Option::is_some).await;
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
        self.board.container(self.name(), |e| e.enter(State::Waiting { reason, message }));
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
                self.board.container(self.name(), |e| {
                    if let Some(last) = e.last.take() {
                        e.state = State::Terminated(last);
                    }
                });
                return false;
            }
        }
        self.board.container(self.name(), |e| e.restarts += 1);
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
        std::fs::create_dir_all(&spec.scratch)
            .map_err(|e| failed(format!("{}: {e}", spec.scratch.display())))?;
        let _ = std::fs::remove_file(&spec.error_file);
        let (namespace, name, uid) =
            (pod.namespace().unwrap_or_default(), pod.name_any(), pod.uid().unwrap_or_default());
        let attempt = self.board.container(self.name(), |e| e.restarts);
        let log = self.ctx.logs.open(&namespace, &name, &uid, self.name(), attempt);
        let log = log.map_err(|e| failed(format!("opening the container's log: {e}")))?;

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
        self.board.container(self.name(), |e| {
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
            let runner = Runner {
                ctx: &self.ctx,
                pod_dir: &self.pod_dir,
                container: &self.container,
                pod: &pod,
                addresses: self.addresses,
                pid,
            };
            tokio::select! {
                status = process.wait() => End::Exited(status),
                why = runner.watch_health(&self.board, &self.started) => End::Unhealthy(why),
                () = stopped(&mut self.stop) => End::Stopped,
            }
        };
        let status = match end {
            End::Exited(status) => status,
            End::Unhealthy(why) => {
                self.board.container(self.name(), |e| e.ready = false);
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
                self.board.container(self.name(), |e| e.ready = e.ready && !grace.is_zero());
                self.terminate(&mut process, grace).await
            }
        };
        // Whoever sees the end in the status finds the whole log.
        let _ = tokio::time::timeout(LOG_DRAIN, async { while log.join_next().await.is_some() {} }).await;
        let (code, signal) = status.map_or((255, None), exit_code);
        let error = self.start_error(code);
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
        self.board.container(self.name(), |e| {
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

    fn start_error(&self, code: i32) -> Option<String> {
        if code != START_FAILED {
            return None;
        }
        let path = self.pod_dir.join("containers").join(format!("{}.error", self.name()));
        let text = std::fs::read_to_string(path).ok()?;
        let text: String = text.trim().chars().take(MAX_START_ERROR).collect();
        (!text.is_empty()).then_some(text)
    }

    /// preStop hook, SIGTERM, grace, SIGKILL.
    async fn terminate(
        &mut self,
        process: &mut Process,
        grace: Duration,
    ) -> std::io::Result<std::process::ExitStatus> {
        let deadline = Instant::now() + grace;
        let pod = self.pod();
        let hook = self.container.lifecycle.as_ref().and_then(|l| l.pre_stop.clone());
        if let Some(hook) = hook
            && !grace.is_zero()
        {
            let runner = Runner {
                ctx: &self.ctx,
                pod_dir: &self.pod_dir,
                container: &self.container,
                pod: &pod,
                addresses: self.addresses,
                pid: process.pid(),
            };
            tokio::select! {
                status = process.wait() => return status,
                done = tokio::time::timeout_at(deadline, runner.hook(&hook)) => if let Ok(Err(why)) = done {
                    self.ctx.events.warning(&pod, Some(self.name()), "FailedPreStopHook", why);
                }
            }
        }
        if !grace.is_zero() {
            process.signal(Signal::TERM);
            loop {
                let asked = *self.stop.borrow_and_update();
                // A later, shorter grace period counts.
                let until = asked.map_or(deadline, |g| deadline.min(Instant::now() + g));
                tokio::select! {
                    status = process.wait() => return status,
                    () = tokio::time::sleep_until(until) => break,
                    changed = self.stop.changed() => if changed.is_err() { break },
                }
            }
        }
        process.signal(Signal::KILL);
        process.wait().await
    }
}

/// Runs probes and hooks against one running container.
struct Runner<'a> {
    ctx: &'a Context,
    pod_dir: &'a Path,
    container: &'a Container,
    pod: &'a Pod,
    addresses: Addresses,
    pid: i32,
}

impl Runner<'_> {
    /// Does the probes' work until one says that the container must be restarted, and says why.
    async fn watch_health(&self, board: &Board, started: &watch::Sender<bool>) -> String {
        let name = &self.container.name;
        let hook = self.container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref());
        if let Some(hook) = hook
            && let Err(why) = self.hook(hook).await
        {
            self.ctx.events.warning(self.pod, Some(name), "FailedPostStartHook", why);
            return "FailedPostStartHook".to_owned();
        }
        if let Some(startup) = &self.container.startup_probe {
            let mut failures = 0;
            let timing = timing(startup);
            tokio::time::sleep(timing.delay).await;
            loop {
                match self.probe("Startup", startup).await {
                    true => break,
                    false => failures += 1,
                }
                if failures >= timing.failure {
                    return format!("Container {name} failed startup probe, will be restarted");
                }
                tokio::time::sleep(timing.period).await;
            }
        }
        board.container(name, |e| {
            e.started = true;
            e.ready = self.container.readiness_probe.is_none();
        });
        started.send_replace(true);
        tokio::select! {
            why = self.liveness() => why,
            () = self.readiness(board) => std::future::pending().await,
        }
    }

    async fn liveness(&self) -> String {
        let Some(liveness) = &self.container.liveness_probe else { return std::future::pending().await };
        let timing = timing(liveness);
        tokio::time::sleep(timing.delay).await;
        let mut failures = 0;
        loop {
            failures = if self.probe("Liveness", liveness).await { 0 } else { failures + 1 };
            if failures >= timing.failure {
                return format!("Container {} failed liveness probe, will be restarted", self.container.name);
            }
            tokio::time::sleep(timing.period).await;
        }
    }

    async fn readiness(&self, board: &Board) {
        let Some(readiness) = &self.container.readiness_probe else { return std::future::pending().await };
        let timing = timing(readiness);
        tokio::time::sleep(timing.delay).await;
        let (mut successes, mut failures, mut ready) = (0, 0, false);
        loop {
            if self.probe("Readiness", readiness).await {
                (successes, failures) = (successes + 1, 0);
            } else {
                (successes, failures) = (0, failures + 1);
            }
            let now = if ready { failures < timing.failure } else { successes >= timing.success };
            if now != ready {
                ready = now;
                board.container(&self.container.name, |e| e.ready = ready);
            }
            // Not ready yet: ask sooner than the period, as the kubelet does after a start, so that Pods are ready early.
            let wait = if ready || failures > timing.failure {
                timing.period
            } else {
                timing.period.min(Duration::from_secs(1))
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn probe(&self, kind: &str, spec: &Probe) -> bool {
        match probe(spec, self.container, self.addresses.pod, self.ctx.network.handle(), self).await {
            Ok(()) => true,
            Err(why) => {
                let message = format!("{kind} probe failed: {why}");
                self.ctx.events.warning(self.pod, Some(&self.container.name), "Unhealthy", message);
                false
            }
        }
    }

    async fn hook(&self, hook: &LifecycleHandler) -> Result<(), String> {
        if let Some(action) = &hook.exec {
            return match self.exec(action).await? {
                (0, _) => Ok(()),
                (code, output) => Err(format!("hook exited with {code}: {output}")),
            };
        }
        if let Some(sleep) = &hook.sleep {
            tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
            return Ok(());
        }
        let probe_like = Probe {
            http_get: hook.http_get.clone(),
            tcp_socket: hook.tcp_socket.clone(),
            timeout_seconds: Some(30),
            ..Probe::default()
        };
        probe(&probe_like, self.container, self.addresses.pod, self.ctx.network.handle(), self).await
    }
}

impl Exec for Runner<'_> {
    async fn exec(&self, action: &ExecAction) -> Result<(i32, String), String> {
        let spec = assemble(self.ctx, self.pod, self.container, self.addresses, self.pod_dir).await;
        let spec = spec.map_err(|e| e.message)?;
        let spec = InitSpec {
            join: Some(self.pid),
            argv: action.command.clone().unwrap_or_default(),
            error_file: self.pod_dir.join("containers").join(format!("{}.exec-error", self.container.name)),
            ..spec
        };
        let _ = std::fs::remove_file(&spec.error_file);
        let mut process =
            spawn(self.ctx.network.handle(), &self.ctx.pod_init, &spec).await.map_err(|e| e.to_string())?;
        let mut readers = JoinSet::new();
        for pipe in [process.stdout.take(), process.stderr.take()].into_iter().flatten() {
            readers.spawn(async move {
                let mut text = Vec::new();
                let mut pipe = pipe;
                let _ = (&mut pipe).take(MAX_EXEC_OUTPUT).read_to_end(&mut text).await;
                // What is beyond the limit is read and thrown away, or the program would block.
                let _ = tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await;
                text
            });
        }
        let status = process.wait().await.map_err(|e| e.to_string())?;
        let mut output = Vec::new();
        let _ = tokio::time::timeout(LOG_DRAIN, async {
            while let Some(part) = readers.join_next().await {
                output.extend(part.unwrap_or_default());
            }
        })
        .await;
        let mut output = String::from_utf8_lossy(&output).trim().to_owned();
        let (code, _) = exit_code(status);
        if code == START_FAILED
            && let Ok(why) = std::fs::read_to_string(&spec.error_file)
            && !why.is_empty()
        {
            output = why;
        }
        Ok((code, output))
    }
}
