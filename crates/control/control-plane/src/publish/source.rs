//! Which object of the user's a part of a resource comes from, as the resource itself says.

use std::fmt;

use portolan_envoy_api::pb::{
    envoy::config::core::v3::Metadata,
    google::protobuf::{Value, value::Kind as Is},
};

/// An object that configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl Source {
    /// What Istio's metadata names: the VirtualService of a route, the DestinationRule of a cluster.
    pub(super) fn of_metadata(metadata: Option<&Metadata>) -> Option<Self> {
        let config = metadata?.filter_metadata.get("istio")?.fields.get("config")?;
        let Value { kind: Some(Is::StringValue(path)) } = config else { return None };
        let mut parts = path.strip_prefix("/apis/")?.split('/').skip(2);
        let (Some("namespaces"), Some(namespace), Some(kind), Some(name)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let kind = match kind {
            "virtual-service" => "VirtualService",
            "destination-rule" => "DestinationRule",
            _ => return None,
        };
        Some(Self { kind, namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The AuthorizationPolicy of the first rule that a text names (`ns[shop]-policy[x]-rule[0]`).
    pub(super) fn of_policy(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("ns[")?;
        let (namespace, rest) = rest.split_once("]-policy[")?;
        let (name, _) = rest.split_once("]-rule[")?;
        Some(Self { kind: "AuthorizationPolicy", namespace: namespace.to_owned(), name: name.to_owned() })
    }
}
