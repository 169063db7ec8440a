//! Native nftables text.
//!
//! Everything lives in one table, so that loading again replaces the old rules in one transaction and
//! removing them is one command. Written for nft 1.0.6 and later: the output hook takes a numeric priority only, and `redirect to :PORT`
//! needs `meta l4proto` in the same rule.

use std::fmt::Write as _;

use crate::model::{Family, Ports, Rules};
use crate::{PASSTHROUGH_V4, PASSTHROUGH_V6};
use portolan_names::ports;

/// The table that holds all rules.
pub const TABLE: &str = "portolan-redirect";
/// Priority of destination NAT; the name `dstnat` is refused in an output hook.
const DSTNAT: i32 = -100;

/// Text that removes the rules, whether they are there or not.
pub fn delete() -> String {
    format!("table inet {TABLE}\ndelete table inet {TABLE}\n")
}

/// Text for `nft -f -` that replaces whatever was loaded before.
pub fn render(rules: &Rules) -> String {
    let mut out = delete();
    let _ = writeln!(out, "table inet {TABLE} {{");
    chain(&mut out, "to-outbound-port", None, &[to_port("tcp", rules.outbound_port)]);
    chain(&mut out, "to-inbound-port", None, &[to_port("tcp", rules.inbound_port)]);
    if rules.captures_inbound() {
        chain(&mut out, "pod-inbound", None, &inbound(rules));
        let lines = ["meta l4proto tcp counter jump pod-inbound".to_owned()];
        chain(&mut out, "hook-prerouting", Some("prerouting"), &lines);
    }
    chain(&mut out, "pod-outbound", None, &outbound(rules));
    let mut lines = vec!["meta l4proto tcp counter jump pod-outbound".to_owned()];
    lines.extend(dns_over_udp(rules));
    chain(&mut out, "hook-output", Some("output"), &lines);
    out.push_str("}\n");
    out
}

fn chain(out: &mut String, name: &str, hook: Option<&str>, lines: &[String]) {
    let _ = writeln!(out, "\tchain {name} {{");
    if let Some(hook) = hook {
        let _ = writeln!(out, "\t\ttype nat hook {hook} priority {DSTNAT}; policy accept;");
    }
    for line in lines {
        let _ = writeln!(out, "\t\t{line}");
    }
    out.push_str("\t}\n");
}

fn to_port(proto: &str, port: u16) -> String {
    format!("meta l4proto {proto} counter redirect to :{port}")
}

fn inbound(rules: &Rules) -> Vec<String> {
    let mut lines = vec![format!("tcp dport {} counter return", rules.tunnel_port)];
    match &rules.inbound {
        Ports::All => {
            lines.push(format!("tcp dport {} counter return", ports::SSH));
            lines.extend(rules.inbound_exclude.iter().map(|port| format!("tcp dport {port} counter return")));
            lines.push("counter jump to-inbound-port".to_owned());
        }
        Ports::List(ports) => {
            lines.extend(ports.iter().map(|port| format!("tcp dport {port} counter jump to-inbound-port")));
        }
    }
    lines
}

fn outbound(rules: &Rules) -> Vec<String> {
    let mut lines: Vec<String> =
        rules.outbound_exclude.iter().map(|port| format!("tcp dport {port} counter return")).collect();
    lines.push(format!("oifname \"lo\" ip saddr {PASSTHROUGH_V4} counter return"));
    lines.push(format!("oifname \"lo\" ip6 saddr {PASSTHROUGH_V6} counter return"));

    let ids = rules
        .proxy_uids
        .iter()
        .map(|id| ("skuid", id))
        .chain(rules.proxy_gids.iter().map(|id| ("skgid", id)));
    for (key, id) in ids {
        // The proxy calls the Pod's own address: the Pod calls itself through a service, so it is inbound traffic.
        for family in Family::BOTH {
            let (ip, loopback) = loopback(family);
            lines.push(format!(
                "oifname \"lo\" {ip} daddr != {loopback} meta {key} {id} counter jump to-inbound-port"
            ));
        }
        // A resolver on loopback must still be captured.
        let not_dns = if rules.dns.is_some() { "tcp dport != 53 " } else { "" };
        lines.push(format!("oifname \"lo\" {not_dns}meta {key} != {id} counter return"));
        lines.push(format!("meta {key} {id} counter return"));
    }

    if let Some(dns) = &rules.dns {
        for server in &dns.servers {
            let ip = keyword(Family::of_addr(server));
            lines.push(format!("{ip} daddr {server} tcp dport 53 counter redirect to :{}", dns.port));
        }
    }
    for family in Family::BOTH {
        let (ip, loopback) = loopback(family);
        lines.push(format!("{ip} daddr {loopback} counter return"));
    }
    for net in &rules.networks_exclude {
        lines.push(format!("{} daddr {net} counter return", keyword(Family::of(net))));
    }
    for port in &rules.outbound_include {
        lines.push(format!("tcp dport {port} counter jump to-outbound-port"));
    }
    match rules.included(Family::V4) {
        None => lines.push("counter jump to-outbound-port".to_owned()),
        Some(v4) => {
            for net in v4.into_iter().chain(rules.included(Family::V6).unwrap_or_default()) {
                lines
                    .push(format!("{} daddr {net} counter jump to-outbound-port", keyword(Family::of(&net))));
            }
            lines.push("counter return".to_owned());
        }
    }
    lines
}

fn dns_over_udp(rules: &Rules) -> Vec<String> {
    let Some(dns) = &rules.dns else { return Vec::new() };
    let mut lines = Vec::new();
    lines.extend(rules.proxy_uids.iter().map(|id| format!("udp dport 53 meta skuid {id} counter return")));
    lines.extend(rules.proxy_gids.iter().map(|id| format!("udp dport 53 meta skgid {id} counter return")));
    for server in &dns.servers {
        let ip = keyword(Family::of_addr(server));
        lines.push(format!("{ip} daddr {server} udp dport 53 counter redirect to :{}", dns.port));
    }
    lines
}

fn keyword(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn loopback(family: Family) -> (&'static str, &'static str) {
    match family {
        Family::V4 => ("ip", "127.0.0.1/32"),
        Family::V6 => ("ip6", "::1/128"),
    }
}

#[cfg(test)]
mod tests;
