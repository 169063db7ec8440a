//! Removes what a cluster has on the machine, also after its supervisor was killed.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

use super::command;
use super::error::{NetworkError, check_privilege};
use crate::plan::{LINK_BRIDGE, LINK_LEG, belongs_to, node_netns};

const NETNS_DIR: &str = "/run/netns";
const LINKS_DIR: &str = "/sys/class/net";
/// Rounds of killing: a process may fork between the listing and the signal.
const KILL_ROUNDS: usize = 5;
/// Pause between the rounds.
const KILL_PAUSE: Duration = Duration::from_millis(5);

/// Held while the machine's network is changed: clusters that start and stop at the same time would otherwise take the
/// bridge away from each other. It is the kernel's directory of links that is locked, so that nothing is left behind.
pub(super) struct MachineLock {
    _links: std::fs::File,
}

impl MachineLock {
    pub(super) fn take() -> Result<Self, NetworkError> {
        let failed = |error: std::io::Error| NetworkError::io(format!("locking {LINKS_DIR}"), error);
        let links = std::fs::File::open(LINKS_DIR).map_err(failed)?;
        flock(&links, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        Ok(MachineLock { _links: links })
    }
}

/// Removes the network namespaces of `cluster`, what runs in them and its links; the last cluster also removes the bridge.
/// What is not there is no error, so it can be called at any time that the cluster is down.
pub fn cleanup(cluster: &str) -> Result<(), NetworkError> {
    check_privilege()?;
    remove(cluster, &MachineLock::take()?)
}

pub(super) fn remove(cluster: &str, _lock: &MachineLock) -> Result<(), NetworkError> {
    let ours: Vec<String> = match std::fs::read_dir(NETNS_DIR) {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| belongs_to(name, cluster))
            .collect(),
        Err(_) => Vec::new(),
    };
    for netns in &ours {
        kill_processes_in(netns);
    }
    let node = node_netns(cluster);
    if ours.contains(&node) {
        // The kernel removes a namespace's links some time after the namespace; the slot has to be free at once.
        let _ = command::run("ip", &["-n", &node, "link", "del", LINK_LEG], "");
    }
    let batch: String = ours.iter().map(|netns| format!("netns del {netns}\n")).collect();
    if !batch.is_empty()
        && let Err(error) = command::run("ip", &["-force", "-batch", "-"], &batch)
    {
        // A namespace file that is no mount (the machine was restarted) is refused by `ip` but still has to go.
        for netns in &ours {
            let path = Path::new(NETNS_DIR).join(netns);
            if path.exists() {
                std::fs::remove_file(&path)
                    .map_err(|e| NetworkError::io(format!("removing {} ({error})", path.display()), e))?;
            }
        }
    }
    if super::used_slots().is_empty() && Path::new(LINKS_DIR).join(LINK_BRIDGE).exists() {
        let _ = command::run("ip", &["link", "del", LINK_BRIDGE], "");
    }
    Ok(())
}

/// Kills every process whose network namespace is `netns`, and waits for their end.
pub(crate) fn kill_processes_in(netns: &str) {
    let Ok(target) = std::fs::metadata(Path::new(NETNS_DIR).join(netns)) else { return };
    let id = (target.dev(), target.ino());
    for _ in 0..KILL_ROUNDS {
        let pids = processes_in(id);
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            let _ = kill_process(pid, Signal::KILL);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the commands of the network are blocking code, kept off the async workers"
        )]
        std::thread::sleep(KILL_PAUSE);
    }
}

fn processes_in(id: (u64, u64)) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let ns = std::fs::metadata(entry.path().join("ns/net")).ok()?;
            ((ns.dev(), ns.ino()) == id).then(|| Pid::from_raw(pid)).flatten()
        })
        .collect()
}
