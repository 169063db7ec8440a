//! `istio.metadata_exchange`: workloads tell each other who they are in headers that applications never see.

use http::HeaderMap;

use crate::telemetry::StreamInfo;
use crate::telemetry::node::WorkerNode;
use crate::telemetry::peer::{PEER_METADATA, PEER_METADATA_ID};
use crate::value::Direction;

/// On the way in: learn about the client; on the way out to another proxy: introduce ourselves.
pub(crate) fn on_request(
    this: &WorkerNode,
    direction: Direction,
    info: &mut StreamInfo,
    headers: &mut HeaderMap,
) {
    info.downstream_peer = take(this, headers);
    if direction != Direction::Inbound {
        introduce(this, headers);
    }
}

/// The same for the response; an outbound proxy does not show its metadata to the application behind it.
pub(crate) fn on_response(
    this: &WorkerNode,
    direction: Direction,
    info: &mut StreamInfo,
    headers: &mut HeaderMap,
) {
    let peer = take(this, headers);
    if peer.is_some() {
        info.upstream_peer = peer;
    }
    if direction != Direction::Outbound && info.downstream_peer.is_some() {
        introduce(this, headers);
    }
}

fn take(
    this: &WorkerNode,
    headers: &mut HeaderMap,
) -> Option<std::rc::Rc<crate::telemetry::peer::PeerMetadata>> {
    headers.remove(PEER_METADATA_ID);
    let value = headers.remove(PEER_METADATA)?;
    this.peers.decode(value.as_bytes())
}

fn introduce(this: &WorkerNode, headers: &mut HeaderMap) {
    if let Some((id, metadata)) = &this.node.local.headers {
        headers.insert(PEER_METADATA_ID, id.clone());
        headers.insert(PEER_METADATA, metadata.clone());
    }
}
