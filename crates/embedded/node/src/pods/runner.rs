//! Probes and hooks of one running container.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, LifecycleHandler, Pod, Probe};
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Context;
use super::assemble::assemble;
use super::fields::Addresses;
use super::observed::Observed;
use super::probes::{Exec, probe, timing};
use crate::sandbox::{InitSpec, START_FAILED, exit_code, spawn};

/// Output of an exec probe that is kept.
const MAX_EXEC_OUTPUT: u64 = 10 << 10;
/// How long the output of an ended program may take to drain.
const OUTPUT_DRAIN: Duration = Duration::from_secs(1);
/// Time for a hook that is a request.
const HOOK_TIMEOUT_SECONDS: i32 = 30;

/// Runs probes and hooks against one running container.
pub(super) struct Runner<'a> {
    pub(super) ctx: &'a Arc<Context>,
    pub(super) pod_dir: &'a Path,
    pub(super) container: &'a Container,
    pub(super) pod: &'a Arc<Pod>,
    pub(super) addresses: Addresses,
    pub(super) pid: i32,
}

impl Runner<'_> {
    /// Does the probes' work until one says that the container must be restarted, and says why.
    pub(super) async fn watch_health(&self, observed: &Observed, started: &watch::Sender<bool>) -> String {
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
        observed.container(name, |e| {
            e.started = true;
            e.ready = self.container.readiness_probe.is_none();
        });
        started.send_replace(true);
        tokio::select! {
            why = self.liveness() => why,
            () = self.readiness(observed) => std::future::pending().await,
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

    async fn readiness(&self, observed: &Observed) {
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
                observed.container(&self.container.name, |e| e.ready = ready);
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

    /// Runs the preStop hook, if there is one.
    pub(super) async fn pre_stop(&self) {
        let hook = self.container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
        if let Some(hook) = hook
            && let Err(why) = self.hook(hook).await
        {
            self.ctx.events.warning(self.pod, Some(&self.container.name), "FailedPreStopHook", why);
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
            timeout_seconds: Some(HOOK_TIMEOUT_SECONDS),
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
        let _ = tokio::fs::remove_file(&spec.error_file).await;
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
        let _ = tokio::time::timeout(OUTPUT_DRAIN, async {
            while let Some(part) = readers.join_next().await {
                output.extend(part.unwrap_or_default());
            }
        })
        .await;
        let mut output = String::from_utf8_lossy(&output).trim().to_owned();
        let (code, _) = exit_code(status);
        if code == START_FAILED
            && let Ok(why) = tokio::fs::read_to_string(&spec.error_file).await
            && !why.is_empty()
        {
            output = why;
        }
        Ok((code, output))
    }
}
