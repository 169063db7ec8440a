//! Workload metadata of this node and of its peers (Istio's metadata exchange).

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use base64::Engine as _;
use http::{HeaderName, HeaderValue};
use portolan_names::labels;
use prost::Message as _;

use crate::pb;
use crate::value::struct_string;

/// Header with the peer's metadata, base64 of a protobuf struct.
pub const PEER_METADATA: HeaderName = HeaderName::from_static("x-envoy-peer-metadata");
/// Header with the peer's node id.
pub const PEER_METADATA_ID: HeaderName = HeaderName::from_static("x-envoy-peer-metadata-id");
/// Peers remembered per worker; more than that and the memory is cleared.
const MAX_PEERS: usize = 2048;
/// Longest accepted header value; Istio's have 1 to 2 KiB.
const MAX_HEADER: usize = 16 * 1024;

/// What metrics say about a workload.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PeerMetadata {
    /// Name of the workload.
    pub workload: String,
    /// Its namespace.
    pub namespace: String,
    /// Label `app`.
    pub app: String,
    /// Label `version`.
    pub version: String,
    /// Its cluster.
    pub cluster: String,
    /// Istio's canonical service.
    pub canonical_service: String,
    /// Its revision.
    pub canonical_revision: String,
}

impl PeerMetadata {
    /// From a node's metadata.
    pub fn from_struct(fields: &pb::Struct) -> PeerMetadata {
        let text = |name: &str| struct_string(fields, name).unwrap_or_default().to_owned();
        let labels = match fields.fields.get("LABELS").and_then(|value| value.kind.as_ref()) {
            Some(pb::Kind::StructValue(labels)) => Some(labels),
            _ => None,
        };
        let label =
            |name: &str| labels.and_then(|labels| struct_string(labels, name)).unwrap_or_default().to_owned();
        let workload = text("WORKLOAD_NAME");
        let or = |value: String, other: &str| if value.is_empty() { other.to_owned() } else { value };
        PeerMetadata {
            namespace: text("NAMESPACE"),
            app: label("app"),
            version: label("version"),
            cluster: text("CLUSTER_ID"),
            canonical_service: or(label(labels::CANONICAL_NAME), &workload),
            canonical_revision: or(label(labels::CANONICAL_REVISION), "latest"),
            workload,
        }
    }

    /// From an endpoint's `istio.workload`: `workload;namespace;canonical name;canonical revision[;cluster]`.
    pub fn from_endpoint(text: &str) -> PeerMetadata {
        let mut parts = text.split(';').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        PeerMetadata {
            workload: next(),
            namespace: next(),
            canonical_service: next(),
            canonical_revision: next(),
            cluster: next(),
            ..Default::default()
        }
    }
}

/// This node.
#[derive(Debug, Default)]
pub struct LocalNode {
    /// What our own metrics say about us.
    pub metadata: PeerMetadata,
    /// Values of [`PEER_METADATA_ID`] and [`PEER_METADATA`], checked once; `None` when they are no header values.
    pub headers: Option<(HeaderValue, HeaderValue)>,
}

impl LocalNode {
    /// From the node's id and metadata.
    pub fn new(id: &str, metadata: &pb::Struct) -> LocalNode {
        /// Fields that peers get to see.
        const SENT: [&str; 10] = [
            "NAME",
            "NAMESPACE",
            "OWNER",
            "WORKLOAD_NAME",
            "LABELS",
            "CLUSTER_ID",
            "MESH_ID",
            "SERVICE_ACCOUNT",
            "APP_CONTAINERS",
            "ISTIO_VERSION",
        ];
        let sent: BTreeMap<&str, &pb::Value> =
            SENT.iter().filter_map(|name| metadata.fields.get(*name).map(|value| (*name, value))).collect();
        // Encoded field by field in a fixed order: hash maps would give each process another text.
        let mut bytes = Vec::new();
        for (name, value) in sent {
            let one = pb::Struct { fields: BTreeMap::from([(name.to_owned(), value.clone())]) };
            bytes.extend(one.encode_to_vec());
        }
        let header = base64::engine::general_purpose::STANDARD.encode(bytes);
        let headers = HeaderValue::from_str(id).ok().zip(HeaderValue::from_str(&header).ok());
        LocalNode { metadata: PeerMetadata::from_struct(metadata), headers }
    }
}

/// Decoded peers of one worker. The keys are a kilobyte long and looked up twice a request, hence not the standard
/// library's hash; what a peer could do with collisions ends at [`MAX_PEERS`].
#[derive(Debug, Default)]
pub struct Peers(RefCell<hashbrown::HashMap<Vec<u8>, Rc<PeerMetadata>>>);

impl Peers {
    /// Decodes a header value, or remembers it.
    pub fn decode(&self, value: &[u8]) -> Option<Rc<PeerMetadata>> {
        self.remember(value, |value| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(value).ok()?;
            Some(PeerMetadata::from_struct(&pb::Struct::decode(bytes.as_slice()).ok()?))
        })
    }

    /// The workload of an endpoint.
    pub fn endpoint(&self, text: &str) -> Option<Rc<PeerMetadata>> {
        self.remember(text.as_bytes(), |_| Some(PeerMetadata::from_endpoint(text)))
    }

    fn remember(
        &self,
        key: &[u8],
        make: impl FnOnce(&[u8]) -> Option<PeerMetadata>,
    ) -> Option<Rc<PeerMetadata>> {
        if key.len() > MAX_HEADER {
            return None;
        }
        if let Some(known) = self.0.borrow().get(key) {
            return Some(known.clone());
        }
        let made = Rc::new(make(key)?);
        let mut peers = self.0.borrow_mut();
        if peers.len() >= MAX_PEERS {
            peers.clear();
        }
        peers.insert(key.to_vec(), made.clone());
        Some(made)
    }
}
