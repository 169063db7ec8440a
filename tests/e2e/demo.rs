//! The acceptance: the demo as a test, with every proxy ours, every proxy Envoy, and mixed.

use crate::leftovers::Footprint;
use crate::programs::{machine, run, text};

fn check(proxy: &str) {
    let _machine = machine();
    let before = Footprint::look();
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
    before.assert_unchanged();
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
