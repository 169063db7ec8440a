//! How the process that holds a cluster tells whoever started it how far it is: a file of lines in the state
//! directory, `ok <what>` for each step, then `ready` or `error <why>`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use tokio::process::Child;
use tokio::time::Instant;

use crate::state::StateDir;

/// How often the file is read while somebody waits.
const POLL: Duration = Duration::from_millis(100);
/// How much of the process's log is shown when it has failed.
const TAIL: u64 = 2000;
const TAIL_LINES: usize = 5;

const OK: &str = "ok";
const ERROR: &str = "error";
const READY: &str = "ready";

/// Why a cluster that was waited for did not come up.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The process could not be asked whether it still runs.
    #[error("cannot watch the cluster process: {0}")]
    Process(#[from] io::Error),
    /// The process said why it gave up.
    #[error("{0}")]
    Failed(String),
    /// The process ended without a word.
    #[error("the cluster process ended ({status}): {log}")]
    Ended {
        /// How it ended.
        status: std::process::ExitStatus,
        /// Where its log is, and the end of it.
        log: String,
    },
    /// It takes too long.
    #[error("the cluster was not up within {} s: {log}", within.as_secs())]
    Slow {
        /// What was waited.
        within: Duration,
        /// Where its log is, and the end of it.
        log: String,
    },
}

/// The side of the process that holds the cluster.
#[derive(Debug)]
pub struct Teller<'a>(&'a StateDir);

impl<'a> Teller<'a> {
    /// Tells through the file in `state`.
    #[must_use]
    pub fn new(state: &'a StateDir) -> Self {
        Self(state)
    }

    /// A step is done.
    pub fn done(&self, what: &str) {
        self.line(&format!("{OK} {what}"));
    }

    /// There is no cluster, and no more to be told.
    pub fn failed(&self, why: &dyn std::error::Error) {
        self.line(&format!("{ERROR} {why}"));
    }

    /// The cluster is up.
    pub fn ready(&self) {
        self.line(READY);
    }

    fn line(&self, line: &str) {
        // Several lines would be taken for several messages.
        let line = line.replace('\n', " ");
        let file = OpenOptions::new().create(true).append(true).open(self.0.progress());
        if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
            tracing::warn!(%error, "cannot write the progress file");
        }
    }
}

/// Follows a cluster process until it is ready, and hands each finished step to `progress`.
///
/// # Errors
/// When the process gives up, ends, or is not ready in time.
pub async fn wait_ready(
    state: &StateDir,
    child: &mut Child,
    within: Duration,
    mut progress: impl FnMut(&str),
) -> Result<(), WaitError> {
    let deadline = Instant::now() + within;
    let mut shown = 0;
    loop {
        // Asked before the file is read: what a process wrote before it ended is then not missed.
        let ended = child.try_wait()?;
        let text = std::fs::read_to_string(state.progress()).unwrap_or_default();
        // The last line may still be being written.
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in complete.lines().skip(shown) {
            shown += 1;
            match line.split_once(' ') {
                Some((OK, what)) => progress(what),
                Some((ERROR, why)) => return Err(WaitError::Failed(why.to_owned())),
                _ if line == READY => return Ok(()),
                _ => {}
            }
        }
        if let Some(status) = ended {
            return Err(WaitError::Ended { status, log: end_of_log(state) });
        }
        if Instant::now() > deadline {
            return Err(WaitError::Slow { within, log: end_of_log(state) });
        }
        tokio::time::sleep(POLL).await;
    }
}

fn end_of_log(state: &StateDir) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(state.log())?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("see {}; its last lines:\n{}", state.log().display(), tail.join("\n"))
}

#[cfg(test)]
mod tests {
    use tokio::process::Command;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn state() -> (tempfile::TempDir, StateDir) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::new(folder.path());
        (folder, state)
    }

    fn running() -> Child {
        Command::new("sleep").arg("600").kill_on_drop(true).spawn().unwrap()
    }

    #[tokio::test]
    async fn steps_are_handed_on_in_order_until_ready() {
        let (_folder, state) = state();
        let teller = Teller::new(&state);
        teller.done("store");
        teller.done("two\nlines");
        teller.ready();
        teller.done("never read");
        let mut seen = Vec::new();
        wait_ready(&state, &mut running(), LONG, |what| seen.push(what.to_owned())).await.unwrap();
        assert_eq!(seen, ["store", "two lines"]);
    }

    #[tokio::test]
    async fn the_reason_of_a_failure_is_passed_on() {
        let (_folder, state) = state();
        Teller::new(&state).failed(&io::Error::other("the port is taken"));
        let error = wait_ready(&state, &mut running(), LONG, |_| {}).await.unwrap_err();
        assert_eq!(error.to_string(), "the port is taken");
    }

    #[tokio::test]
    async fn a_process_that_ends_is_shown_with_the_end_of_its_log() {
        let (_folder, state) = state();
        let lines: Vec<String> = (1..=9).map(|line| format!("line {line}")).collect();
        std::fs::create_dir_all(state.log().parent().unwrap()).unwrap();
        std::fs::write(state.log(), lines.join("\n")).unwrap();
        let mut child = Command::new("false").spawn().unwrap();
        let error = wait_ready(&state, &mut child, LONG, |_| {}).await.unwrap_err().to_string();
        assert!(error.contains("ended (exit status: 1)") && error.ends_with("line 8\nline 9"), "{error}");
        assert!(!error.contains("line 4"), "{error}");
    }

    #[tokio::test]
    async fn a_slow_start_is_given_up() {
        let (_folder, state) = state();
        let error = wait_ready(&state, &mut running(), Duration::ZERO, |_| {}).await.unwrap_err();
        assert!(matches!(error, WaitError::Slow { .. }), "{error}");
    }
}
