//! The book does what it says: its pages that walk through something are run as they stand.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::leftovers::Footprint;
use crate::programs::{machine, portolan, text};

/// What opens a block of commands for the reader to type. Blocks of other kinds (`console`, `yaml`) only show.
const OPEN: &str = "```sh";
const CLOSE: &str = "```";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests are in the repository").to_owned()
}

/// The commands of a page, in order.
fn commands(page: &str) -> String {
    let mut script = String::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            OPEN => inside = true,
            CLOSE => inside = false,
            line if inside => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

/// Types the commands of a page into a shell that stops at the first that fails, in a folder with the samples.
fn follow(page: &str) {
    let _machine = machine();
    let before = Footprint::look();
    let script = commands(&std::fs::read_to_string(root().join("docs").join(page)).unwrap());
    assert!(!script.is_empty(), "{page} has no commands");
    let folder = tempfile::tempdir().unwrap();
    symlink(root().join("samples"), folder.path().join("samples")).unwrap();
    // The reader has installed the programs and kubectl; here they are put before everything else on the path.
    let program = portolan();
    let ours = program.parent().expect("a program is in a folder");
    let kubectl = std::env::var_os("PORTOLAN_KUBECTL").map(PathBuf::from);
    let folders = [Some(ours), kubectl.as_deref().and_then(Path::parent)];
    let path = std::env::var_os("PATH").expect("there is a path");
    let path = folders.into_iter().flatten().map(PathBuf::from).chain(std::env::split_paths(&path));
    let output = Command::new("bash")
        .args(["-euxo", "pipefail", "-c", &script])
        .current_dir(folder.path())
        .env("PATH", std::env::join_paths(path).unwrap())
        .stdin(Stdio::null())
        .output()
        .expect("there is a bash");
    if !output.status.success() {
        take_down(folder.path());
        panic!("{page} ended with {}:\n{}", output.status, text(&output));
    }
    before.assert_unchanged();
}

/// A page that failed half-way has clusters running.
fn take_down(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().join("cluster.json").is_file() {
            let _ = Command::new(portolan()).arg("down").arg("--state-dir").arg(entry.path()).output();
        }
    }
}

#[test]
fn getting_started_works_as_written() {
    follow("getting-started.md");
}

#[test]
fn two_meshes_federate_as_written() {
    follow("federation.md");
}
