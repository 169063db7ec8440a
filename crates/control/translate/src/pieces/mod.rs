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

use std::{net::IpAddr, sync::Arc};

use portolan_mesh::ProxyNode;
use portolan_xds::type_url;

use crate::view::View;

pub use audience::AudiencesOf;
pub use made::Made;
pub use piece::Piece;

/// Proxies that have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// All proxies.
    Everybody,
    /// Those with the same view.
    View(View),
    /// Those with the same view from the same place.
    Place(View),
    /// One proxy.
    Proxy(Arc<ProxyNode>),
}

impl Audience {
    /// The same with a view that shares nothing with others: what it has is what its proxies have with those with which it
    /// shares. There is no use for it but to compare.
    pub fn alone(&self) -> Self {
        match self {
            Self::View(view) => Self::View(view.alone()),
            Self::Place(view) => Self::Place(view.alone()),
            other => other.clone(),
        }
    }

    /// Whether it is one with which those of several namespaces share.
    pub fn is_common(&self) -> bool {
        matches!(self, Self::View(view) | Self::Place(view) if view.is_common())
    }
}

/// The pieces that an audience has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pieces(pub Audience);

/// Whether a proxy does not have what its audiences have: listeners at its own addresses. A headless service has one for
/// each of its Pods; a Pod reaches itself directly.
pub fn is_hidden_from(node: &ProxyNode, url: &str, name: &str) -> bool {
    let address = || name.rsplit_once('_')?.0.parse::<IpAddr>().ok();
    url == type_url::LISTENER && address().is_some_and(|address| node.addresses.contains(&address))
}
