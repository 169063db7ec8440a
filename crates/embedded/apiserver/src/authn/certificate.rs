//! Client certificates: the common name is the user, the organizations are the groups.
//! TLS has verified the chain already.

use portolan_apimachinery::ApiStatus;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::user::{AUTHENTICATED, User};
use crate::clock;

pub(super) fn user(certificate: &CertificateDer<'_>) -> Result<User, ApiStatus> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|_| ApiStatus::unauthorized())?;
    // A connection may outlive the certificate that it was opened with.
    if certificate.validity().not_after.timestamp() < clock::seconds() {
        return Err(ApiStatus::unauthorized());
    }
    let subject: &X509Name<'_> = certificate.subject();
    let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
    if name.is_empty() {
        return Err(ApiStatus::unauthorized());
    }
    let mut groups: Vec<String> =
        subject.iter_organization().filter_map(|group| group.as_str().ok()).map(str::to_owned).collect();
    groups.push(AUTHENTICATED.into());
    Ok(User { name: name.to_owned(), groups, ..User::default() })
}
