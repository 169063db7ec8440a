//! Reading certificates: what makes one an X.509 SVID (SPIFFE X.509-SVID 2 to 5), and the facts that logs and
//! `X-Forwarded-Client-Cert` show of a peer.

use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{SpiffeId, SpiffeIdError};

/// Why a certificate is not an SVID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// Not a DER certificate.
    #[error("certificate cannot be parsed")]
    Malformed,
    /// An SVID has exactly one URI name.
    #[error("certificate has {0} URI names; an SVID has exactly one")]
    UriNames(usize),
    /// The URI name is not a SPIFFE id.
    #[error(transparent)]
    SpiffeId(#[from] SpiffeIdError),
    /// A signing certificate was shown as a leaf.
    #[error("certificate may sign others (CA, keyCertSign or cRLSign); a leaf SVID must not")]
    SigningCertificate,
}

/// What is known of a peer from its leaf certificate. The chain is proved elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Subject in RFC 4514 order, as `X-Forwarded-Client-Cert` and access logs show it.
    pub subject: String,
    /// URI names.
    pub uris: Vec<String>,
    /// DNS names.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub ip_addresses: Vec<std::net::IpAddr>,
    /// Serial number, lower-case hex without separators.
    pub serial: String,
    /// Start of validity, seconds since the epoch.
    pub not_before: i64,
    /// End of validity, seconds since the epoch.
    pub not_after: i64,
    signs: bool,
}

impl CertificateFacts {
    /// Reads one DER certificate.
    ///
    /// # Errors
    /// [`SvidError::Malformed`] when it is none, or bytes follow it.
    pub fn from_der(der: &[u8]) -> Result<Self, SvidError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| SvidError::Malformed)?;
        if !rest.is_empty() {
            return Err(SvidError::Malformed);
        }
        let mut facts = CertificateFacts {
            subject: certificate.subject().to_string(),
            serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            ..CertificateFacts::default()
        };
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    for name in &names.general_names {
                        facts.add_name(name);
                    }
                }
                ParsedExtension::BasicConstraints(constraints) => facts.signs |= constraints.ca,
                ParsedExtension::KeyUsage(usage) => facts.signs |= usage.key_cert_sign() || usage.crl_sign(),
                _ => {}
            }
        }
        Ok(facts)
    }

    fn add_name(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::URI(uri) => self.uris.push((*uri).to_owned()),
            GeneralName::DNSName(dns) => self.dns_names.push((*dns).to_owned()),
            GeneralName::IPAddress(bytes) => {
                if let Ok(v4) = <[u8; 4]>::try_from(*bytes) {
                    self.ip_addresses.push(v4.into());
                } else if let Ok(v6) = <[u8; 16]>::try_from(*bytes) {
                    self.ip_addresses.push(v6.into());
                }
            }
            _ => {}
        }
    }

    /// The identity, when the certificate is a leaf SVID.
    ///
    /// # Errors
    /// When it is none; the reason says which rule it breaks.
    pub fn spiffe_id(&self) -> Result<SpiffeId, SvidError> {
        if self.signs {
            return Err(SvidError::SigningCertificate);
        }
        match self.uris.as_slice() {
            [uri] => Ok(uri.parse()?),
            uris => Err(SvidError::UriNames(uris.len())),
        }
    }
}

/// The identity in a DER leaf certificate. Says nothing about who signed it.
///
/// # Errors
/// As [`CertificateFacts::from_der`] and [`CertificateFacts::spiffe_id`].
pub fn spiffe_id_of(der: &[u8]) -> Result<SpiffeId, SvidError> {
    CertificateFacts::from_der(der)?.spiffe_id()
}

#[cfg(test)]
mod tests;
