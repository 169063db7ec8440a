//! The programs of a run: started on a core, watched, measured, ended.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::check::http;
use crate::error::BenchError;

/// How long a program may take to serve.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often it is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// How much of a log goes into an error.
const LAST_WORDS: usize = 2000;
/// Unit of the CPU times in /proc: `USER_HZ`, 100 on every architecture that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Puts this thread, and everything that it starts from now on, on one core.
pub(crate) fn stand_on(core: usize) -> Result<(), BenchError> {
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return Err(BenchError::Core { core, source: rustix::io::Errno::INVAL });
    }
    set.set(core);
    sched_setaffinity(None, &set).map_err(|source| BenchError::Core { core, source })
}

/// Lets this process, and what it starts, have as many files open as the system allows: thousands of connections.
pub(crate) fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    // Without it the usual limit holds, and what does not fit is reported as errors of that round.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// A command that is killed with us: by the kernel when we are killed, else when its handle is dropped.
pub(crate) fn tied(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A program that serves.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts `program` on `core`. This thread is on `home` afterwards.
    pub(crate) fn start(
        name: &str,
        program: &Path,
        arguments: &[&str],
        log: PathBuf,
        core: usize,
        home: usize,
    ) -> Result<Self, BenchError> {
        stand_on(core)?;
        let spawned = Self::spawn(name, program, arguments, log);
        stand_on(home)?;
        spawned
    }

    /// Starts `program` where this thread stands.
    pub(crate) fn spawn(
        name: &str,
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        log: PathBuf,
    ) -> Result<Self, BenchError> {
        let file = |source| BenchError::File { path: log.clone(), source };
        let output = File::create(&log).map_err(file)?;
        let errors = output.try_clone().map_err(file)?;
        let mut command = tied(program);
        command.args(arguments).stdout(output).stderr(errors);
        let child =
            command.spawn().map_err(|source| BenchError::Start { program: program.to_owned(), source })?;
        let pid = child.id().unwrap_or_default();
        Ok(Process { name: name.to_owned(), child, pid, log })
    }

    /// Its id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until `GET path` at `port` is answered with 200.
    pub(crate) async fn ready(&mut self, port: u16, path: &str) -> Result<(), BenchError> {
        let started = Instant::now();
        loop {
            self.alive()?;
            if http(port, path, "localhost").await.is_some_and(|(status, _)| status == 200) {
                return Ok(());
            }
            if started.elapsed() > READY_WITHIN {
                return Err(BenchError::NotReady {
                    name: self.name.clone(),
                    after: READY_WITHIN,
                    words: self.last_words(),
                });
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// An error when the program has ended.
    pub(crate) fn alive(&mut self) -> Result<(), BenchError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status.to_string())),
            Err(error) => Err(self.ended(error.to_string())),
        }
    }

    fn ended(&self, status: String) -> BenchError {
        BenchError::Ended { name: self.name.clone(), status, words: self.last_words() }
    }

    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(LAST_WORDS)..]).into_owned()
    }

    fn proc(&self, file: &str) -> Result<String, BenchError> {
        let path = PathBuf::from(format!("/proc/{}/{file}", self.pid));
        fs::read_to_string(&path).map_err(|source| BenchError::File { path, source })
    }

    /// CPU time so far.
    pub(crate) fn cpu(&self) -> Result<Cpu, BenchError> {
        Ok(cpu(&self.proc("stat")?).unwrap_or_default())
    }

    /// Memory now.
    pub(crate) fn memory(&self) -> Result<Memory, BenchError> {
        Ok(memory(&self.proc("status")?))
    }

    /// Ends the program.
    pub(crate) async fn end(mut self) {
        // It may have ended already.
        let _ = self.child.kill().await;
    }
}

/// CPU seconds of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

/// Fields 14 and 15 of /proc/PID/stat. The name in field 2 may hold blanks and brackets.
fn cpu(stat: &str) -> Option<Cpu> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut ticks = after_name.split_ascii_whitespace().skip(11).map(|ticks| ticks.parse::<f64>().ok());
    Some(Cpu { user: ticks.next()?? / TICKS_PER_SECOND, system: ticks.next()?? / TICKS_PER_SECOND })
}

/// Memory of a process in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Memory {
    pub(crate) anonymous: f64,
    pub(crate) resident: f64,
    /// The most that was resident.
    pub(crate) peak: f64,
}

fn memory(status: &str) -> Memory {
    let kib = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or_default()
    };
    Memory { anonymous: kib("RssAnon"), resident: kib("VmRSS"), peak: kib("VmHWM") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_kernel() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 100 0 0 0 1234 566 0 0 20 0 3 0 5 6 7";
        assert_eq!(cpu(stat), Some(Cpu { user: 12.34, system: 5.66 }));
        assert_eq!(cpu("42 (x) S 1"), None);
        let status = "Name:\tx\nVmHWM:\t    4096 kB\nVmRSS:\t    2048 kB\nRssAnon:\t     512 kB\n";
        assert_eq!(memory(status), Memory { anonymous: 512.0, resident: 2048.0, peak: 4096.0 });
    }

    #[test]
    fn figures_of_this_process() {
        let own = fs::read_to_string("/proc/self/stat").unwrap();
        assert!(cpu(&own).is_some());
        assert!(memory(&fs::read_to_string("/proc/self/status").unwrap()).anonymous > 0.0);
    }
}
