//! What proxies get, in pieces that are made once for all who have them and made again when something differs that they
//! have read.
//!
//! A proxy belongs to some [`Audience`]s ([`AudiencesOf`]); an audience has [`Pieces`]; a [`Piece`] makes resources. Each of
//! these is a function of its key alone that reads the model, so nobody has to know what a change may touch.
//!
//! Sidecars of different namespaces see nearly the same. What they do is made for a view that they have in common, and for
//! each namespace only what may come out otherwise there; the latter goes before the former where both have a name.

mod apart;
mod audience;
mod made;
mod piece;

use std::net::IpAddr;

use portolan_mesh::ProxyNode;
use portolan_xds::type_url;

pub use audience::{Audience, AudiencesOf, Pieces};
pub use made::Made;
pub use piece::Piece;

/// Whether a proxy does not have what its audiences have: listeners at its own addresses. A headless service has one for
/// each of its Pods; a Pod reaches itself directly.
pub fn is_hidden_from(node: &ProxyNode, url: &str, name: &str) -> bool {
    let address = || name.rsplit_once('_')?.0.parse::<IpAddr>().ok();
    url == type_url::LISTENER && address().is_some_and(|address| node.addresses.contains(&address))
}
