//! What can be measured: one row for each scenario.

use serde::Serialize;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Implementation {
    Portolan,
    Envoy,
    Nginx,
    /// Another build of ours, in place of the foreign ones.
    Baseline,
    /// No proxy: what load and backend can do.
    None,
}

impl Implementation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Portolan => "portolan",
            Self::Envoy => "envoy",
            Self::Nginx => "nginx",
            Self::Baseline => "baseline",
            Self::None => "none",
        }
    }
}

/// What stands between load and backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topology {
    /// Sidecar of the client, mutual TLS, sidecar of the backend.
    Pair { hop: Hop, access_log: bool },
    /// One reverse proxy without TLS.
    Plain,
    /// Nothing.
    Direct,
}

/// Protocol between two sidecars, inside of mutual TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hop {
    Http1,
    Http2,
    /// What the control plane sends for HTTP/1.1 services: Envoy keeps to HTTP/1.1, two of our own proxies find each other
    /// by ALPN and speak HTTP/2.
    Mesh,
}

/// What is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Kept HTTP/1.1 connections, each with one request at a time (wrk).
    Http1 { connections: u32 },
    /// HTTP/2 connections, each with many requests at a time (h2load).
    Http2 { connections: u32, streams: u32 },
    /// Connections that carried one request each and then nothing.
    Idle { connections: u32 },
}

/// One scenario.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) topology: Topology,
    pub(crate) workload: Workload,
    implementations: &'static [Implementation],
}

impl Scenario {
    /// Who takes part: everyone, or only ours and the build that it is compared with.
    pub(crate) fn implementations(&self, baseline: bool) -> Vec<Implementation> {
        if baseline && self.implementations.contains(&Portolan) {
            return vec![Portolan, Implementation::Baseline];
        }
        self.implementations.to_vec()
    }
}

use Implementation::{Envoy, Nginx, Portolan};

const KEPT: Workload = Workload::Http1 { connections: 64 };

/// All scenarios in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "pair",
        about: "two sidecars, HTTP/1.1 on all hops, mutual TLS between them; 64 kept connections",
        topology: Topology::Pair { hop: Hop::Http1, access_log: false },
        workload: KEPT,
        implementations: &[Portolan, Envoy],
    },
    Scenario {
        name: "pair-h2",
        about: "the same with HTTP/2 between the sidecars",
        topology: Topology::Pair { hop: Hop::Http2, access_log: false },
        workload: KEPT,
        implementations: &[Portolan, Envoy],
    },
    Scenario {
        name: "pair-mesh",
        about: "the same with the mesh's ALPN: HTTP/1.1 between Envoys, HTTP/2 between ours, as each chooses",
        topology: Topology::Pair { hop: Hop::Mesh, access_log: false },
        workload: KEPT,
        implementations: &[Portolan, Envoy],
    },
    Scenario {
        name: "pair-log",
        about: "as pair, with Istio's JSON access log on both sides, to /dev/null",
        topology: Topology::Pair { hop: Hop::Http1, access_log: true },
        workload: KEPT,
        implementations: &[Portolan, Envoy],
    },
    Scenario {
        name: "pair-mux",
        about: "as pair-h2, with an HTTP/2 client too: 8 connections of 32 streams",
        topology: Topology::Pair { hop: Hop::Http2, access_log: false },
        workload: Workload::Http2 { connections: 8, streams: 32 },
        implementations: &[Portolan, Envoy],
    },
    Scenario {
        name: "plain",
        about: "one reverse proxy, HTTP/1.1, no TLS, no policy; 64 kept connections",
        topology: Topology::Plain,
        workload: KEPT,
        implementations: &[Portolan, Envoy, Nginx],
    },
    Scenario {
        name: "direct",
        about: "no proxy: what load and backend can do",
        topology: Topology::Direct,
        workload: KEPT,
        implementations: &[Implementation::None],
    },
    Scenario {
        name: "idle",
        about: "memory of a reverse proxy for 4,000 more idle connections when it has 3,000, each after one request",
        topology: Topology::Plain,
        // Many, because allocators take memory from the system in pieces of up to 2 MiB.
        workload: Workload::Idle { connections: 4000 },
        implementations: &[Portolan, Envoy, Nginx],
    },
];
