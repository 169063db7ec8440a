//! Who somebody is, and why that is believed: SPIFFE ids, X.509 SVIDs, the mesh's certificate authority, trust
//! bundles of our own and of federated trust domains, and the rustls verifiers that put them to use.
//!
//! rustls and webpki check chains but do not look at URI names, so everything that makes a certificate an SVID
//! (SPIFFE X.509-SVID, sections 2 to 5) is checked here.
//!
//! Invariant: a root of one trust domain can never vouch for an identity of another. What is not known is refused.
//! The crate does no I/O and reads no clock: whoever signs or verifies passes the time.

mod authority;
mod bundle;
#[cfg(test)]
mod fixture;
mod spiffe;
mod svid;
mod unverified;
mod verifier;

pub use authority::{AuthorityError, CertificateAuthority, Issued, MAX_CSR_BYTES};
pub use bundle::{
    BundleError, MAX_AUTHORITIES, MAX_AUTHORITIES_BYTES, MAX_BUNDLE_BYTES, MAX_ROOTS_PER_BUNDLE, TrustBundle,
    TrustBundles,
};
pub use spiffe::{MAX_SPIFFE_ID_LENGTH, SpiffeId, SpiffeIdError};
pub use svid::{CertificateFacts, SvidError, spiffe_id_of};
pub use unverified::Unverified;
pub use verifier::{NameCheck, PeerVerifier, Roots, SanKind, SanMatcher, is_name_refusal};
