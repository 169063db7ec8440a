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
fn without_a_cluster_commands_say_so() {
    let state = tempfile::tempdir().unwrap();
    for command in ["proxy-status", "status"] {
        let output = run(&["--state-dir", state.path().join("none").to_str().unwrap(), command]);
        assert!(!output.status.success(), "{command}: {}", text(&output));
        assert!(!text(&output).contains("panicked"), "{command}: {}", text(&output));
    }
}
