//! TLS contexts: where certificates, keys and roots come from, and what is offered.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use portolan_identity::{Roots, SanKind, SanMatcher, TrustBundle, TrustBundles};
use rustls_pki_types::ServerName;

use crate::message::matchers::StringMatch;
use crate::pb::{matcher, tls};
use crate::value::{At as _, Invalid, Loader, Valid, bool_or, data, type_of, unpack};

const SPIFFE_VALIDATOR: &str = "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

/// Checks a secret: that it has a content that can be used, as far as it lies in the message.
pub fn check_secret(secret: &tls::Secret, load: Loader) -> Valid<()> {
    match &secret.r#type {
        Some(tls::secret::Type::TlsCertificate(certificate)) => {
            let chain = certificate.certificate_chain.as_ref();
            let key = certificate.private_key.as_ref();
            let (Some(chain), Some(key)) = (chain, key) else {
                return Err(Invalid::new("tls_certificate: missing certificate_chain or private_key"));
            };
            if let Some(pem) = data(chain, load).at("tls_certificate: certificate_chain")? {
                TrustBundle::from_pem(&pem)
                    .map_err(|error| Invalid(format!("certificate_chain: {error}")))?;
            }
            data(key, load).at("tls_certificate: private_key").map(drop)
        }
        Some(tls::secret::Type::ValidationContext(context)) => {
            names(context).at("validation_context")?;
            roots(context, load).at("validation_context").map(drop)
        }
        Some(_) => Ok(()),
        None => Err(Invalid::new("secret without content")),
    }
}

/// Where a context finds its own certificates and what it checks peers against.
#[derive(Debug, Default)]
pub struct Sources {
    /// Our own.
    pub certificates: Vec<CertificateSource>,
    /// What peers are checked against, as far as the context says it itself.
    pub validation: Option<tls::CertificateValidationContext>,
    /// The secret that says the rest.
    pub validation_secret: Option<String>,
}

/// Where one certificate comes from.
#[derive(Debug)]
pub enum CertificateSource {
    /// In the context itself.
    Inline(Box<tls::TlsCertificate>),
    /// In a secret of this name.
    Secret(String),
}

impl Sources {
    /// Compiles the common part of both contexts.
    pub fn compile(common: &tls::CommonTlsContext, load: Loader) -> Valid<Sources> {
        use tls::common_tls_context::ValidationContextType as V;
        let mut sources = Sources::default();
        for certificate in &common.tls_certificates {
            sources.certificates.push(CertificateSource::Inline(Box::new(certificate.clone())));
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
            roots(context, load).at("validation_context")?;
        }
        Ok(sources)
    }

    /// The secrets that are needed.
    pub fn secret_names(&self, into: &mut BTreeSet<String>) {
        for source in &self.certificates {
            if let CertificateSource::Secret(name) = source {
                into.insert(name.clone());
            }
        }
        into.extend(self.validation_secret.clone());
    }
}

/// What the names of a peer's certificate must match; any of them.
pub fn names(context: &tls::CertificateValidationContext) -> Valid<Vec<SanMatcher>> {
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

/// The roots that a peer's certificate must lead to; `None` when none are named, or they are not known here.
pub fn roots(context: &tls::CertificateValidationContext, load: Loader) -> Valid<Option<Roots>> {
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
            let Some(pem) = data(source, load)? else { continue };
            let bundle = TrustBundle::from_pem(&pem)
                .map_err(|error| Invalid(format!("trust domain {}: {error}", domain.name)))?;
            bundles.insert(domain.name.clone(), bundle);
        }
        if spiffe.trust_domains.is_empty() {
            return Err(Invalid::new("SPIFFE validator without trust domains"));
        }
        return Ok(Some(Roots::ByTrustDomain(Arc::new(bundles))));
    }
    let Some(source) = &context.trusted_ca else { return Ok(None) };
    let Some(pem) = data(source, load)? else { return Ok(None) };
    let bundle = TrustBundle::authorities_from_pem(&pem).map_err(|error| Invalid(error.to_string()))?;
    Ok(Some(Roots::Any(Arc::new(bundle))))
}

/// Protocol versions of a context; there are 1.2 and 1.3 only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versions {
    /// Both.
    Both,
    /// TLS 1.2.
    Only12,
    /// TLS 1.3.
    Only13,
}

impl Versions {
    fn compile(params: Option<&tls::TlsParameters>) -> Valid<Versions> {
        use tls::tls_parameters::TlsProtocol as T;
        let minimum = params.map_or(0, |params| params.tls_minimum_protocol_version);
        let maximum = params.map_or(0, |params| params.tls_maximum_protocol_version);
        if maximum == T::TlSv10 as i32 || maximum == T::TlSv11 as i32 {
            return Err(Invalid::new("TLS 1.0 and 1.1 are not supported"));
        }
        Ok(match (minimum == T::TlSv13 as i32, maximum == T::TlSv12 as i32) {
            (true, _) => Versions::Only13,
            (_, true) => Versions::Only12,
            _ => Versions::Both,
        })
    }
}

/// ALPN name of the hop between two of our own proxies: HTTP/2 whatever the request came in as.
pub const ALPN_OWN: &[u8] = b"portolan-h2";

/// A server's TLS context.
#[derive(Debug)]
pub struct ServerContext {
    /// Certificates and roots.
    pub sources: Sources,
    /// Whether a client must show a certificate.
    pub require_client: bool,
    /// Protocols that are taken, most wanted first.
    pub alpn: Vec<Vec<u8>>,
    /// Versions that are taken.
    pub versions: Versions,
}

impl ServerContext {
    /// `speaks_http`: the chain ends in an HTTP connection manager, which can take HTTP/2 from our own proxies.
    pub fn compile(
        context: &tls::DownstreamTlsContext,
        speaks_http: bool,
        load: Loader,
    ) -> Valid<ServerContext> {
        let common = context.common_tls_context.clone().unwrap_or_default();
        let mut alpn: Vec<Vec<u8>> =
            common.alpn_protocols.iter().map(|name| name.clone().into_bytes()).collect();
        if speaks_http {
            alpn.insert(0, ALPN_OWN.to_vec());
        }
        Ok(ServerContext {
            sources: Sources::compile(&common, load).at("common_tls_context")?,
            require_client: bool_or(context.require_client_certificate.as_ref(), false),
            alpn,
            versions: Versions::compile(common.tls_params.as_ref())?,
        })
    }
}

/// A client's TLS context.
#[derive(Debug)]
pub struct ClientContext {
    /// Certificates and roots.
    pub sources: Sources,
    /// The name that is asked for.
    pub sni: Option<ServerName<'static>>,
    /// Protocols that are offered, most wanted first.
    pub alpn: Vec<Vec<u8>>,
    /// Versions that are offered.
    pub versions: Versions,
}

impl ClientContext {
    /// Compiles the context of a cluster's transport.
    pub fn compile(context: &tls::UpstreamTlsContext, load: Loader) -> Valid<ClientContext> {
        let common = context.common_tls_context.clone().unwrap_or_default();
        let sni = match context.sni.as_str() {
            "" => None,
            name => Some(
                ServerName::try_from(name.to_owned())
                    .map_err(|_| Invalid(format!("sni {name:?} is not a host name")))?,
            ),
        };
        Ok(ClientContext {
            sources: Sources::compile(&common, load).at("common_tls_context")?,
            sni,
            alpn: common.alpn_protocols.iter().map(|name| name.clone().into_bytes()).collect(),
            versions: Versions::compile(common.tls_params.as_ref())?,
        })
    }
}
