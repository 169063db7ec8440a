//! Runs a program of the machine (`ip`, `nft`, `iptables`) to its end, blocking, within a limit.
//!
//! It exists because `std::process` has no limit of time, and because a program whose input and output are both
//! pipes may wait for us while we wait for it: input is written, and both outputs are read, side by side.
//!
//! The child starts in the network namespace of the calling thread.

use std::io::{self, Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of standard output that are kept; what follows is read and dropped.
const MAX_OUTPUT: usize = 1 << 20;
/// Bytes of standard error that are kept.
const MAX_ERROR_TEXT: usize = 2000;
/// How often a program that has closed its outputs is asked whether it has ended.
const EXIT_CHECK: Duration = Duration::from_millis(2);

/// Why a program failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Not installed.
    #[error("`{program}` was not found: install the package {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// The package that has it, as Debian calls it.
        package: &'static str,
    },
    /// It ended with an error.
    #[error("`{program} {args}` failed: {stderr}")]
    Failed {
        /// The program.
        program: &'static str,
        /// Its arguments.
        args: String,
        /// What it printed, cut after some lines.
        stderr: String,
    },
    /// It did not end in time and was killed.
    #[error("`{program} {args}` did not end within {} s and was killed", limit.as_secs())]
    TimedOut {
        /// The program.
        program: &'static str,
        /// Its arguments.
        args: String,
        /// How long it had.
        limit: Duration,
    },
    /// It could not be run.
    #[error("running `{program}`: {source}")]
    Io {
        /// The program.
        program: &'static str,
        /// The reason.
        source: io::Error,
    },
}

/// Runs `program` with `input` on its standard input; answers what it printed.
///
/// # Errors
/// It is not there, fails, or takes longer than `limit` (it is killed then).
pub fn run(
    program: &'static str,
    args: &[&str],
    input: &str,
    limit: Duration,
) -> Result<String, CommandError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => CommandError::Missing { program, package: package(program) },
        _ => CommandError::Io { program, source },
    };
    let deadline = Instant::now() + limit;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let ended = attend(&mut child, input, deadline);
    if !matches!(ended, Ok(Some(_))) {
        // Ended already, or about to be: both are fine.
        let _ = child.kill();
        let _ = child.wait();
    }
    let Some(ended) = ended.map_err(failed)? else {
        return Err(CommandError::TimedOut { program, args: args.join(" "), limit });
    };
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    Err(CommandError::Failed { program, args: args.join(" "), stderr })
}

fn package(program: &'static str) -> &'static str {
    match program {
        "nft" => "nftables",
        "ip" => "iproute2",
        "ip6tables" | "iptables-restore" | "ip6tables-restore" => "iptables",
        other => other,
    }
}

struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Feeds and reads a child until it has ended; `None` at the deadline.
fn attend(child: &mut Child, input: &str, deadline: Instant) -> io::Result<Option<Ended>> {
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_owned();
        // A program that stops reading says why on its standard error.
        thread::Builder::new().spawn(move || {
            let _ = stdin.write_all(input.as_bytes());
        })?;
    }
    let stdout = read(child.stdout.take(), MAX_OUTPUT)?;
    let stderr = read(child.stderr.take(), MAX_ERROR_TEXT)?;
    let Some(stdout) = until(&stdout, deadline) else { return Ok(None) };
    let Some(stderr) = until(&stderr, deadline) else { return Ok(None) };
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(Ended { status, stdout, stderr }));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the whole of this crate blocks its caller, who is told so"
        )]
        thread::sleep(EXIT_CHECK);
    }
}

/// Reads a pipe to its end in a thread of its own, which answers the first `keep` bytes.
fn read(pipe: Option<impl Read + Send + 'static>, keep: usize) -> io::Result<Receiver<Vec<u8>>> {
    let (answer, receiver) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            let limit = u64::try_from(keep).unwrap_or(u64::MAX);
            // What was read until an error is all there is to tell.
            let _ = pipe.by_ref().take(limit).read_to_end(&mut kept);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        let _ = answer.send(kept);
    })?;
    Ok(receiver)
}

fn until(receiver: &Receiver<Vec<u8>>, deadline: Instant) -> Option<Vec<u8>> {
    match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(bytes) => Some(bytes),
        Err(RecvTimeoutError::Timeout) => None,
        Err(RecvTimeoutError::Disconnected) => Some(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn answers_what_a_program_prints() {
        assert_eq!(run("cat", &[], "hello", LONG).unwrap(), "hello");
    }

    #[test]
    fn a_program_that_prints_before_it_reads_does_not_wait_for_us() {
        // More than the pipes hold in both directions.
        let script = "head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero; cat >/dev/null";
        run("sh", &["-c", script], &"x".repeat(1_000_000), LONG).unwrap();
    }

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let error = run("sleep", &["1000"], "", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { program: "sleep", .. }), "{error}");
    }

    #[test]
    fn a_program_that_closes_its_outputs_and_stays_is_killed() {
        let script = "exec >&- 2>&-; exec sleep 1000";
        let error = run("sh", &["-c", script], "", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn tells_what_a_failing_program_says() {
        let error = run("sh", &["-c", "echo why >&2; exit 3"], "", LONG).unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo why >&2; exit 3` failed: why");
    }

    #[test]
    fn keeps_only_so_much_of_an_endless_complaint() {
        let error = run("sh", &["-c", "yes | head -c 1000000 >&2; exit 1"], "", LONG).unwrap_err();
        let CommandError::Failed { stderr, .. } = error else { panic!("{error}") };
        assert!(stderr.len() <= MAX_ERROR_TEXT, "{}", stderr.len());
    }

    #[test]
    fn names_the_package_of_a_missing_program() {
        let error = run("portolan-no-such-program", &[], "", LONG).unwrap_err();
        assert!(matches!(error, CommandError::Missing { .. }), "{error}");
        assert_eq!(package("nft"), "nftables");
    }
}
