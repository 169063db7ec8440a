//! TLS contexts: compiled from Envoy's, filled from secrets by name, replaced when a secret rotates.
//!
//! A context is "ready" when all its secrets are there; until then its listener or cluster warms. A rotation
//! replaces the rustls configuration for new handshakes only; it also ends resumption of older sessions, because
//! a resumed session is not verified again.

mod client;
mod server;
mod source;

pub(crate) use client::{ClientTls, Offer};
pub(crate) use portolan_dataplane_config::tls::ALPN_OWN;
pub(crate) use server::ServerTls;
pub(crate) use source::{SecretMap, SecretValue};

/// Why a handshake failed, as Envoy's statistics tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeFault {
    /// The peer had to show a certificate and did not.
    NoCertificate,
    /// The chain is not believed.
    Chain,
    /// The chain is good, the name is not accepted.
    Name,
    /// Anything that has nothing to do with the peer's certificate.
    Other,
}

impl HandshakeFault {
    pub(crate) fn of(error: &std::io::Error) -> HandshakeFault {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::NoCertificatesPresented) => HandshakeFault::NoCertificate,
            Some(error) if portolan_identity::is_name_refusal(error) => HandshakeFault::Name,
            Some(rustls::Error::InvalidCertificate(_)) => HandshakeFault::Chain,
            _ => HandshakeFault::Other,
        }
    }
}
