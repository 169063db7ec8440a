//! Authorities, identities, and a TLS peer that takes whatever it is shown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use portolan_identity::{CertificateAuthority, SpiffeId};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

const HOUR: Duration = Duration::from_secs(3600);

/// Certificate chain and key in PEM.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Identity {
    /// `tls_certificates` of a TLS context.
    pub(crate) fn config(&self) -> Value {
        json!([{"certificate_chain": {"inline_string": self.chain}, "private_key": {"inline_string": self.key}}])
    }
}

/// A certificate authority of one trust domain.
pub(crate) struct Authority {
    domain: String,
    ca: CertificateAuthority,
}

impl Authority {
    pub(crate) fn new(domain: &str) -> Authority {
        let start = SystemTime::now() - 100 * HOUR;
        let ca = CertificateAuthority::self_signed(domain, start, 1000 * HOUR).unwrap();
        Authority { domain: domain.to_owned(), ca }
    }

    pub(crate) fn root(&self) -> &str {
        self.ca.root_pem()
    }

    pub(crate) fn account(&self, name: &str) -> Identity {
        self.signed(&format!("spiffe://{}/ns/shop/sa/{name}", self.domain), &[], SystemTime::now())
    }

    /// Any name, whatever the domain; valid for an hour from `start`.
    pub(crate) fn signed(&self, uri: &str, dns: &[&str], start: SystemTime) -> Identity {
        let id: SpiffeId = uri.parse().unwrap();
        let dns: Vec<String> = dns.iter().map(|name| (*name).to_owned()).collect();
        let issued = self.ca.issue(&id, &dns, start, HOUR).unwrap();
        Identity { chain: issued.chain_pem(), key: issued.key_pem.unwrap() }
    }

    pub(crate) fn expired(&self, name: &str) -> Identity {
        let uri = format!("spiffe://{}/ns/shop/sa/{name}", self.domain);
        self.signed(&uri, &[], SystemTime::now() - 2 * HOUR)
    }

    pub(crate) fn not_yet_valid(&self, name: &str) -> Identity {
        let uri = format!("spiffe://{}/ns/shop/sa/{name}", self.domain);
        self.signed(&uri, &[], SystemTime::now() + HOUR)
    }

    /// A certificate that may sign others.
    pub(crate) fn signing(&self, name: &str) -> Identity {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        let uri = format!("spiffe://{}/ns/shop/sa/{name}", self.domain);
        params.subject_alt_names = vec![rcgen::SanType::URI(uri.as_str().try_into().unwrap())];
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages =
            vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::DigitalSignature];
        let own = rcgen::KeyPair::from_pem(self.ca.key_pem()).unwrap();
        let issuer = rcgen::Issuer::from_ca_cert_pem(self.ca.certificate_pem(), own).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Identity { chain: certificate.pem(), key: key.serialize_pem() }
    }
}

pub(crate) type Versions = &'static [&'static rustls::SupportedProtocolVersion];
pub(crate) static V12: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
pub(crate) static V13: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// How a client greets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client {
    pub(crate) identity: Option<Identity>,
    pub(crate) sni: Option<&'static str>,
    pub(crate) alpn: Vec<&'static str>,
    pub(crate) versions: Option<Versions>,
}

impl Client {
    pub(crate) fn of(identity: &Identity) -> Client {
        Client { identity: Some(identity.clone()), ..Client::default() }
    }

    pub(crate) async fn connect(&self, to: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        self.connect_over(TcpStream::connect(to).await?).await
    }

    pub(crate) async fn connect_over<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> std::io::Result<TlsStream<S>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.versions.unwrap_or(rustls::ALL_VERSIONS))
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)));
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                builder.with_client_auth_cert(certificates(&identity.chain), key(&identity.key)).unwrap()
            }
        };
        config.enable_sni = self.sni.is_some();
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        // A resumed session would not show the certificate again.
        config.resumption = rustls::client::Resumption::disabled();
        let name = ServerName::try_from(self.sni.unwrap_or("none.test")).unwrap();
        let connecting = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream);
        super::in_time(connecting).await
    }
}

pub(crate) fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

pub(crate) fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// URI name of the certificate that the server showed.
pub(crate) fn server_uri<S>(stream: &TlsStream<S>) -> String {
    let leaf = &stream.get_ref().1.peer_certificates().unwrap()[0];
    portolan_identity::CertificateFacts::from_der(leaf).unwrap().uris.remove(0)
}

/// A server that shows `identity`.
pub(crate) fn server(identity: &Identity, alpn: &[&str]) -> tokio_rustls::TlsAcceptor {
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(rustls::ALL_VERSIONS)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates(&identity.chain), key(&identity.key))
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config).into()
}

/// Takes any certificate.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
