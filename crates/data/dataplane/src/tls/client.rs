//! The upstream side.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use portolan_dataplane_config::tls::{ClientContext, Sources};
use portolan_identity::Unverified;
use rustls::ClientConfig;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;

use super::source::{SecretMap, Validation, resolve, versions};
use crate::value::{Invalid, Valid};

/// What a connection is for; decides the protocols that are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Offer {
    /// Opaque bytes: the context's own list.
    Tcp,
    Http1,
    Http2,
    /// HTTP/1 and nothing else: an upgrade ends with the whole connection in the other protocol's hands.
    Upgrade,
}

/// A client's TLS context.
#[derive(Debug)]
pub(crate) struct ClientTls {
    sources: Sources,
    pub(crate) sni: Option<ServerName<'static>>,
    alpn: Vec<Vec<u8>>,
    versions: &'static [&'static rustls::SupportedProtocolVersion],
    current: ArcSwapOption<[Arc<ClientConfig>; 4]>,
}

impl ClientTls {
    /// Not ready until [`ClientTls::refresh`] has found all that the context names.
    pub(crate) fn new(context: ClientContext) -> ClientTls {
        let ClientContext { sources, sni, alpn, versions: offered } = context;
        ClientTls { sources, sni, alpn, versions: versions(offered), current: ArcSwapOption::empty() }
    }

    pub(crate) fn secret_names(&self, into: &mut BTreeSet<String>) {
        self.sources.secret_names(into);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.current.load().is_some()
    }

    /// Rebuilds from the secrets; on an error the old configuration stays.
    pub(crate) fn refresh(&self, secrets: &SecretMap) -> Valid<()> {
        let Some(resolved) = resolve(&self.sources, secrets)? else { return Ok(()) };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match resolved.validation.and_then(Validation::verifier) {
            Some(verifier) => Arc::new(verifier),
            None => Arc::new(Unverified::new(&provider)),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .map_err(|error| Invalid(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match resolved.certificates.first() {
            Some(key) => builder.with_client_cert_resolver(Arc::new(Fixed(key.clone()))),
            None => builder.with_no_client_auth(),
        };
        config.enable_sni = self.sni.is_some();
        let with = |offer: Offer| {
            let mut config = config.clone();
            config.alpn_protocols = self.offered(offer);
            Arc::new(config)
        };
        let all = [Offer::Tcp, Offer::Http1, Offer::Http2, Offer::Upgrade];
        self.current.store(Some(Arc::new(all.map(with))));
        Ok(())
    }

    pub(crate) fn config(&self, offer: Offer) -> Option<Arc<ClientConfig>> {
        let current = self.current.load();
        let configs = current.as_ref()?;
        Some(
            configs[match offer {
                Offer::Tcp => 0,
                Offer::Http1 => 1,
                Offer::Http2 => 2,
                Offer::Upgrade => 3,
            }]
            .clone(),
        )
    }

    /// Inside the mesh the list says what the request is, as Istio's ALPN filter does, after
    /// the name by which two of our own proxies find each other. Elsewhere the configured list stands.
    fn offered(&self, offer: Offer) -> Vec<Vec<u8>> {
        let mesh = self.alpn.iter().any(|name| name == b"istio");
        let list: &[&[u8]] = match offer {
            Offer::Http1 if mesh => &[crate::tls::ALPN_OWN, b"istio-http/1.1", b"istio", b"http/1.1"],
            Offer::Http2 if mesh => &[crate::tls::ALPN_OWN, b"istio-h2", b"istio", b"h2"],
            // Under our own name two proxies would speak HTTP/2.
            Offer::Upgrade if mesh => &[b"istio-http/1.1", b"istio", b"http/1.1"],
            Offer::Upgrade => return self.alpn.iter().filter(|name| *name != b"h2").cloned().collect(),
            Offer::Http2 if self.alpn.is_empty() => &[b"h2"],
            _ => return self.alpn.clone(),
        };
        list.iter().map(|name| name.to_vec()).collect()
    }
}

#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesClientCert for Fixed {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
