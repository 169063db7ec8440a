//! `ip` and `nft`, each with a limit: the threads that run them serve the whole node.

use std::time::Duration;

use portolan_command::CommandError;

/// Time for one program. The kernel answers in milliseconds; a machine that is busy to the limit is slower.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs `program` to its end. The child starts in the network namespace of the calling thread.
pub(crate) fn run(program: &'static str, args: &[&str], input: &str) -> Result<String, CommandError> {
    portolan_command::run(program, args, input, LIMIT)
}

/// One `ip -batch`; stops at the first line that fails.
pub(crate) fn ip_batch(lines: &str) -> Result<(), CommandError> {
    run("ip", &["-batch", "-"], lines).map(drop)
}

/// The thing to be made is there already.
pub(crate) fn is_exists(error: &CommandError) -> bool {
    matches!(error, CommandError::Failed { stderr, .. } if stderr.contains("File exists"))
}
