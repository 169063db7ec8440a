//! Clusters (CDS).

mod base;
mod inbound;
mod outbound;
mod policy;
mod special;

pub(crate) use inbound::inbound_all;
pub(crate) use outbound::of_service;
pub(crate) use special::special;
