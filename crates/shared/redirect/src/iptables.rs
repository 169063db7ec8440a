//! `iptables-restore --noflush` text, for nodes without `nft`.
//!
//! Chain names are Istio's, so that people and tools find what they know.

use std::fmt::Write as _;

use crate::model::{Family, Ports, Rules};
use crate::{PASSTHROUGH_V4, PASSTHROUGH_V6};
use portolan_names::ports;

/// Chains that are ours alone; declaring one in `iptables-restore` input empties it.
const CHAINS: [&str; 4] = ["ISTIO_INBOUND", "ISTIO_REDIRECT", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT"];

/// IPv4 rules, for `iptables-restore --noflush`.
pub fn render_v4(rules: &Rules) -> String {
    render(rules, Family::V4)
}

/// IPv6 rules, for `ip6tables-restore --noflush`.
pub fn render_v6(rules: &Rules) -> String {
    render(rules, Family::V6)
}

/// The rules that jump into our chains from the built-in ones: they have to be deleted before the text is loaded
/// a second time, because `--noflush` appends. Each entry is the arguments after `-D`.
pub fn jumps(rules: &Rules) -> Vec<String> {
    let mut jumps = Vec::new();
    if rules.captures_inbound() {
        jumps.push("PREROUTING -p tcp -j ISTIO_INBOUND".to_owned());
    }
    jumps.push("OUTPUT -p tcp -j ISTIO_OUTPUT".to_owned());
    for family in Family::BOTH {
        for rule in dns_over_udp(rules, family) {
            if !jumps.contains(&rule) {
                jumps.push(rule);
            }
        }
    }
    jumps
}

fn render(rules: &Rules, family: Family) -> String {
    let mut out = String::from("*nat\n");
    for chain in CHAINS {
        let _ = writeln!(out, ":{chain} - [0:0]");
    }
    let mut add = |rule: String| {
        let _ = writeln!(out, "-A {rule}");
    };
    add(format!("ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {}", rules.outbound_port));
    add(format!("ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {}", rules.inbound_port));
    if rules.captures_inbound() {
        inbound(rules).into_iter().for_each(&mut add);
        add("PREROUTING -p tcp -j ISTIO_INBOUND".to_owned());
    }
    add("OUTPUT -p tcp -j ISTIO_OUTPUT".to_owned());
    outbound(rules, family).into_iter().for_each(&mut add);
    dns_over_udp(rules, family).into_iter().for_each(&mut add);
    out.push_str("COMMIT\n");
    out
}

fn inbound(rules: &Rules) -> Vec<String> {
    let on_port = |port: &u16, target: &str| format!("ISTIO_INBOUND -p tcp --dport {port} -j {target}");
    let mut lines = vec![on_port(&rules.tunnel_port, "RETURN")];
    match &rules.inbound {
        Ports::All => {
            lines.push(on_port(&ports::SSH, "RETURN"));
            lines.extend(rules.inbound_exclude.iter().map(|port| on_port(port, "RETURN")));
            lines.push("ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT".to_owned());
        }
        Ports::List(ports) => lines.extend(ports.iter().map(|port| on_port(port, "ISTIO_IN_REDIRECT"))),
    }
    lines
}

fn outbound(rules: &Rules, family: Family) -> Vec<String> {
    let (loopback, passthrough) = match family {
        Family::V4 => ("127.0.0.1/32", PASSTHROUGH_V4),
        Family::V6 => ("::1/128", PASSTHROUGH_V6),
    };
    let mut lines = Vec::new();
    for port in &rules.outbound_exclude {
        lines.push(format!("ISTIO_OUTPUT -p tcp --dport {port} -j RETURN"));
    }
    lines.push(format!("ISTIO_OUTPUT -o lo -s {passthrough} -j RETURN"));

    let ids =
        rules.proxy_uids.iter().map(|id| ("uid", id)).chain(rules.proxy_gids.iter().map(|id| ("gid", id)));
    for (key, id) in ids {
        lines.push(format!(
            "ISTIO_OUTPUT -o lo ! -d {loopback} -m owner --{key}-owner {id} -j ISTIO_IN_REDIRECT"
        ));
        let not_dns = if rules.dns.is_some() { "-p tcp ! --dport 53 " } else { "" };
        lines.push(format!("ISTIO_OUTPUT -o lo {not_dns}-m owner ! --{key}-owner {id} -j RETURN"));
        lines.push(format!("ISTIO_OUTPUT -m owner --{key}-owner {id} -j RETURN"));
    }

    if let Some(dns) = &rules.dns {
        for server in dns.servers.iter().filter(|s| Family::of_addr(s) == family) {
            let bits = if server.is_ipv4() { 32 } else { 128 };
            lines.push(format!(
                "ISTIO_OUTPUT -p tcp --dport 53 -d {server}/{bits} -j REDIRECT --to-ports {}",
                dns.port
            ));
        }
    }
    lines.push(format!("ISTIO_OUTPUT -d {loopback} -j RETURN"));
    for net in rules.networks_exclude.iter().filter(|n| Family::of(n) == family) {
        lines.push(format!("ISTIO_OUTPUT -d {net} -j RETURN"));
    }
    for port in &rules.outbound_include {
        lines.push(format!("ISTIO_OUTPUT -p tcp --dport {port} -j ISTIO_REDIRECT"));
    }
    match rules.included(family) {
        None => lines.push("ISTIO_OUTPUT -j ISTIO_REDIRECT".to_owned()),
        Some(nets) => {
            lines.extend(nets.iter().map(|net| format!("ISTIO_OUTPUT -d {net} -j ISTIO_REDIRECT")));
            lines.push("ISTIO_OUTPUT -j RETURN".to_owned());
        }
    }
    lines
}

fn dns_over_udp(rules: &Rules, family: Family) -> Vec<String> {
    let Some(dns) = &rules.dns else { return Vec::new() };
    let mut lines = Vec::new();
    for id in &rules.proxy_uids {
        lines.push(format!("OUTPUT -p udp --dport 53 -m owner --uid-owner {id} -j RETURN"));
    }
    for id in &rules.proxy_gids {
        lines.push(format!("OUTPUT -p udp --dport 53 -m owner --gid-owner {id} -j RETURN"));
    }
    for server in dns.servers.iter().filter(|s| Family::of_addr(s) == family) {
        let bits = if server.is_ipv4() { 32 } else { 128 };
        lines
            .push(format!("OUTPUT -p udp --dport 53 -d {server}/{bits} -j REDIRECT --to-ports {}", dns.port));
    }
    lines
}

#[cfg(test)]
mod tests;
