//! What is looked at before anybody connects: a server with a certificate that clients refuse would only be waited for.

use std::path::Path;

use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;

use crate::error::ServerError;

/// Refuses a certificate that is not valid now.
pub(super) fn clock(path: &Path, certificate: &CertificateDer<'_>) -> Result<(), ServerError> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| ServerError::pki(path, &error))?;
    let validity = parsed.validity();
    if validity.is_valid() {
        return Ok(());
    }
    Err(ServerError::Clock {
        path: path.to_owned(),
        from: validity.not_before.to_string(),
        to: validity.not_after.to_string(),
        now: crate::clock::text(),
    })
}

/// Whether the certificate is of this key.
pub(super) fn is_key_of(key: &KeyPair, certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, parsed)| parsed.public_key().raw == key.subject_public_key_info().as_slice())
}
