//! The downstream side.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use portolan_identity::CertificateFacts;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::source::{SecretMap, Sources, versions};
use crate::pb::tls;
use crate::value::{At as _, Invalid, Valid, bool_or};

/// A server's TLS context.
#[derive(Debug)]
pub(crate) struct ServerTls {
    sources: Sources,
    require_client: bool,
    alpn: Vec<Vec<u8>>,
    versions: &'static [&'static rustls::SupportedProtocolVersion],
    current: ArcSwapOption<Configs>,
}

/// rustls refuses a client without a common protocol; BoringSSL, so Envoy, goes on without one. Hence two.
#[derive(Debug)]
struct Configs {
    with_alpn: Arc<ServerConfig>,
    without_alpn: Arc<ServerConfig>,
}

impl ServerTls {
    /// `speaks_http`: the chain ends in an HTTP connection manager, which can take HTTP/2 from our own proxies.
    pub(crate) fn compile(context: &tls::DownstreamTlsContext, speaks_http: bool) -> Valid<ServerTls> {
        let common = context.common_tls_context.clone().unwrap_or_default();
        let sources = Sources::compile(&common).at("common_tls_context")?;
        let mut alpn: Vec<Vec<u8>> =
            common.alpn_protocols.iter().map(|name| name.clone().into_bytes()).collect();
        if speaks_http {
            alpn.insert(0, crate::tls::ALPN_OWN.to_vec());
        }
        Ok(ServerTls {
            sources,
            require_client: bool_or(context.require_client_certificate.as_ref(), false),
            alpn,
            versions: versions(common.tls_params.as_ref())?,
            current: ArcSwapOption::empty(),
        })
    }

    pub(crate) fn secret_names(&self, into: &mut BTreeSet<String>) {
        self.sources.secret_names(into);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.current.load().is_some()
    }

    /// Rebuilds from the secrets; on an error the old configuration stays.
    pub(crate) fn refresh(&self, secrets: &SecretMap) -> Valid<()> {
        let Some(resolved) = self.sources.resolve(secrets)? else { return Ok(()) };
        if resolved.certificates.is_empty() {
            return Err(Invalid::new("a TLS server needs a certificate"));
        }
        let verifier = resolved.validation.and_then(crate::tls::source::Validation::verifier);
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(self.versions)
            .map_err(|error| Invalid(error.to_string()))?;
        let builder = match verifier {
            Some(verifier) if self.require_client => builder.with_client_cert_verifier(Arc::new(verifier)),
            Some(verifier) => {
                builder.with_client_cert_verifier(Arc::new(verifier.client_certificate_optional()))
            }
            None if self.require_client => {
                return Err(Invalid::new("require_client_certificate without a validation context"));
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(BySni::new(resolved.certificates)));
        // Tickets of an older configuration can not be read by this one: trust changes take effect.
        if let Ok(ticketer) = aws_lc_rs::Ticketer::new() {
            config.ticketer = ticketer;
        }
        config.max_early_data_size = 0;
        let without_alpn = Arc::new(config.clone());
        config.alpn_protocols.clone_from(&self.alpn);
        self.current.store(Some(Arc::new(Configs { with_alpn: Arc::new(config), without_alpn })));
        Ok(())
    }

    /// The configuration for a client that offers `alpn`.
    pub(crate) fn config(&self, alpn: &[Vec<u8>]) -> Option<Arc<ServerConfig>> {
        let current = self.current.load_full()?;
        let common = alpn.iter().any(|offered| self.alpn.contains(offered));
        Some(if common { current.with_alpn.clone() } else { current.without_alpn.clone() })
    }
}

impl ServerTls {
    /// The configuration when the client's list is not known.
    pub(crate) fn config_any(&self) -> Option<Arc<ServerConfig>> {
        let current = self.current.load_full()?;
        Some(if self.alpn.is_empty() { current.without_alpn.clone() } else { current.with_alpn.clone() })
    }
}

/// The certificate whose DNS names fit the SNI, else the first.
#[derive(Debug)]
struct BySni(Vec<(Vec<String>, Arc<CertifiedKey>)>);

impl BySni {
    fn new(keys: Vec<Arc<CertifiedKey>>) -> Self {
        let names = |key: &CertifiedKey| {
            let facts = key.cert.first().and_then(|leaf| CertificateFacts::from_der(leaf).ok());
            facts.map(|facts| facts.dns_names).unwrap_or_default()
        };
        BySni(keys.into_iter().map(|key| (names(&key), key)).collect())
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let wanted = hello.server_name();
        let fits = |name: &String| {
            wanted.is_some_and(|wanted| match name.strip_prefix("*.") {
                Some(suffix) => {
                    wanted.split_once('.').is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(suffix))
                }
                None => wanted.eq_ignore_ascii_case(name),
            })
        };
        let found = self.0.iter().find(|(names, _)| names.iter().any(fits));
        found.or_else(|| self.0.first()).map(|(_, key)| key.clone())
    }
}
