//! Names of clusters, as Istio builds and parses them.

use std::fmt;

/// Cluster without endpoints: connections to it are refused.
pub const BLACK_HOLE: &str = "BlackHoleCluster";
/// Cluster that goes where the client wanted to go.
pub const PASSTHROUGH: &str = "PassthroughCluster";
/// The same for inbound traffic, bound to [`INBOUND_PASSTHROUGH_SOURCE`].
pub const INBOUND_PASSTHROUGH: &str = "InboundPassthroughClusterIpv4";
/// Source address of inbound pass-through connections: capture leaves it alone, which breaks the loop.
pub const INBOUND_PASSTHROUGH_SOURCE: &str = "127.0.0.6";
/// Listener of captured outbound traffic.
pub const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
/// Listener of captured inbound traffic.
pub const VIRTUAL_INBOUND: &str = "virtualInbound";

/// Which way a cluster leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// To the application beside the proxy.
    Inbound,
    /// To a service.
    Outbound,
}

impl Direction {
    /// The text in cluster names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// The parts of a cluster name `direction|port|subset|host`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterName {
    /// Direction.
    pub direction: Direction,
    /// Port.
    pub port: u16,
    /// Subset; empty is the whole service.
    pub subset: String,
    /// Host; empty for inbound clusters.
    pub host: String,
}

impl ClusterName {
    /// The cluster of a service's port.
    pub fn outbound(port: u16, subset: &str, host: &str) -> Self {
        Self { direction: Direction::Outbound, port, subset: subset.to_owned(), host: host.to_owned() }
    }
    /// The cluster of the application's port.
    pub fn inbound(port: u16) -> Self {
        Self { direction: Direction::Inbound, port, subset: String::new(), host: String::new() }
    }
    /// Reads a name in either form: `outbound|80|v1|host` or `outbound_.80_.v1_.host`.
    pub fn parse(name: &str) -> Option<Self> {
        let separator = if name.contains('|') { "|" } else { "_." };
        let mut parts = name.splitn(4, separator);
        let direction = match parts.next()? {
            "inbound" => Direction::Inbound,
            "outbound" => Direction::Outbound,
            _ => return None,
        };
        let port = parts.next()?.parse().ok()?;
        Some(Self { direction, port, subset: parts.next()?.to_owned(), host: parts.next()?.to_owned() })
    }
    /// The form used as SNI between proxies: `outbound_.80_.v1_.host`.
    pub fn sni(&self) -> String {
        format!("{}_.{}_.{}_.{}", self.direction.as_str(), self.port, self.subset, self.host)
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}|{}", self.direction.as_str(), self.port, self.subset, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let name = ClusterName::outbound(9080, "v1", "reviews.default.svc.cluster.local");
        assert_eq!(name.to_string(), "outbound|9080|v1|reviews.default.svc.cluster.local");
        assert_eq!(name.sni(), "outbound_.9080_.v1_.reviews.default.svc.cluster.local");
        for text in [name.to_string(), name.sni()] {
            assert_eq!(ClusterName::parse(&text), Some(name.clone()));
        }
        assert_eq!(ClusterName::parse("inbound|9080||"), Some(ClusterName::inbound(9080)));
        for bad in ["", BLACK_HOLE, "outbound|x||h", "up|80||h", "outbound|80"] {
            assert_eq!(ClusterName::parse(bad), None, "{bad}");
        }
    }
}
