//! The mesh's certificate authority: self-signed, or given by the user (Istio's `cacerts`).

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
    SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;

use crate::bundle::certificate_to_pem;
use crate::{BundleError, SpiffeId, TrustBundle};

/// The largest certificate signing request that is read, in bytes of PEM.
pub const MAX_CSR_BYTES: usize = 16 * 1024;

/// Certificates start this much before the time of signing, so that a peer whose clock is behind accepts them.
const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// A certificate authority that can sign. Its key never leaves it but through [`CertificateAuthority::key_pem`].
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    key_pem: String,
    certificate_pem: String,
    /// What follows a leaf in the chains that are handed out: the issuing certificate and what is above it,
    /// without the root.
    intermediates_pem: String,
    root_pem: String,
    not_after: SystemTime,
}

/// A certificate that was signed: leaf first, then intermediates; the root is apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The leaf, PEM.
    pub certificate_pem: String,
    /// Certificates between leaf and root, PEM; empty when the root itself signed.
    pub intermediates_pem: String,
    /// The root, PEM.
    pub root_pem: String,
    /// The private key, PEM, when the authority made it.
    pub key_pem: Option<String>,
    /// End of validity.
    pub not_after: SystemTime,
}

impl Issued {
    /// Leaf and intermediates: what a TLS endpoint sends.
    pub fn chain_pem(&self) -> String {
        format!("{}{}", self.certificate_pem, self.intermediates_pem)
    }
}

/// Why an authority could not be opened, or did not sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Key and certificate do not belong together, or one cannot be read.
    #[error("CA certificate and key cannot be used: {0}")]
    Material(String),
    /// The CA's chain or root cannot be read.
    #[error("CA root or chain cannot be used: {0}")]
    Bundle(#[from] BundleError),
    /// Not a certificate signing request, or its signature is wrong.
    #[error("certificate signing request is not valid: {0}")]
    Request(String),
    /// The CA certificate ends before anything useful could be signed.
    #[error("the CA certificate has expired; replace it before workloads can get certificates")]
    Expired,
    /// Signing failed.
    #[error("certificate could not be signed: {0}")]
    Sign(rcgen::Error),
}

impl CertificateAuthority {
    /// A new self-signed root (ECDSA P-256) for `trust_domain`.
    ///
    /// # Errors
    /// When key or certificate cannot be made.
    pub fn self_signed(trust_domain: &str, now: SystemTime, ttl: Duration) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Sign)?;
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, trust_domain);
        params.distinguished_name = name;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date(now - CLOCK_SKEW);
        params.not_after = date(now + ttl);
        let certificate = params.self_signed(&key).map_err(AuthorityError::Sign)?.pem();
        let key_pem = key.serialize_pem();
        Self::open(&certificate, &key_pem, &certificate, "")
    }

    /// Opens an authority from PEM: Istio's `ca-cert.pem`, `ca-key.pem`, `root-cert.pem`, `cert-chain.pem`.
    /// `chain` holds the certificates from the CA certificate up, with or without the root; it may be empty.
    ///
    /// # Errors
    /// When something cannot be read, or key and certificate do not belong together.
    pub fn open(certificate: &str, key: &str, root: &str, chain: &str) -> Result<Self, AuthorityError> {
        let material = |e: rcgen::Error| AuthorityError::Material(e.to_string());
        let key_pair = KeyPair::from_pem(key).map_err(material)?;
        let own = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|e| AuthorityError::Material(e.to_string()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&own)
            .map_err(|_| AuthorityError::Material("the CA certificate cannot be parsed".into()))?;
        if rcgen::PublicKeyData::der_bytes(&key_pair) != parsed.public_key().subject_public_key.data.as_ref()
        {
            return Err(AuthorityError::Material("the key does not belong to the certificate".into()));
        }
        if !parsed.is_ca() {
            return Err(AuthorityError::Material("the certificate is not a CA certificate".into()));
        }
        let not_after = SystemTime::UNIX_EPOCH
            + Duration::from_secs(u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0));
        let roots = TrustBundle::from_pem(root.as_bytes())?;
        let mut above = vec![own.clone()];
        if !chain.trim().is_empty() {
            above.extend(TrustBundle::from_pem(chain.as_bytes())?.roots().iter().cloned());
        }
        above.dedup();
        above.retain(|certificate| !roots.roots().contains(certificate));
        let intermediates_pem = above.iter().map(certificate_to_pem).collect();
        let issuer = Issuer::from_ca_cert_der(&own, key_pair).map_err(material)?;
        Ok(CertificateAuthority {
            issuer,
            key_pem: key.to_owned(),
            certificate_pem: certificate.to_owned(),
            intermediates_pem,
            root_pem: root.to_owned(),
            not_after,
        })
    }

    /// The root certificate(s), PEM: what others must trust.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The CA certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's private key, PEM. A secret: for the Secret that it is kept in, never for a log.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// When the CA certificate ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Signs the key in `csr_pem` for `id`. Names that the request asks for are ignored: the identity is the
    /// authenticated caller's, as istiod does it. The certificate never outlives the CA.
    ///
    /// # Errors
    /// When the request is too large, malformed or not signed by its own key, or the CA has expired.
    pub fn sign(
        &self,
        csr_pem: &str,
        id: &SpiffeId,
        now: SystemTime,
        ttl: Duration,
    ) -> Result<Issued, AuthorityError> {
        if csr_pem.len() > MAX_CSR_BYTES {
            return Err(AuthorityError::Request(format!("longer than {MAX_CSR_BYTES} bytes")));
        }
        let request = CertificateSigningRequestParams::from_pem(csr_pem)
            .map_err(|e| AuthorityError::Request(e.to_string()))?;
        let (params, not_after) = self.leaf(&[id.to_string()], &[], now, ttl)?;
        let certificate =
            params.signed_by(&request.public_key, &self.issuer).map_err(AuthorityError::Sign)?;
        Ok(self.issued(certificate.pem(), None, not_after))
    }

    /// Makes a key and a certificate for a component of our own: an identity, and the DNS names that it is
    /// reached by.
    ///
    /// # Errors
    /// When a name is malformed or the CA has expired.
    pub fn issue(
        &self,
        id: &SpiffeId,
        dns_names: &[String],
        now: SystemTime,
        ttl: Duration,
    ) -> Result<Issued, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(AuthorityError::Sign)?;
        let (params, not_after) = self.leaf(&[id.to_string()], dns_names, now, ttl)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(AuthorityError::Sign)?;
        Ok(self.issued(certificate.pem(), Some(key.serialize_pem()), not_after))
    }

    fn leaf(
        &self,
        uris: &[String],
        dns_names: &[String],
        now: SystemTime,
        ttl: Duration,
    ) -> Result<(CertificateParams, SystemTime), AuthorityError> {
        let not_after = (now + ttl).min(self.not_after);
        if not_after <= now {
            return Err(AuthorityError::Expired);
        }
        let mut params = CertificateParams::default();
        let name = |text: &String| {
            text.as_str().try_into().map_err(|e: rcgen::Error| AuthorityError::Request(e.to_string()))
        };
        for uri in uris {
            params.subject_alt_names.push(SanType::URI(name(uri)?));
        }
        for dns in dns_names {
            params.subject_alt_names.push(SanType::DnsName(name(dns)?));
        }
        // An SVID with an empty subject would need a critical SAN extension; Istio's carry none either, and
        // peers look at the URI name only.
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = date(now - CLOCK_SKEW);
        params.not_after = date(not_after);
        params.serial_number = Some(serial()?);
        Ok((params, not_after))
    }

    fn issued(&self, certificate_pem: String, key_pem: Option<String>, not_after: SystemTime) -> Issued {
        Issued {
            certificate_pem,
            intermediates_pem: self.intermediates_pem.clone(),
            root_pem: self.root_pem.clone(),
            key_pem,
            not_after,
        }
    }
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

/// A random serial number: unique among all of the CA's (RFC 5280 4.1.2.2), also when a key is signed again.
fn serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0_u8; 16];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| AuthorityError::Sign(rcgen::Error::RingUnspecified))?;
    // Positive and without leading zeros, as DER wants it: 126 bits are left to chance.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn date(at: SystemTime) -> OffsetDateTime {
    // Certificates carry whole seconds.
    let at = OffsetDateTime::from(at);
    at.replace_nanosecond(0).unwrap_or(at)
}

#[cfg(test)]
mod tests;
