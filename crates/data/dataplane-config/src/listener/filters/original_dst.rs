//! `envoy.filters.listener.original_dst`: a redirected connection counts as one to where it was going.

use super::{Kind, ListenerFilter};

pub(super) const KIND: Kind = Kind {
    message: "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
    name: "envoy.filters.listener.original_dst",
    make: || Box::new(OriginalDst),
};

#[derive(Debug)]
struct OriginalDst;

impl ListenerFilter for OriginalDst {
    fn restores_destination(&self) -> bool {
        true
    }
}
