//! Starts `pod-init` and waits for what it became.

use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use super::spec::InitSpec;
use crate::network::{NetnsHandle, NetworkError};

/// Why no process was started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error("starting the container process: {0}")]
    Io(#[from] std::io::Error),
    #[error("the container's specification cannot be written: {0}")]
    Spec(#[from] serde_json::Error),
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// A running process and everything that it started in its process group.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    exited: AsyncFd<OwnedFd>,
    status: Option<ExitStatus>,
    pub(crate) stdout: Option<pipe::Receiver>,
    pub(crate) stderr: Option<pipe::Receiver>,
}

/// Starts a process from `spec`. It is forked on the thread of `host`, because the kernel ties the parent-death signal to the
/// thread that forked, and that thread lives as long as the node runtime.
pub(crate) async fn spawn(
    host: &NetnsHandle,
    pod_init: &[OsString],
    spec: &InitSpec,
) -> Result<Process, ProcessError> {
    let text = serde_json::to_vec(spec)?;
    let mut command = Command::new(pod_init.first().cloned().unwrap_or_default());
    command
        .args(pod_init.get(1..).unwrap_or_default())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = host.run(move || command.spawn()).await??;
    // pod-init reads all of it before it does anything else.
    let stdin = child.stdin.take();
    tokio::task::spawn_blocking(move || stdin.map_or(Ok(()), |mut pipe| pipe.write_all(&text)))
        .await
        .map_err(std::io::Error::other)??;
    let receiver = |fd: Option<OwnedFd>| fd.map(pipe::Receiver::from_owned_fd).transpose();
    let stdout = receiver(child.stdout.take().map(OwnedFd::from))?;
    let stderr = receiver(child.stderr.take().map(OwnedFd::from))?;
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
    // Deprecated for types whose descriptor can change under them; an OwnedFd's cannot.
    #[allow(deprecated)]
    let exited = AsyncFd::new(pidfd)?;
    Ok(Process { child, pid, exited, status: None, stdout, stderr })
}

impl Process {
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Waits for the end; may be cancelled and called again. What the process left in its group is killed.
    pub(crate) async fn wait(&mut self) -> std::io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            let mut ready = self.exited.readable().await?;
            // Before the process is reaped: its id, and with it the group's, cannot belong to anybody else yet.
            let _ = kill_process_group(self.pid, Signal::KILL);
            self.status = self.child.try_wait()?;
            ready.clear_ready();
        }
    }

    /// Sends a signal to the process alone; it decides what its children get.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            let _ = kill_process(self.pid, signal);
        }
    }
}

impl Drop for Process {
    /// A task that is cancelled must not leave the process behind.
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = kill_process_group(self.pid, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Exit code and signal as Kubernetes reports them: 128 + n for a signal.
pub(crate) fn exit_code(status: ExitStatus) -> (i32, Option<i32>) {
    match (status.code(), status.signal()) {
        (Some(code), _) => (code, None),
        (None, Some(signal)) => (128 + signal, Some(signal)),
        (None, None) => (255, None),
    }
}
