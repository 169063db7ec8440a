//! The proxy that asks (docs/reference/istiod.md).

use std::{collections::BTreeMap, net::IpAddr};

use portolan_names::{env, names};
use serde_json::Value;

use crate::service::Locality;

/// Sidecar or gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeKind {
    /// Beside a workload.
    #[default]
    Sidecar,
    /// A gateway.
    Router,
}

/// Which data plane runs: a stock Envoy knows none of Istio's own filters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// Our own.
    #[default]
    Portolan,
    /// Stock Envoy.
    Envoy,
}

/// What the node's metadata says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeMetadata {
    /// Labels of the Pod.
    pub labels: BTreeMap<String, String>,
    /// Namespace.
    pub namespace: String,
    /// Service account name.
    pub service_account: String,
    /// Workload name.
    pub workload: String,
    /// Network.
    pub network: String,
    /// Networks that the proxy wants to see; empty means all.
    pub requested_network_view: Vec<String>,
    /// Cluster id.
    pub cluster_id: String,
    /// Mesh id.
    pub mesh_id: String,
    /// `sni-dnat` asks for AUTO_PASSTHROUGH clusters.
    pub sni_dnat: bool,
    /// Capture by TPROXY.
    pub tproxy: bool,
    /// No capture at all.
    pub no_capture: bool,
    /// HTTP/1.0 is accepted.
    pub http10: bool,
    /// The Pod cannot bind ports below 1024.
    pub unprivileged: bool,
    /// Istio version that the proxy claims.
    pub istio_version: String,
    /// Which data plane runs.
    pub dialect: Dialect,
}

/// A proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProxyNode {
    /// The whole node id.
    pub id: String,
    /// Sidecar or gateway.
    pub kind: NodeKind,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
    /// Pod name.
    pub name: String,
    /// Namespace of configuration.
    pub namespace: String,
    /// DNS domain, `<ns>.svc.<cluster domain>`.
    pub dns_domain: String,
    /// Locality that the proxy states; empty when it states none.
    pub locality: Locality,
    /// Metadata.
    pub metadata: NodeMetadata,
}

/// Why a node id cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Not four parts.
    #[error(
        "node id {0:?} does not have the form type~ip~pod.namespace~domain; check the proxy's --serviceNode"
    )]
    Form(String),
    /// Unknown type.
    #[error("node type {0:?} is neither sidecar nor router")]
    Kind(String),
    /// No usable address.
    #[error("node {0:?} has no IP address in its id or in INSTANCE_IPS; check the Pod's INSTANCE_IP")]
    Address(String),
}

/// Longest node id that is accepted; names in it are DNS names.
const MAX_NODE_ID: usize = 1024;

impl ProxyNode {
    /// Reads node id and metadata (an object; anything else counts as empty).
    pub fn parse(id: &str, metadata: &Value) -> Result<Self, NodeError> {
        let mut parts = id.split('~');
        let (Some(kind), Some(ip), Some(pod), Some(domain), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NodeError::Form(id.chars().take(MAX_NODE_ID).collect()));
        };
        if id.len() > MAX_NODE_ID {
            return Err(NodeError::Form(id.chars().take(MAX_NODE_ID).collect()));
        }
        let kind = match kind {
            "sidecar" => NodeKind::Sidecar,
            "router" => NodeKind::Router,
            other => return Err(NodeError::Kind(other.to_owned())),
        };
        let text = |key: &str| match metadata.get(key) {
            Some(Value::String(s)) => s.clone(),
            Some(Value::Bool(b)) => b.to_string(),
            Some(Value::Number(n)) => n.to_string(),
            _ => String::new(),
        };
        let list = |key: &str| -> Vec<String> {
            text(key).split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
        };
        // Istio writes booleans as text, "true" or "1".
        let flag = |key: &str| matches!(text(key).as_str(), "true" | "1" | "True" | "TRUE" | "t" | "T");
        let mut addresses: Vec<IpAddr> =
            list("INSTANCE_IPS").iter().filter_map(|ip| ip.parse().ok()).collect();
        if addresses.is_empty() {
            addresses.extend(ip.parse::<IpAddr>().ok());
        }
        if addresses.is_empty() {
            return Err(NodeError::Address(id.to_owned()));
        }
        let labels = metadata
            .get("LABELS")
            .and_then(Value::as_object)
            .map(|m| m.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect())
            .unwrap_or_default();
        let (name, pod_namespace) = pod.rsplit_once('.').unwrap_or((pod, ""));
        let mut namespace = text("NAMESPACE");
        if namespace.is_empty() {
            namespace = if pod_namespace.is_empty() {
                domain.split('.').next().unwrap_or_default().to_owned()
            } else {
                pod_namespace.to_owned()
            };
        }
        let dialect =
            if text(env::PORTOLAN_PROXY) == names::PROXY_ENVOY { Dialect::Envoy } else { Dialect::Portolan };
        Ok(Self {
            id: id.to_owned(),
            kind,
            addresses,
            name: name.to_owned(),
            dns_domain: domain.to_owned(),
            locality: Locality::default(),
            metadata: NodeMetadata {
                labels,
                namespace: namespace.clone(),
                service_account: text("SERVICE_ACCOUNT"),
                workload: text("WORKLOAD_NAME"),
                network: text("NETWORK"),
                requested_network_view: list("REQUESTED_NETWORK_VIEW"),
                cluster_id: text("CLUSTER_ID"),
                mesh_id: text("MESH_ID"),
                sni_dnat: text("ROUTER_MODE") == "sni-dnat",
                tproxy: text("INTERCEPTION_MODE") == "TPROXY",
                no_capture: text("INTERCEPTION_MODE") == "NONE",
                http10: flag("HTTP10"),
                unprivileged: flag("UNPRIVILEGED_POD"),
                istio_version: text("ISTIO_VERSION"),
                dialect,
            },
            namespace,
        })
    }

    /// A gateway.
    pub fn is_router(&self) -> bool {
        self.kind == NodeKind::Router
    }
    /// The first address.
    pub fn address(&self) -> Option<IpAddr> {
        self.addresses.first().copied()
    }
    /// Whether the proxy may see endpoints of a network.
    pub fn sees_network(&self, network: &str) -> bool {
        let view = &self.metadata.requested_network_view;
        view.is_empty() || network.is_empty() || view.iter().any(|n| n == network || n == "*")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_node_ids() {
        let metadata = serde_json::json!({
            "NAMESPACE": "bookinfo", "LABELS": {"app": "reviews"}, "INSTANCE_IPS": "10.64.0.5,fe80::1",
            "HTTP10": "1", "PORTOLAN_PROXY": "envoy", "REQUESTED_NETWORK_VIEW": "network-east"
        });
        let node =
            ProxyNode::parse("sidecar~10.64.0.5~reviews-v1.bookinfo~bookinfo.svc.cluster.local", &metadata)
                .unwrap();
        assert_eq!((node.name.as_str(), node.namespace.as_str()), ("reviews-v1", "bookinfo"));
        assert_eq!(node.addresses.len(), 2);
        assert_eq!(node.metadata.dialect, Dialect::Envoy);
        assert!(node.metadata.http10 && node.sees_network("network-east") && !node.sees_network("x"));
        for bad in ["", "a~b", "proxy~1.1.1.1~a.b~c", "sidecar~x~a.b~c", "sidecar~1.1.1.1~a~b~c"] {
            assert!(ProxyNode::parse(bad, &Value::Null).is_err(), "{bad}");
        }
    }

    fn parse(id: &str, metadata: &Value) -> ProxyNode {
        ProxyNode::parse(id, metadata).unwrap()
    }

    const ID: &str = "sidecar~10.64.0.5~reviews-v1.shop~shop.svc.cluster.local";

    #[test]
    fn metadata_may_be_text_truth_or_number() {
        for (value, http10, workload) in [
            (serde_json::json!("true"), true, "true"),
            (serde_json::json!(true), true, "true"),
            (serde_json::json!(1), true, "1"),
            (serde_json::json!(false), false, "false"),
            (serde_json::json!(["1"]), false, ""),
        ] {
            let node =
                parse(ID, &serde_json::json!({"HTTP10": value.clone(), "WORKLOAD_NAME": value.clone()}));
            assert_eq!(
                (node.metadata.http10, node.metadata.workload.as_str()),
                (http10, workload),
                "{value}"
            );
        }
    }

    #[test]
    fn the_mode_of_capture_and_of_the_router_are_read() {
        for (metadata, expected) in [
            (serde_json::json!({}), [false, false, false]),
            (
                serde_json::json!({"INTERCEPTION_MODE": "REDIRECT", "ROUTER_MODE": "standard"}),
                [false, false, false],
            ),
            (serde_json::json!({"INTERCEPTION_MODE": "TPROXY"}), [true, false, false]),
            (serde_json::json!({"INTERCEPTION_MODE": "NONE"}), [false, true, false]),
            (serde_json::json!({"ROUTER_MODE": "sni-dnat"}), [false, false, true]),
        ] {
            let found = parse(ID, &metadata).metadata;
            assert_eq!([found.tproxy, found.no_capture, found.sni_dnat], expected, "{metadata}");
        }
    }

    #[test]
    fn a_node_id_has_a_greatest_length() {
        let of_length = |length: usize| {
            let id = "sidecar~10.64.0.5~.shop~shop";
            id.replace("~.shop", &format!("~{}.shop", "x".repeat(length - id.len())))
        };
        assert!(ProxyNode::parse(&of_length(MAX_NODE_ID), &Value::Null).is_ok());
        let long = ProxyNode::parse(&of_length(MAX_NODE_ID + 1), &Value::Null);
        assert!(matches!(long, Err(NodeError::Form(id)) if id.len() == MAX_NODE_ID));
    }

    #[test]
    fn the_first_address_is_the_nodes() {
        let node = parse(ID, &serde_json::json!({"INSTANCE_IPS": "10.64.0.7,10.64.0.5"}));
        assert_eq!(node.address(), Some("10.64.0.7".parse().unwrap()));
        assert_eq!(parse(ID, &Value::Null).address(), Some("10.64.0.5".parse().unwrap()));
    }

    #[test]
    fn networks_are_seen_as_the_proxy_asks() {
        for (view, network, expected) in [
            ("", "east", true),
            ("", "", true),
            ("east", "east", true),
            ("east", "", true),
            ("east", "west", false),
            ("east,west", "west", true),
            ("*", "west", true),
        ] {
            let node = parse(ID, &serde_json::json!({"REQUESTED_NETWORK_VIEW": view}));
            assert_eq!(node.sees_network(network), expected, "{view} {network}");
        }
    }
}
