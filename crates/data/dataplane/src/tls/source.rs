//! Certificates, keys and roots: where a context gets them, and what becomes of them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use portolan_identity::{PeerVerifier, Roots, SanKind, SanMatcher, TrustBundle, TrustBundles};
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::message::matchers::StringMatch;
use crate::pb::{matcher, tls};
use crate::value::{At as _, Invalid, Valid, data, type_of, unpack};

const SPIFFE_VALIDATOR: &str = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

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
                roots(context).at("validation_context")?;
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
        data(from.certificate_chain.as_ref().ok_or_else(|| Invalid::new("missing certificate_chain"))?)
            .at("certificate_chain")?;
    let key = data(from.private_key.as_ref().ok_or_else(|| Invalid::new("missing private_key"))?)
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

/// Where a context finds its own certificates and what it checks peers against.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    certificates: Vec<CertificateSource>,
    validation: Option<tls::CertificateValidationContext>,
    validation_secret: Option<String>,
}

#[derive(Debug)]
enum CertificateSource {
    Inline(Arc<CertifiedKey>),
    Secret(String),
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

impl Sources {
    pub(crate) fn compile(common: &tls::CommonTlsContext) -> Valid<Sources> {
        use tls::common_tls_context::ValidationContextType as V;
        let mut sources = Sources::default();
        for certificate in &common.tls_certificates {
            sources
                .certificates
                .push(CertificateSource::Inline(certified_key(certificate).at("tls_certificates")?));
        }
        for secret in &common.tls_certificate_sds_secret_configs {
            sources.certificates.push(CertificateSource::Secret(secret.name.clone()));
        }
        if common.tls_certificate_provider_instance.is_some() || common.custom_handshaker.is_some() {
            return Err(Invalid::new("certificate providers and custom handshakers are not supported"));
        }
        match &common.validation_context_type {
            None => {}
            Some(V::ValidationContext(context)) => sources.validation = Some(context.clone()),
            Some(V::ValidationContextSdsSecretConfig(secret)) => {
                sources.validation_secret = Some(secret.name.clone())
            }
            Some(V::CombinedValidationContext(combined)) => {
                sources.validation = combined.default_validation_context.clone();
                sources.validation_secret =
                    combined.validation_context_sds_secret_config.as_ref().map(|secret| secret.name.clone());
            }
            Some(_) => return Err(Invalid::new("validation context providers are not supported")),
        }
        if let Some(context) = &sources.validation {
            names(context).at("validation_context")?;
            roots(context).at("validation_context")?;
        }
        Ok(sources)
    }

    pub(crate) fn secret_names(&self, into: &mut BTreeSet<String>) {
        for source in &self.certificates {
            if let CertificateSource::Secret(name) = source {
                into.insert(name.clone());
            }
        }
        into.extend(self.validation_secret.clone());
    }

    /// `None` while a secret is missing.
    pub(crate) fn resolve(&self, secrets: &SecretMap) -> Valid<Option<Resolved>> {
        let mut certificates = Vec::new();
        for source in &self.certificates {
            match source {
                CertificateSource::Inline(key) => certificates.push(key.clone()),
                CertificateSource::Secret(name) => match secrets.get(name) {
                    Some(SecretValue::Certificate(key)) => certificates.push(key.clone()),
                    Some(_) => return Err(Invalid(format!("secret {name} is no certificate"))),
                    None => return Ok(None),
                },
            }
        }
        let dynamic = match &self.validation_secret {
            None => None,
            Some(name) => match secrets.get(name) {
                Some(SecretValue::Validation(context)) => Some(context.clone()),
                Some(_) => return Err(Invalid(format!("secret {name} is no validation context"))),
                None => return Ok(None),
            },
        };
        let validation = match (&self.validation, &dynamic) {
            (None, None) => None,
            (own, dynamic) => {
                let mut wanted = own.as_ref().map(names).transpose()?.unwrap_or_default();
                let mut found = own.as_ref().map(roots).transpose()?.flatten();
                if let Some(dynamic) = dynamic {
                    wanted.extend(names(dynamic)?);
                    // The secret's roots win, as in Envoy's merge of the two messages.
                    found = roots(dynamic)?.or(found);
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
}

fn names(context: &tls::CertificateValidationContext) -> Valid<Vec<SanMatcher>> {
    if !context.verify_certificate_spki.is_empty() || !context.verify_certificate_hash.is_empty() {
        return Err(Invalid::new("verify_certificate_spki and verify_certificate_hash are not supported"));
    }
    if context.crl.is_some() {
        return Err(Invalid::new("crl is not supported"));
    }
    let mut names = Vec::new();
    for typed in &context.match_typed_subject_alt_names {
        use tls::subject_alt_name_matcher::SanType as T;
        let kind = match T::try_from(typed.san_type) {
            Ok(T::Uri) => SanKind::Uri,
            Ok(T::Dns) => SanKind::Dns,
            Ok(T::IpAddress) => SanKind::Ip,
            _ => return Err(Invalid::new("san_type: only URI, DNS and IP_ADDRESS are supported")),
        };
        names.push(name_matcher(Some(kind), typed.matcher.as_ref())?);
    }
    for any in &context.match_subject_alt_names {
        names.push(name_matcher(None, Some(any))?);
    }
    Ok(names)
}

fn name_matcher(kind: Option<SanKind>, from: Option<&matcher::StringMatcher>) -> Valid<SanMatcher> {
    let from = from.ok_or_else(|| Invalid::new("missing matcher"))?;
    let text = StringMatch::compile(from).at("matcher")?;
    Ok(SanMatcher::check(move |shown, name| {
        if kind.is_some_and(|kind| kind != shown) {
            return false;
        }
        match &text {
            // The certificate may show a wildcard (Envoy does this for host names only).
            StringMatch::Exact(wanted) if shown == SanKind::Dns => host_name_fits(name, wanted),
            text => text.matches(name),
        }
    }))
}

/// Whether a host name of a certificate, perhaps with a wildcard as its first label, covers `wanted`.
fn host_name_fits(shown: &str, wanted: &str) -> bool {
    match shown.strip_prefix("*.") {
        Some(suffix) => wanted
            .split_once('.')
            .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(suffix)),
        None => shown.eq_ignore_ascii_case(wanted),
    }
}

fn roots(context: &tls::CertificateValidationContext) -> Valid<Option<Roots>> {
    if let Some(custom) = &context.custom_validator_config {
        let config = custom
            .typed_config
            .as_ref()
            .ok_or_else(|| Invalid::new("custom validator without typed_config"))?;
        if type_of(config) != SPIFFE_VALIDATOR {
            return Err(Invalid(format!("unsupported certificate validator {}", type_of(config))));
        }
        let spiffe: tls::SpiffeCertValidatorConfig = unpack(config)?;
        let mut bundles = TrustBundles::default();
        for domain in &spiffe.trust_domains {
            let source = domain
                .trust_bundle
                .as_ref()
                .ok_or_else(|| Invalid(format!("no bundle for trust domain {}", domain.name)))?;
            let bundle = TrustBundle::from_pem(&data(source)?)
                .map_err(|error| Invalid(format!("trust domain {}: {error}", domain.name)))?;
            bundles.insert(domain.name.clone(), bundle);
        }
        if spiffe.trust_domains.is_empty() {
            return Err(Invalid::new("SPIFFE validator without trust domains"));
        }
        return Ok(Some(Roots::ByTrustDomain(Arc::new(bundles))));
    }
    let Some(source) = &context.trusted_ca else { return Ok(None) };
    let bundle = TrustBundle::from_pem(&data(source)?).map_err(|error| Invalid(error.to_string()))?;
    Ok(Some(Roots::Any(Arc::new(bundle))))
}

static ONLY_12: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
static ONLY_13: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// Protocol versions of a context; rustls has 1.2 and 1.3 only (documented deviation).
pub(crate) fn versions(
    params: Option<&tls::TlsParameters>,
) -> Valid<&'static [&'static rustls::SupportedProtocolVersion]> {
    use tls::tls_parameters::TlsProtocol as T;
    let minimum = params.map_or(0, |params| params.tls_minimum_protocol_version);
    let maximum = params.map_or(0, |params| params.tls_maximum_protocol_version);
    if maximum == T::TlSv10 as i32 || maximum == T::TlSv11 as i32 {
        return Err(Invalid::new("TLS 1.0 and 1.1 are not supported"));
    }
    if minimum == T::TlSv13 as i32 {
        return Ok(&ONLY_13);
    }
    if maximum == T::TlSv12 as i32 {
        return Ok(&ONLY_12);
    }
    Ok(rustls::ALL_VERSIONS)
}
