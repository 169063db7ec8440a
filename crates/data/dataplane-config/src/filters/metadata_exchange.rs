//! `istio.metadata_exchange`: workloads tell each other who they are in headers that applications never see.

#[cfg(test)]
mod tests;

use std::rc::Rc;
use std::sync::Arc;

use http::HeaderMap;

use super::stream::{Effect, Flow, PeerSide, StreamFilter, View};
use super::{HttpFilter, Kind, Overrides};
use crate::message::ResponseHead;
use crate::peer::{LocalNode, PEER_METADATA, PEER_METADATA_ID, PeerMetadata, Peers};
use crate::value::Direction;

pub(super) const KIND: Kind = Kind {
    types: &["istio.metadata_exchange"],
    compile: |_| Ok(Arc::new(Filter)),
    override_types: &[],
    compile_override: |_| Ok(Arc::new(())),
    counters: &[],
};

#[derive(Debug)]
struct Filter;

impl HttpFilter for Filter {
    fn start(&self, _own: &Overrides<'_>) -> Option<Box<dyn StreamFilter>> {
        Some(Box::new(Exchange::default()))
    }
}

/// One request.
#[derive(Debug, Default)]
struct Exchange {
    /// The client introduced itself, so it expects the same.
    introduced: bool,
}

impl StreamFilter for Exchange {
    /// On the way in: learn about the client; on the way out to another proxy: introduce ourselves.
    fn on_request(&mut self, x: &mut View<'_>, _end: bool) -> Flow {
        if let Some(peer) = take(x.peers, &mut x.request.headers) {
            self.introduced = true;
            x.effects.push(Effect::Peer(PeerSide::Downstream, peer));
        }
        if x.direction != Direction::Inbound {
            introduce(x.local, &mut x.request.headers);
        }
        Flow::Continue
    }

    /// The same for the response; an outbound proxy does not show its metadata to the application behind it.
    fn on_response(&mut self, x: &mut View<'_>, head: &mut ResponseHead, _end: bool) -> Flow {
        if let Some(peer) = take(x.peers, &mut head.headers) {
            x.effects.push(Effect::Peer(PeerSide::Upstream, peer));
        }
        if x.direction != Direction::Outbound && self.introduced {
            introduce(x.local, &mut head.headers);
        }
        Flow::Continue
    }
}

fn take(peers: &Peers, headers: &mut HeaderMap) -> Option<Rc<PeerMetadata>> {
    headers.remove(PEER_METADATA_ID);
    let value = headers.remove(PEER_METADATA)?;
    peers.decode(value.as_bytes())
}

fn introduce(local: &LocalNode, headers: &mut HeaderMap) {
    if let Some((id, metadata)) = &local.headers {
        headers.insert(PEER_METADATA_ID, id.clone());
        headers.insert(PEER_METADATA, metadata.clone());
    }
}
