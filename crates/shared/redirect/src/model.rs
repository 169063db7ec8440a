//! The rule model, independent of how it is written.

use std::net::IpAddr;

use ipnet::IpNet;

use portolan_names::{names, ports};

/// No list of ports or networks may be longer: each entry becomes a rule that every packet of a new connection passes.
pub const MAX_LIST_ENTRIES: usize = 512;

/// Why flags do not make a rule set.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RulesError {
    /// Not a port number.
    #[error("{flag}: `{value}` is not a port (1-65535)")]
    Port {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
    },
    /// Not an address or network.
    #[error("{flag}: `{value}` is not an IP network, write for example 10.0.0.0/8")]
    Network {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
    },
    /// Not a uid or gid.
    #[error("{flag}: `{value}` is not a numeric user or group id")]
    Id {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: String,
    },
    /// `*` where only a list makes sense.
    #[error("{flag}: `*` is not allowed here, it would exclude everything; list what to exclude")]
    Wildcard {
        /// The flag.
        flag: &'static str,
    },
    /// More entries than [`MAX_LIST_ENTRIES`].
    #[error("{flag}: {count} entries, at most {MAX_LIST_ENTRIES} are allowed; use larger networks or `*`")]
    TooMany {
        /// The flag.
        flag: &'static str,
        /// How many were given.
        count: usize,
    },
    /// A mode that is not there.
    #[error("interception mode `{0}` is not supported, use REDIRECT")]
    Mode(String),
    /// kubevirt interfaces.
    #[error("-k: kubevirt interfaces are not supported, leave the flag empty")]
    Kubevirt,
}

/// Ports to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// Every port (`*`), except what is excluded.
    All,
    /// Exactly these; an empty list captures nothing.
    List(Vec<u16>),
}

/// Destination networks to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Networks {
    /// Every address (`*`), except what is excluded.
    All,
    /// Exactly these; an empty list captures nothing.
    List(Vec<IpNet>),
}

/// Capture of DNS queries by the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsCapture {
    /// The agent's DNS port.
    pub port: u16,
    /// Queries to these servers (those of /etc/resolv.conf) are captured.
    pub servers: Vec<IpAddr>,
}

/// What is captured and what is not, as Istio 1.9's `istio-iptables` decides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Captured outbound connections go here.
    pub outbound_port: u16,
    /// Captured inbound connections go here.
    pub inbound_port: u16,
    /// Never captured inbound.
    pub tunnel_port: u16,
    /// Users whose traffic is the proxy's.
    pub proxy_uids: Vec<u32>,
    /// Groups whose traffic is the proxy's.
    pub proxy_gids: Vec<u32>,
    /// Inbound ports to capture.
    pub inbound: Ports,
    /// Inbound ports that stay out when [`Rules::inbound`] is [`Ports::All`].
    pub inbound_exclude: Vec<u16>,
    /// Outbound ports that are never captured.
    pub outbound_exclude: Vec<u16>,
    /// Outbound ports that are captured whatever the destination.
    pub outbound_include: Vec<u16>,
    /// Outbound destinations to capture.
    pub networks: Networks,
    /// Outbound destinations that are never captured.
    pub networks_exclude: Vec<IpNet>,
    /// DNS capture, off when `None`.
    pub dns: Option<DnsCapture>,
}

impl Default for Rules {
    /// What the sidecar injector asks for: everything, except the proxy's own telemetry and health ports.
    fn default() -> Self {
        Rules {
            outbound_port: ports::OUTBOUND,
            inbound_port: ports::INBOUND,
            tunnel_port: ports::TUNNEL,
            proxy_uids: vec![names::PROXY_UID],
            proxy_gids: vec![names::PROXY_UID],
            inbound: Ports::All,
            inbound_exclude: ports::INBOUND_CAPTURE_EXCLUDED.to_vec(),
            outbound_exclude: Vec::new(),
            outbound_include: Vec::new(),
            networks: Networks::All,
            networks_exclude: Vec::new(),
            dns: None,
        }
    }
}

/// Address family of a written rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Family; 2] = [Family::V4, Family::V6];

    pub(crate) fn of(net: &IpNet) -> Family {
        match net {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }
    }

    pub(crate) fn of_addr(addr: &IpAddr) -> Family {
        if addr.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

impl Rules {
    /// Networks of one family that are captured; `None` means all.
    pub(crate) fn included(&self, family: Family) -> Option<Vec<IpNet>> {
        match &self.networks {
            Networks::All => None,
            Networks::List(list) => Some(list.iter().filter(|n| Family::of(n) == family).copied().collect()),
        }
    }

    /// Whether any inbound traffic is captured.
    pub(crate) fn captures_inbound(&self) -> bool {
        !matches!(&self.inbound, Ports::List(list) if list.is_empty())
    }
}

/// The entries of a comma-separated list; empty entries and surrounding blanks do not count.
fn entries<'a>(flag: &'static str, text: &'a str) -> Result<Vec<&'a str>, RulesError> {
    let list: Vec<&str> = text.split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
    if list.len() > MAX_LIST_ENTRIES {
        return Err(RulesError::TooMany { flag, count: list.len() });
    }
    Ok(list)
}

pub(crate) fn parse_port_list(flag: &'static str, text: &str) -> Result<Vec<u16>, RulesError> {
    entries(flag, text)?
        .into_iter()
        .map(|value| match value {
            "*" => Err(RulesError::Wildcard { flag }),
            _ => value
                .parse::<u16>()
                .ok()
                .filter(|p| *p != 0)
                .ok_or_else(|| RulesError::Port { flag, value: value.to_owned() }),
        })
        .collect()
}

pub(crate) fn parse_ports(flag: &'static str, text: &str) -> Result<Ports, RulesError> {
    if text.trim() == "*" { Ok(Ports::All) } else { Ok(Ports::List(parse_port_list(flag, text)?)) }
}

pub(crate) fn parse_network_list(flag: &'static str, text: &str) -> Result<Vec<IpNet>, RulesError> {
    entries(flag, text)?
        .into_iter()
        .map(|value| {
            if value == "*" {
                return Err(RulesError::Wildcard { flag });
            }
            value
                .parse::<IpNet>()
                .or_else(|_| value.parse::<IpAddr>().map(IpNet::from))
                .map(|net| net.trunc())
                .map_err(|_| RulesError::Network { flag, value: value.to_owned() })
        })
        .collect()
}

pub(crate) fn parse_networks(flag: &'static str, text: &str) -> Result<Networks, RulesError> {
    if text.trim() == "*" { Ok(Networks::All) } else { Ok(Networks::List(parse_network_list(flag, text)?)) }
}

pub(crate) fn parse_ids(flag: &'static str, text: &str) -> Result<Vec<u32>, RulesError> {
    entries(flag, text)?
        .into_iter()
        .map(|value| value.parse::<u32>().map_err(|_| RulesError::Id { flag, value: value.to_owned() }))
        .collect()
}

#[cfg(test)]
mod tests;
