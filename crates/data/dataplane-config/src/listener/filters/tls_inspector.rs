//! `envoy.filters.listener.tls_inspector`: whether a client speaks TLS, and what it asks for.

use super::Kind;

pub(super) const KIND: Kind = Kind {
    names: [
        "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
        "envoy.filters.listener.tls_inspector",
    ],
    configure: |filters, inspector| filters.tls_inspector = Some(inspector),
};
