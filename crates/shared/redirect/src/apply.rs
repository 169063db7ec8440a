//! Loads rules into the network namespace of the calling process.

use std::time::Duration;

use portolan_command::CommandError;

use crate::backend::Backend;
use crate::model::Rules;
use crate::{PASSTHROUGH_V6, iptables, nft};

/// Time for one program: the kernel answers in milliseconds, `-w` may wait for another program's lock.
const LIMIT: Duration = Duration::from_secs(30);

/// Why rules were not loaded.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The program is not installed.
    #[error("`{program}` was not found: install it (package {package}), or choose another --backend")]
    Missing {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The kernel said no.
    #[error(
        "`{program}` may not change packet rules here: the container needs the capabilities NET_ADMIN and NET_RAW \
         (securityContext.capabilities.add), or use the CNI plugin"
    )]
    Privilege {
        /// The program.
        program: &'static str,
    },
    /// The program failed.
    #[error("`{program}` refused the rules: {stderr}")]
    Failed {
        /// The program.
        program: &'static str,
        /// What it printed.
        stderr: String,
    },
    /// The program could not be run, or did not end.
    #[error(transparent)]
    Command(CommandError),
}

/// Loads `rules` into this network namespace, replacing those of an earlier call.
pub fn apply(rules: &Rules, backend: Backend) -> Result<(), ApplyError> {
    // The proxy's inbound passthrough connections use this source address. Without IPv6 in the kernel there is
    // nothing to add, and on a second call it is there already, so a failure means nothing.
    let _ = run("ip", &["-6", "addr", "add", PASSTHROUGH_V6, "dev", "lo"], "");
    match backend {
        Backend::Nft => run("nft", &["-f", "-"], &nft::render(rules)),
        Backend::Iptables => apply_iptables(rules),
        Backend::Auto => match run("nft", &["-f", "-"], &nft::render(rules)) {
            Err(ApplyError::Missing { .. }) => apply_iptables(rules),
            other => other,
        },
    }
}

fn apply_iptables(rules: &Rules) -> Result<(), ApplyError> {
    let ipv6 = std::path::Path::new("/proc/net/if_inet6").exists();
    for jump in iptables::jumps(rules) {
        let mut args = vec!["-w", "-t", "nat", "-D"];
        args.extend(jump.split(' '));
        // Not there on the first call.
        let _ = run("iptables", &args, "");
        if ipv6 {
            let _ = run("ip6tables", &args, "");
        }
    }
    run("iptables-restore", &["-w", "--noflush"], &iptables::render_v4(rules))?;
    if ipv6 {
        run("ip6tables-restore", &["-w", "--noflush"], &iptables::render_v6(rules))?;
    }
    Ok(())
}

fn run(program: &'static str, args: &[&str], input: &str) -> Result<(), ApplyError> {
    portolan_command::run(program, args, input, LIMIT).map(drop).map_err(|error| match error {
        CommandError::Missing { program, package } => ApplyError::Missing { program, package },
        CommandError::Io { program, source } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            ApplyError::Privilege { program }
        }
        CommandError::Failed { program, stderr, .. } => {
            if stderr.contains("Operation not permitted") || stderr.contains("Permission denied") {
                ApplyError::Privilege { program }
            } else {
                ApplyError::Failed { program, stderr }
            }
        }
        other => ApplyError::Command(other),
    })
}

#[cfg(test)]
mod tests;
