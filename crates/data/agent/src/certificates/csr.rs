//! Key, certificate request and the check of what the CA makes of it.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A fresh key and a request for its certificate.
pub(super) struct KeyAndRequest {
    /// Private key, PKCS#8 PEM. Never logged.
    pub key_pem: String,
    /// Request, PEM.
    pub csr_pem: String,
    /// SubjectPublicKeyInfo of the key, to recognise the certificate by.
    public_key: Vec<u8>,
}

impl std::fmt::Debug for KeyAndRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyAndRequest")
    }
}

/// Why the request or its answer is unusable.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Key generation or encoding failed.
    #[error("cannot make a key and certificate request: {0}")]
    Generate(#[from] rcgen::Error),
    /// The answer does not start with a certificate in PEM.
    #[error("the CA's answer does not start with a PEM certificate")]
    NotPem,
    /// The leaf does not parse.
    #[error("the CA's certificate is not valid X.509: {0}")]
    NotX509(String),
    /// The leaf is for another key.
    #[error("the CA's certificate is for another key than the one of the request")]
    OtherKey,
}

/// Makes an ECDSA P-256 key and a request that names `spiffe_id` as URI.
pub(super) fn generate(spiffe_id: &str) -> Result<KeyAndRequest, CsrError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    // Istio's own requests have an empty organisation and no common name; a subject must not be needed.
    name.push(DnType::OrganizationName, "");
    params.distinguished_name = name;
    params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into()?)];
    let request = params.serialize_request(&key)?;
    Ok(KeyAndRequest {
        csr_pem: request.pem()?,
        public_key: rcgen::PublicKeyData::subject_public_key_info(&key),
        key_pem: key.serialize_pem(),
    })
}

/// Checks that `leaf_pem` certifies the request's key; returns its validity.
pub(super) fn check_leaf(
    leaf_pem: &str,
    request: &KeyAndRequest,
) -> Result<(SystemTime, SystemTime), CsrError> {
    use rustls_pki_types::pem::PemObject;
    let der = rustls_pki_types::CertificateDer::from_pem_slice(leaf_pem.as_bytes())
        .map_err(|_| CsrError::NotPem)?;
    let (_, certificate) =
        X509Certificate::from_der(&der).map_err(|error| CsrError::NotX509(error.to_string()))?;
    if certificate.tbs_certificate.subject_pki.raw != request.public_key.as_slice() {
        return Err(CsrError::OtherKey);
    }
    let validity = certificate.validity();
    Ok((time(validity.not_before.timestamp()), time(validity.not_after.timestamp())))
}

fn time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let ours = generate("spiffe://west.local/ns/a/sa/b").unwrap();
        assert!(ours.csr_pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::new(vec!["x".into()]).unwrap().self_signed(&key).unwrap();
        assert!(matches!(check_leaf(&certificate.pem(), &ours), Err(CsrError::OtherKey)));
        assert!(matches!(check_leaf("nothing", &ours), Err(CsrError::NotPem)));
    }
}
