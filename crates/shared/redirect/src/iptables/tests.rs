use super::*;
use crate::DnsCapture;

#[test]
fn jumps_are_those_that_loading_adds() {
    let dns = DnsCapture {
        port: 15053,
        servers: vec!["192.0.2.53".parse().unwrap(), "2001:db8::53".parse().unwrap()],
    };
    let rules = Rules { dns: Some(dns), ..Rules::default() };
    assert_eq!(
        jumps(&rules),
        [
            "PREROUTING -p tcp -j ISTIO_INBOUND",
            "OUTPUT -p tcp -j ISTIO_OUTPUT",
            "OUTPUT -p udp --dport 53 -m owner --uid-owner 1337 -j RETURN",
            "OUTPUT -p udp --dport 53 -m owner --gid-owner 1337 -j RETURN",
            "OUTPUT -p udp --dport 53 -d 192.0.2.53/32 -j REDIRECT --to-ports 15053",
            "OUTPUT -p udp --dport 53 -d 2001:db8::53/128 -j REDIRECT --to-ports 15053",
        ]
    );
    let added = format!("{}{}", render_v4(&rules), render_v6(&rules));
    for jump in jumps(&rules) {
        assert!(added.contains(&format!("-A {jump}\n")), "{jump}");
    }
}

#[test]
fn nothing_inbound_needs_no_jump() {
    let rules = Rules { inbound: Ports::List(vec![]), ..Rules::default() };
    assert_eq!(jumps(&rules), ["OUTPUT -p tcp -j ISTIO_OUTPUT"]);
}
