//! What proxies get, in pieces that are made once for all who have them and made again when something differs that they
//! have read.
//!
//! A proxy belongs to some [`Audience`]s ([`AudiencesOf`]); an audience has [`Pieces`]; a [`Piece`] makes resources. Each of
//! these is a function of its key alone that reads the model, so nobody has to know what a change may touch.

mod audience;
mod piece;

use std::sync::Arc;

use portolan_xds::Resource;

pub use audience::{Audience, AudiencesOf, Pieces};
pub use piece::Piece;

/// What a piece makes.
pub type Made = Arc<[Arc<Resource>]>;
