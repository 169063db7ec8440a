//! TLS contexts: compiled from Envoy's, filled from secrets by name, replaced when a secret rotates.
//!
//! A context is "ready" when all its secrets are there; until then its listener or cluster warms. A rotation
//! replaces the rustls configuration for new handshakes only; it also ends resumption of older sessions, because
//! a resumed session is not verified again.

mod client;
mod server;
mod source;

pub(crate) use client::{ClientTls, Offer};
pub(crate) use server::ServerTls;
pub(crate) use source::{SecretMap, SecretValue};

/// ALPN name of the hop between two of our own proxies: HTTP/2 whatever the request came in as.
pub(crate) const ALPN_OWN: &[u8] = b"portolan-h2";
