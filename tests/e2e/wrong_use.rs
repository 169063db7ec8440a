//! Wrong use gives one clear message and changes nothing.

use std::fs;

use crate::programs::{machine, run, text};

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
fn without_a_cluster_commands_say_so() {
    let state = tempfile::tempdir().unwrap();
    for command in ["proxy-status", "status"] {
        let output = run(&["--state-dir", state.path().join("none").to_str().unwrap(), command]);
        assert!(!output.status.success(), "{command}: {}", text(&output));
        assert!(!text(&output).contains("panicked"), "{command}: {}", text(&output));
    }
}
