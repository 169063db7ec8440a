//! Secrets, and what becomes of the certificates and roots that contexts name.

use std::collections::HashMap;
use std::sync::Arc;

use portolan_dataplane_config::tls::{CertificateSource, Sources, Versions, names, roots};
use portolan_identity::{PeerVerifier, Roots, SanMatcher};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::external::load;
use crate::pb::{core, tls};
use crate::value::{At as _, Invalid, Valid, data};

/// A secret as the configuration keeps it.
#[derive(Debug, Clone)]
pub(crate) enum SecretValue {
    Certificate(Arc<CertifiedKey>),
    Validation(Arc<tls::CertificateValidationContext>),
    /// Kinds that the data path does not use.
    Other,
}

/// Secrets by name.
pub(crate) type SecretMap = HashMap<String, SecretValue>;

impl SecretValue {
    pub(crate) fn compile(secret: &tls::Secret) -> Valid<SecretValue> {
        match &secret.r#type {
            Some(tls::secret::Type::TlsCertificate(certificate)) => {
                Ok(SecretValue::Certificate(certified_key(certificate).at("tls_certificate")?))
            }
            Some(tls::secret::Type::ValidationContext(context)) => {
                // Roots are read now so that a bad bundle is refused before anything uses it.
                roots(context, load).at("validation_context")?;
                Ok(SecretValue::Validation(Arc::new(context.clone())))
            }
            Some(_) => Ok(SecretValue::Other),
            None => Err(Invalid::new("secret without content")),
        }
    }
}

/// Reads a certificate chain and its key. The texts of errors never hold key material.
pub(crate) fn certified_key(from: &tls::TlsCertificate) -> Valid<Arc<CertifiedKey>> {
    let chain =
        read(from.certificate_chain.as_ref().ok_or_else(|| Invalid::new("missing certificate_chain"))?)
            .at("certificate_chain")?;
    let key = read(from.private_key.as_ref().ok_or_else(|| Invalid::new("missing private_key"))?)
        .at("private_key")?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&chain)
        .collect::<Result<_, _>>()
        .map_err(|_| Invalid::new("certificate_chain is not PEM"))?;
    if chain.is_empty() {
        return Err(Invalid::new("certificate_chain holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| Invalid::new("private_key is not a PEM private key"))?;
    let key = aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| Invalid::new("private_key is of an unsupported type"))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(Arc::new(certified))
        }
        Err(_) => Err(Invalid::new("private_key does not belong to certificate_chain")),
    }
}

fn read(source: &core::DataSource) -> Valid<Vec<u8>> {
    data(source, load).map(Option::unwrap_or_default)
}

/// What could be resolved.
pub(crate) struct Resolved {
    pub(crate) certificates: Vec<Arc<CertifiedKey>>,
    pub(crate) validation: Option<Validation>,
}

pub(crate) enum Validation {
    Verified(Roots, Vec<SanMatcher>),
    /// No roots are configured: Envoy does not verify then.
    Unverified,
}

impl Validation {
    pub(crate) fn verifier(self) -> Option<PeerVerifier> {
        match self {
            Validation::Verified(roots, names) => Some(PeerVerifier::new(roots, names)),
            Validation::Unverified => None,
        }
    }
}

/// `None` while a secret is missing.
pub(crate) fn resolve(sources: &Sources, secrets: &SecretMap) -> Valid<Option<Resolved>> {
    let mut certificates = Vec::new();
    for source in &sources.certificates {
        match source {
            CertificateSource::Inline(own) => certificates.push(certified_key(own).at("tls_certificates")?),
            CertificateSource::Secret(name) => match secrets.get(name) {
                Some(SecretValue::Certificate(key)) => certificates.push(key.clone()),
                Some(_) => return Err(Invalid(format!("secret {name} is no certificate"))),
                None => return Ok(None),
            },
        }
    }
    let dynamic = match &sources.validation_secret {
        None => None,
        Some(name) => match secrets.get(name) {
            Some(SecretValue::Validation(context)) => Some(context.clone()),
            Some(_) => return Err(Invalid(format!("secret {name} is no validation context"))),
            None => return Ok(None),
        },
    };
    let validation = match (&sources.validation, &dynamic) {
        (None, None) => None,
        (own, dynamic) => {
            let mut wanted = own.as_ref().map(names).transpose()?.unwrap_or_default();
            let mut found = own.as_ref().map(|own| roots(own, load)).transpose()?.flatten();
            if let Some(dynamic) = dynamic {
                wanted.extend(names(dynamic)?);
                // The secret's roots win, as in Envoy's merge of the two messages.
                found = roots(dynamic, load)?.or(found);
            }
            Some(match found {
                Some(roots) => Validation::Verified(roots, wanted),
                None if wanted.is_empty() => Validation::Unverified,
                None => return Err(Invalid::new("names to match without roots to verify against")),
            })
        }
    };
    Ok(Some(Resolved { certificates, validation }))
}

static ONLY_12: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
static ONLY_13: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// Protocol versions as rustls knows them.
pub(crate) fn versions(versions: Versions) -> &'static [&'static rustls::SupportedProtocolVersion] {
    match versions {
        Versions::Both => rustls::ALL_VERSIONS,
        Versions::Only12 => &ONLY_12,
        Versions::Only13 => &ONLY_13,
    }
}
