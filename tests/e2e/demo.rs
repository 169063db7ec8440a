//! The acceptance: the demo as a test, with every proxy ours, every proxy Envoy, and mixed.

use crate::programs::{machine, run, text};

fn check(proxy: &str) {
    let _machine = machine();
    let state = tempfile::tempdir().unwrap();
    let output = run(&[
        "demo",
        "--check",
        "--proxy",
        proxy,
        "--state-dir",
        state.path().to_str().expect("a plain path"),
    ]);
    assert!(output.status.success(), "demo with {proxy} proxies:\n{}", text(&output));
    let left: Vec<_> = std::fs::read_dir("/run/netns")
        .map(|entries| entries.flatten().map(|entry| entry.file_name()).collect())
        .unwrap_or_default();
    let left: Vec<_> = left.iter().filter(|name| name.to_string_lossy().starts_with("ptl-")).collect();
    assert!(left.is_empty(), "network namespaces are left behind: {left:?}");
    assert!(
        !std::path::Path::new("/sys/class/net/ptl-link").exists(),
        "the link between clusters is left behind"
    );
}

#[test]
fn every_proxy_is_envoy() {
    assert!(
        std::env::var_os("PORTOLAN_ENVOY").is_some(),
        "Envoy is needed: run `cargo xtask test`, or set PORTOLAN_ENVOY to its program"
    );
    check("envoy");
}

#[test]
fn every_proxy_is_ours() {
    check("portolan");
}

#[test]
fn proxies_are_mixed() {
    check("mixed");
}
