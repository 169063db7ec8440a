//! Command line of the init container, with the flags of `istio-iptables` (Istio 1.9, `tools/istio-iptables/pkg/cmd`).

use std::net::IpAddr;

use crate::apply::{ApplyError, apply};
use crate::backend::Backend;
use crate::model::{
    DnsCapture, Rules, RulesError, parse_ids, parse_network_list, parse_networks, parse_port_list,
    parse_ports,
};
use crate::validate::{ValidateError, validate};
use crate::{iptables, nft};
use portolan_names::{env, names, ports};

/// Where the name servers of DNS capture are read from.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Flags of `portolan-proxy redirect`.
#[derive(Debug, Clone, clap::Args)]
pub struct RedirectArgs {
    /// Port to which captured outbound connections go.
    #[arg(short = 'p', long = "envoy-port", default_value_t = ports::OUTBOUND)]
    pub envoy_port: u16,
    /// Port to which captured inbound connections go.
    #[arg(short = 'z', long = "inbound-capture-port", default_value_t = ports::INBOUND)]
    pub inbound_capture_port: u16,
    /// Tunnel port, never captured.
    #[arg(short = 'e', long = "inbound-tunnel-port", default_value_t = ports::TUNNEL)]
    pub inbound_tunnel_port: u16,
    /// Users of the proxy, comma separated.
    #[arg(short = 'u', long = "proxy-uid", default_value_t = names::PROXY_UID.to_string())]
    pub proxy_uid: String,
    /// Groups of the proxy, comma separated; the same as the users when empty.
    #[arg(short = 'g', long = "proxy-gid", default_value = "")]
    pub proxy_gid: String,
    /// REDIRECT.
    #[arg(short = 'm', long = "istio-inbound-interception-mode", default_value = "REDIRECT")]
    pub mode: String,
    /// Inbound ports to capture, comma separated; `*` for all, empty for none.
    #[arg(short = 'b', long = "istio-inbound-ports", default_value = "")]
    pub inbound_ports: String,
    /// Inbound ports not to capture when `-b '*'` is given.
    #[arg(short = 'd', long = "istio-local-exclude-ports", default_value = "")]
    pub inbound_exclude_ports: String,
    /// Outbound destination networks to capture; `*` for all, empty for none.
    #[arg(short = 'i', long = "istio-service-cidr", default_value = "")]
    pub service_cidr: String,
    /// Outbound destination networks not to capture.
    #[arg(short = 'x', long = "istio-service-exclude-cidr", default_value = "")]
    pub service_exclude_cidr: String,
    /// Outbound ports not to capture.
    #[arg(short = 'o', long = "istio-local-outbound-ports-exclude", default_value = "")]
    pub outbound_exclude_ports: String,
    /// Outbound ports to capture whatever the destination network.
    #[arg(short = 'q', long = "istio-outbound-ports", default_value = "")]
    pub outbound_ports: String,
    /// Virtual machine interfaces; only empty is supported.
    #[arg(short = 'k', long = "kube-virt-interfaces", default_value = "", hide = true)]
    pub kube_virt_interfaces: String,
    /// Capture DNS queries to the servers of /etc/resolv.conf.
    #[arg(long = "redirect-dns", env = env::ISTIO_META_DNS_CAPTURE, value_parser = clap::builder::FalseyValueParser::new())]
    pub redirect_dns: bool,
    /// Print the rules, change nothing.
    #[arg(short = 'n', long = "dry-run")]
    pub dry_run: bool,
    /// After loading, check that a connection is captured.
    #[arg(long = "run-validation")]
    pub run_validation: bool,
    /// Do not load rules (with --run-validation: only check them).
    #[arg(long = "skip-rule-apply")]
    pub skip_rule_apply: bool,
    /// How rules are loaded.
    #[arg(long, value_enum, default_value_t = Backend::Auto)]
    pub backend: Backend,
}

/// Why `portolan-proxy redirect` failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Wrong flags.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Rules not loaded.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Rules loaded but not in effect.
    #[error(transparent)]
    Validate(#[from] ValidateError),
}

impl RunError {
    /// Exit status; 126 is what the repair controller of Istio's CNI plugin looks for.
    pub fn exit_code(&self) -> u8 {
        match self {
            RunError::Validate(_) => 126,
            _ => 1,
        }
    }
}

impl RedirectArgs {
    /// The rules that the flags ask for. `resolv_conf` is the text of /etc/resolv.conf, used with `--redirect-dns`.
    pub fn rules(&self, resolv_conf: &str) -> Result<Rules, RulesError> {
        if !self.mode.is_empty() && self.mode != "REDIRECT" {
            return Err(RulesError::Mode(self.mode.clone()));
        }
        if !self.kube_virt_interfaces.is_empty() {
            return Err(RulesError::Kubevirt);
        }
        let proxy_uids = parse_ids("-u", &self.proxy_uid)?;
        let mut proxy_gids = parse_ids("-g", &self.proxy_gid)?;
        if proxy_gids.is_empty() {
            proxy_gids.clone_from(&proxy_uids);
        }
        Ok(Rules {
            outbound_port: self.envoy_port,
            inbound_port: self.inbound_capture_port,
            tunnel_port: self.inbound_tunnel_port,
            proxy_uids,
            proxy_gids,
            inbound: parse_ports("-b", &self.inbound_ports)?,
            inbound_exclude: parse_port_list("-d", &self.inbound_exclude_ports)?,
            outbound_exclude: parse_port_list("-o", &self.outbound_exclude_ports)?,
            outbound_include: parse_port_list("-q", &self.outbound_ports)?,
            networks: parse_networks("-i", &self.service_cidr)?,
            networks_exclude: parse_network_list("-x", &self.service_exclude_cidr)?,
            dns: self
                .redirect_dns
                .then(|| DnsCapture { port: ports::DNS, servers: name_servers(resolv_conf) }),
        })
    }
}

/// Runs the command: prints, loads and checks as the flags say. Text for the user goes to `print`.
pub fn run(args: &RedirectArgs, print: &mut dyn FnMut(&str)) -> Result<(), RunError> {
    let resolv_conf = if args.redirect_dns {
        std::fs::read_to_string(RESOLV_CONF).unwrap_or_default()
    } else {
        String::new()
    };
    let rules = args.rules(&resolv_conf)?;
    if args.dry_run {
        match args.backend {
            Backend::Auto | Backend::Nft => print(&nft::render(&rules)),
            Backend::Iptables => {
                print(&iptables::render_v4(&rules));
                print(&iptables::render_v6(&rules));
            }
        }
        return Ok(());
    }
    if !args.skip_rule_apply {
        apply(&rules, args.backend)?;
        print("traffic capture rules loaded\n");
    }
    if args.run_validation {
        if validate(&rules)? {
            print("traffic capture validated\n");
        } else {
            print("nothing to validate: the rules capture no IPv4 destination\n");
        }
    }
    Ok(())
}

fn name_servers(resolv_conf: &str) -> Vec<IpAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse().ok())
        .collect()
}

#[cfg(test)]
mod tests;
