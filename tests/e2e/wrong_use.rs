//! Wrong use gives one clear message and changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::leftovers::Footprint;
use crate::programs::{machine, portolan, run, text};

#[test]
fn a_damaged_store_is_refused_and_left_alone() {
    let _machine = machine();
    let state = tempfile::tempdir().unwrap();
    let store = state.path().join("store.db");
    let damage = b"this is no database, whatever its name says".repeat(200);
    fs::write(&store, &damage).unwrap();
    let output =
        run(&["up", "--no-mesh", "--name", "damaged", "--state-dir", state.path().to_str().unwrap()]);
    assert!(!output.status.success());
    let said = text(&output);
    assert!(said.contains("is damaged") && said.contains("store.db"), "{said}");
    assert_eq!(fs::read(&store).unwrap(), damage, "the store was changed");
}

#[test]
fn a_port_in_use_is_named() {
    let _machine = machine();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let state = tempfile::tempdir().unwrap();
    let output = run(&[
        "up",
        "--no-mesh",
        "--name",
        "porttest",
        "--api-port",
        &port,
        "--state-dir",
        state.path().to_str().unwrap(),
    ]);
    assert!(!output.status.success());
    assert!(text(&output).contains(&port), "{}", text(&output));
}

#[test]
fn without_privilege_it_says_what_is_missing() {
    const NOBODY: u32 = 65534;
    let _machine = machine();
    let before = Footprint::look();
    // Where this test lies another user may not look.
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = place.path().join("portolan");
    fs::copy(portolan(), &program).unwrap();
    let state = place.path().join("state");
    let output = Command::new(&program)
        .args(["up", "--name", "nobody", "--state-dir"])
        .arg(&state)
        .current_dir(place.path())
        .uid(NOBODY)
        .gid(NOBODY)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = text(&output);
    assert!(said.contains("need root") && said.contains("CAP_NET_ADMIN"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    before.assert_unchanged();
}

#[test]
fn a_cluster_that_is_down_is_named() {
    let state = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: \"https://{free}\"}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
    );
    fs::write(state.path().join("kubeconfig"), kubeconfig).unwrap();
    let state = state.path().to_str().unwrap();
    let output = run(&["--state-dir", state, "proxy-status"]);
    assert!(!output.status.success());
    let said = text(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(&free.to_string()) && said.contains("Connection refused"), "{said}");
    assert!(said.contains(&format!("portolan up --state-dir {state}")), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for arguments in [&["version", "--client"][..], &["completion", "bash"]] {
        let mut command = Command::new(portolan());
        let (read, write) = std::io::pipe().unwrap();
        drop(read);
        let output = command.args(arguments).stdin(Stdio::null()).stdout(write).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        assert_eq!(text(&output), "", "{arguments:?}");
    }
}

#[test]
fn a_context_that_is_not_there_is_named() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("config");
    let kubeconfig = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: \"https://127.0.0.1:1\"}}]\n\
         contexts: [{name: shop, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n";
    fs::write(&file, kubeconfig).unwrap();
    let output = run(&["--kubeconfig", file.to_str().unwrap(), "--context", "nope", "proxy-status"]);
    assert!(!output.status.success());
    assert_eq!(text(&output), "portolan: context \"nope\" does not exist: the kubeconfig has shop\n");
}

#[test]
fn names_that_no_mesh_can_have_are_refused_at_once() {
    let state = tempfile::tempdir().unwrap();
    for (flag, bad) in [("--trust-domain", "bad domain"), ("--federation-peer", "Bad_Peer")] {
        let output = run(&["up", "--state-dir", state.path().to_str().unwrap(), flag, bad]);
        assert!(!output.status.success());
        let said = text(&output);
        assert!(said.contains(flag) && said.contains("lower-case letters"), "{said}");
    }
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0, "something was begun");
}

#[test]
fn without_a_cluster_commands_say_so() {
    let state = tempfile::tempdir().unwrap();
    for command in ["proxy-status", "status"] {
        let output = run(&["--state-dir", state.path().join("none").to_str().unwrap(), command]);
        assert!(!output.status.success(), "{command}: {}", text(&output));
        assert!(!text(&output).contains("panicked"), "{command}: {}", text(&output));
    }
}
