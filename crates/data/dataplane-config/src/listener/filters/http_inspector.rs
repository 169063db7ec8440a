//! `envoy.filters.listener.http_inspector`: whether a client speaks HTTP.

use super::Kind;

pub(super) const KIND: Kind = Kind {
    names: [
        "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
        "envoy.filters.listener.http_inspector",
    ],
    configure: |filters, inspector| filters.http_inspector = Some(inspector),
};
