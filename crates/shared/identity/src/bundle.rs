//! Trust bundles: the root certificates of a trust domain, of our own and of each peer.

use std::collections::BTreeMap;

use base64::Engine as _;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The largest bundle that is read, in bytes of PEM. A ConfigMap holds 1 MiB; no honest bundle comes near this.
pub const MAX_BUNDLE_BYTES: usize = 64 * 1024;

/// How many roots one trust domain may have at a time. Rotation needs two.
pub const MAX_ROOTS_PER_BUNDLE: usize = 32;

/// The largest file of public authorities that is read, in bytes of PEM: those of Linux distributions have a quarter of it.
pub const MAX_AUTHORITIES_BYTES: usize = 1024 * 1024;

/// How many public authorities are read; Linux distributions have about 150.
pub const MAX_AUTHORITIES: usize = 1024;

/// The root certificates that vouch for one trust domain. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    roots: Vec<CertificateDer<'static>>,
}

/// Why a bundle was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// More than [`MAX_BUNDLE_BYTES`], or [`MAX_AUTHORITIES_BYTES`] of public authorities.
    #[error("trust bundle has {bytes} bytes; at most {limit} are read")]
    TooLarge {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// No certificate at all: an empty bundle would vouch for nobody.
    #[error("trust bundle holds no certificate; expected PEM with at least one BEGIN CERTIFICATE block")]
    Empty,
    /// More than [`MAX_ROOTS_PER_BUNDLE`], or [`MAX_AUTHORITIES`] public authorities.
    #[error("trust bundle holds more than {0} certificates")]
    TooMany(usize),
    /// Text that is not PEM, or a block that is no certificate.
    #[error("trust bundle is not valid: certificate {index}: {reason}")]
    Malformed {
        /// Which certificate, counted from 1.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl TrustBundle {
    /// Reads a bundle from PEM. Every block must be a certificate that can serve as a trust anchor.
    ///
    /// # Errors
    /// When a limit is passed, nothing is in it, or one of its certificates is malformed.
    pub fn from_pem(pem: &[u8]) -> Result<Self, BundleError> {
        Self::read(pem, MAX_BUNDLE_BYTES, MAX_ROOTS_PER_BUNDLE)
    }

    /// Reads the public authorities that a user's own configuration names, such as the system's file. They do not come from
    /// a peer and are many more than the roots of a trust domain.
    ///
    /// # Errors
    /// As [`TrustBundle::from_pem`].
    pub fn authorities_from_pem(pem: &[u8]) -> Result<Self, BundleError> {
        Self::read(pem, MAX_AUTHORITIES_BYTES, MAX_AUTHORITIES)
    }

    fn read(pem: &[u8], max_bytes: usize, max_roots: usize) -> Result<Self, BundleError> {
        if pem.len() > max_bytes {
            return Err(BundleError::TooLarge { bytes: pem.len(), limit: max_bytes });
        }
        let mut roots = Vec::new();
        for (at, item) in CertificateDer::pem_slice_iter(pem).enumerate() {
            let index = at + 1;
            let root = item.map_err(|e| BundleError::Malformed { index, reason: e.to_string() })?;
            webpki::anchor_from_trusted_cert(&root)
                .map_err(|e| BundleError::Malformed { index, reason: e.to_string() })?;
            if index > max_roots {
                return Err(BundleError::TooMany(max_roots));
            }
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        if roots.is_empty() { Err(BundleError::Empty) } else { Ok(TrustBundle { roots }) }
    }

    /// The roots, each once, in the order of the PEM.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The bundle as PEM, the way a ConfigMap `istio-ca-root-cert` holds it.
    pub fn to_pem(&self) -> String {
        self.roots.iter().map(certificate_to_pem).collect()
    }

    /// These roots and those of `other`, each once: what is trusted while a root is being replaced.
    #[must_use]
    pub fn merged(&self, other: &TrustBundle) -> TrustBundle {
        let mut roots = self.roots.clone();
        roots.extend(other.roots.iter().filter(|root| !self.roots.contains(root)).cloned());
        TrustBundle { roots }
    }
}

/// The bundles of all trust domains that somebody believes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustBundles {
    by_domain: BTreeMap<String, TrustBundle>,
}

impl TrustBundles {
    /// One trust domain only: a mesh without peers.
    pub fn single(trust_domain: impl Into<String>, bundle: TrustBundle) -> Self {
        let mut bundles = TrustBundles::default();
        bundles.insert(trust_domain, bundle);
        bundles
    }

    /// Sets the bundle of a trust domain, in place of the one that it had.
    pub fn insert(&mut self, trust_domain: impl Into<String>, bundle: TrustBundle) {
        self.by_domain.insert(trust_domain.into(), bundle);
    }

    /// The bundle of a trust domain. `None` means that nobody of that domain is believed.
    pub fn get(&self, trust_domain: &str) -> Option<&TrustBundle> {
        self.by_domain.get(trust_domain)
    }

    /// All of them, by trust domain.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TrustBundle)> {
        self.by_domain.iter().map(|(domain, bundle)| (domain.as_str(), bundle))
    }
}

/// One certificate as a PEM block (RFC 7468: lines of 64 characters).
pub(crate) fn certificate_to_pem(certificate: &CertificateDer<'static>) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = next;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests;
