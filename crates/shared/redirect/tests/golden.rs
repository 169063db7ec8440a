//! The written rules, line by line. A change here is a change of what Pods see: compare with the rules of Istio's `istio-iptables`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use portolan_redirect::{DnsCapture, Networks, Ports, Rules, iptables, nft};

/// Compares with `tests/golden/NAME.KIND`; `UPDATE_GOLDEN=1` writes the files.
fn check(name: &str, rules: &Rules) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let texts =
        [("nft", nft::render(rules)), ("v4", iptables::render_v4(rules)), ("v6", iptables::render_v6(rules))];
    for (kind, text) in texts {
        let path = dir.join(format!("{name}.{kind}"));
        #[expect(clippy::disallowed_methods, reason = "whoever runs the test asks for new golden files")]
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, expected, "{} differs", path.display());
    }
}

#[test]
fn injected_sidecar() {
    check("sidecar", &Rules::default());
}

#[test]
fn nothing_captured() {
    let rules = Rules { inbound: Ports::List(vec![]), networks: Networks::List(vec![]), ..Rules::default() };
    check("nothing", &rules);
}

#[test]
fn lists_and_dns() {
    let rules = Rules {
        proxy_uids: vec![1337, 1338],
        inbound: Ports::List(vec![80, 9080]),
        outbound_exclude: vec![3306],
        outbound_include: vec![443],
        networks: Networks::List(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]),
        networks_exclude: vec!["10.1.0.0/16".parse().unwrap(), "fd01::/16".parse().unwrap()],
        dns: Some(DnsCapture {
            port: 15053,
            servers: vec!["10.96.0.10".parse().unwrap(), "fd00::a".parse().unwrap()],
        }),
        ..Rules::default()
    };
    check("lists", &rules);
}
