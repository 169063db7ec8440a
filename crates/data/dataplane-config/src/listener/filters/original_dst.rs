//! `envoy.filters.listener.original_dst`: where a redirected connection wanted to go.

use super::Kind;

pub(super) const KIND: Kind = Kind {
    names: [
        "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
        "envoy.filters.listener.original_dst",
    ],
    configure: |filters, _| filters.original_dst = true,
};
