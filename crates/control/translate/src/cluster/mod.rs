//! Clusters (CDS).

mod base;
mod inbound;
mod outbound;
mod policy;
mod special;

pub(crate) use inbound::inbound;
pub(crate) use outbound::outbound;
pub(crate) use special::special;
