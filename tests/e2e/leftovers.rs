//! What a run has left on the machine: everything that it made has to be gone with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::programs::portolan;

/// Namespaces, links, mounts, rules and processes of ours, one line each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Footprint(BTreeSet<String>);

impl Footprint {
    /// The machine as it is now.
    pub(crate) fn look() -> Self {
        let mut seen = BTreeSet::new();
        for folder in ["/run/netns", "/sys/class/net"] {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("ptl-"));
            seen.extend(ours.map(|entry| entry.path().display().to_string()));
        }
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts can be read");
        seen.extend(mounts.lines().map(|line| format!("mount {line}")));
        // Stateless: counters of rules that others made go up by themselves.
        let looks: [(&str, &[&str]); 2] =
            [("nft", &["--stateless", "list", "ruleset"]), ("ip", &["route", "show"])];
        for (program, arguments) in looks {
            let output = Command::new(program).args(arguments).output().expect("installed by xtask");
            let lines = String::from_utf8_lossy(&output.stdout).into_owned();
            seen.extend(lines.lines().map(|line| format!("{program} {line}")));
        }
        seen.extend(processes());
        Self(seen)
    }

    /// Fails with what is there now and was not before.
    pub(crate) fn assert_unchanged(&self) {
        let now = Self::look();
        let left: Vec<&String> = now.0.difference(&self.0).collect();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

/// Processes of the programs that were built beside this test, and of the agents' Envoy.
fn processes() -> BTreeSet<String> {
    let program = portolan();
    let ours = program.parent().expect("a program is in a folder");
    let envoy = std::env::var_os("PORTOLAN_ENVOY");
    let entries = fs::read_dir("/proc").expect("processes can be listed").flatten();
    entries
        .filter_map(|entry| {
            let exe = fs::read_link(entry.path().join("exe")).ok()?;
            let is_envoy = envoy.as_ref().is_some_and(|envoy| exe == Path::new(envoy));
            // Tests are programs of the folder below.
            (is_envoy || exe.parent() == Some(ours))
                .then(|| format!("process {} {}", entry.file_name().display(), exe.display()))
        })
        .collect()
}
