//! The TLS verifier of the mesh: chain, identity and name of a peer, for servers and clients alike.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use crate::{CertificateFacts, SvidError, TrustBundle, TrustBundles};

/// Whose signatures are believed.
#[derive(Debug, Clone)]
pub enum Roots {
    /// The peer must be an SVID, and chain to the bundle of its own trust domain.
    ByTrustDomain(Arc<TrustBundles>),
    /// Any of these roots, for any name: Envoy's `trusted_ca`.
    Any(Arc<TrustBundle>),
}

/// What kind of name a certificate shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SanKind {
    /// A URI, as SPIFFE ids are.
    Uri,
    /// A host name.
    Dns,
    /// An IP address, as text.
    Ip,
}

type Check = dyn Fn(SanKind, &str) -> bool + Send + Sync;

/// Says whether a name is accepted.
#[derive(Clone)]
pub struct NameCheck(Arc<Check>);

impl std::fmt::Debug for NameCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NameCheck")
    }
}

/// One accepted name; it is compared with the URI and DNS names and IP addresses of the leaf (Envoy's
/// `match_typed_subject_alt_names`).
#[derive(Debug, Clone)]
pub enum SanMatcher {
    /// The whole name.
    Exact(String),
    /// Its beginning.
    Prefix(String),
    /// Its end.
    Suffix(String),
    /// Some part of it.
    Contains(String),
    /// What a function says, for anything else.
    Check(NameCheck),
}

impl SanMatcher {
    /// Accepts what `check` accepts.
    pub fn check(check: impl Fn(SanKind, &str) -> bool + Send + Sync + 'static) -> Self {
        SanMatcher::Check(NameCheck(Arc::new(check)))
    }

    /// Whether it accepts a name of this kind.
    pub fn matches(&self, kind: SanKind, name: &str) -> bool {
        match self {
            SanMatcher::Exact(text) => name == text,
            SanMatcher::Prefix(text) => name.starts_with(text.as_str()),
            SanMatcher::Suffix(text) => name.ends_with(text.as_str()),
            SanMatcher::Contains(text) => name.contains(text.as_str()),
            SanMatcher::Check(NameCheck(check)) => check(kind, name),
        }
    }
}

/// Verifies the certificate of a peer on either side of a connection.
///
/// The server name of the handshake (SNI) is not compared with the certificate: in a mesh it names a cluster
/// (`outbound_.9080_._.reviews...`), and who may answer for it is what `names` says.
#[derive(Debug)]
pub struct PeerVerifier {
    roots: Roots,
    names: Vec<SanMatcher>,
    client_certificate: ClientCertificate,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientCertificate {
    Mandatory,
    Optional,
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("peer certificate is not an SVID: {0}")]
    Svid(#[from] SvidError),
    #[error("trust domain {0:?} of the peer is not trusted here")]
    TrustDomain(String),
    #[error("no name of the peer certificate is accepted here; it has {0}")]
    Name(String),
}

impl PeerVerifier {
    /// A verifier that accepts peers below `roots` with one of `names`; no names means that any will do.
    pub fn new(roots: Roots, names: Vec<SanMatcher>) -> Self {
        let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        PeerVerifier { roots, names, client_certificate: ClientCertificate::Mandatory, algorithms }
    }

    /// As a server: accept clients that show no certificate. One that is shown is verified all the same.
    #[must_use]
    pub fn client_certificate_optional(mut self) -> Self {
        self.client_certificate = ClientCertificate::Optional;
        self
    }

    /// Checks leaf and chain for one usage at one time.
    ///
    /// # Errors
    /// rustls' certificate errors for the chain; an application error that says what was wrong for identity and
    /// name.
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<CertificateFacts, Error> {
        let facts = CertificateFacts::from_der(leaf)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let bundle: &TrustBundle = match &self.roots {
            Roots::Any(bundle) => bundle,
            Roots::ByTrustDomain(bundles) => {
                let id = facts.spiffe_id().map_err(Refusal::from).map_err(refuse)?;
                bundles
                    .get(id.trust_domain())
                    .ok_or_else(|| refuse(Refusal::TrustDomain(id.trust_domain().to_owned())))?
            }
        };
        self.verify_chain(leaf, intermediates, bundle, usage, now)?;
        if !self.names.is_empty() {
            let addresses: Vec<String> = facts.ip_addresses.iter().map(ToString::to_string).collect();
            let of = |kind: SanKind, names: &'_ [String]| {
                names.iter().any(|name| self.names.iter().any(|matcher| matcher.matches(kind, name)))
            };
            let accepted = of(SanKind::Uri, &facts.uris)
                || of(SanKind::Dns, &facts.dns_names)
                || of(SanKind::Ip, &addresses);
            if !accepted {
                let names: Vec<_> = facts.uris.iter().chain(&facts.dns_names).cloned().collect();
                return Err(refuse(Refusal::Name(names.join(", "))));
            }
        }
        Ok(facts)
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        bundle: &TrustBundle,
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<(), Error> {
        let anchors: Vec<TrustAnchor<'_>> =
            bundle.roots().iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok()).collect();
        let end = EndEntityCert::try_from(leaf).map_err(chain_error)?;
        end.verify_for_usage(self.algorithms.all, &anchors, intermediates, now, usage, None, None)
            .map(|_| ())
            .map_err(chain_error)
    }
}

/// Whether a handshake failed because the chain is good but no name of the peer is accepted.
pub fn is_name_refusal(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            matches!(inner.downcast_ref::<Refusal>(), Some(Refusal::Name(_)))
        }
        _ => false,
    }
}

fn refuse(refusal: Refusal) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refusal))))
}

fn chain_error(error: webpki::Error) -> Error {
    let error = match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::BadDer | webpki::Error::BadDerTime => CertificateError::BadEncoding,
        webpki::Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(error)
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(end_entity, intermediates, KeyUsage::server_auth(), now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // No hint: a mesh client has one certificate, and a list of roots tells strangers about our peers.
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        self.client_certificate == ClientCertificate::Mandatory
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, KeyUsage::client_auth(), now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
