//! Runs `ip` and `nft` with their input on standard input.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Error text of a program is cut after this many bytes.
const MAX_ERROR_TEXT: usize = 2000;

/// Why a program failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Not installed.
    #[error("`{program}` was not found: install the package {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// What to install.
        package: &'static str,
    },
    /// It ended with an error.
    #[error("`{program} {args}` failed: {stderr}")]
    Failed {
        /// The program.
        program: &'static str,
        /// Its arguments.
        args: String,
        /// What it printed.
        stderr: String,
    },
    /// It could not be run.
    #[error("running `{program}`: {source}")]
    Io {
        /// The program.
        program: &'static str,
        /// The reason.
        source: std::io::Error,
    },
}

impl CommandError {
    /// The thing to be made is there already.
    pub(crate) fn is_exists(&self) -> bool {
        matches!(self, CommandError::Failed { stderr, .. } if stderr.contains("File exists"))
    }
}

/// What a program printed.
pub type Output = String;

/// Runs `program` to its end. The child starts in the network namespace of the calling thread.
pub(crate) fn run(program: &'static str, args: &[&str], input: &str) -> Result<Output, CommandError> {
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => CommandError::Missing {
            program,
            package: match program {
                "nft" => "nftables",
                "ip" => "iproute2",
                other => other,
            },
        },
        _ => CommandError::Io { program, source },
    };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(io)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that stops reading says why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(io)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let mut stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if stderr.len() > MAX_ERROR_TEXT {
        let cut = (0..=MAX_ERROR_TEXT).rev().find(|i| stderr.is_char_boundary(*i)).unwrap_or(0);
        stderr.truncate(cut);
    }
    Err(CommandError::Failed { program, args: args.join(" "), stderr })
}

/// One `ip -batch`; stops at the first line that fails.
pub(crate) fn ip_batch(lines: &str) -> Result<(), CommandError> {
    run("ip", &["-batch", "-"], lines).map(drop)
}
