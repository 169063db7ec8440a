//! Whole handshakes in memory: who shows a certificate must have its key.

use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    ClientConfig, ClientConnection, ServerConfig, ServerConnection, SupportedProtocolVersion, version,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::*;

#[derive(Debug)]
struct FixedTime;

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(now()))
    }
}

/// What one side shows, on either side of a connection.
#[derive(Debug, Clone)]
struct Shown(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// The certificate of one SVID with the key of another.
fn shown(certificate: &Issued, key: &Issued) -> Shown {
    let key = PrivateKeyDer::from_pem_slice(key.key_pem.as_deref().unwrap().as_bytes()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
    Shown(Some(Arc::new(CertifiedKey::new(vec![leaf(certificate)], key))))
}

/// Whether client and server agree; both verify by `roots`.
fn agree(
    version: &'static SupportedProtocolVersion,
    roots: &Roots,
    client: Shown,
    server: Shown,
    optional: bool,
) -> bool {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = || PeerVerifier::new(roots.clone(), vec![]);
    let clients = if optional { verifier().client_certificate_optional() } else { verifier() };
    let server_config = ServerConfig::builder_with_details(provider.clone(), Arc::new(FixedTime))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(Arc::new(clients))
        .with_cert_resolver(Arc::new(server));
    let client_config = ClientConfig::builder_with_details(provider, Arc::new(FixedTime))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier()))
        .with_client_cert_resolver(Arc::new(client));
    let name = ServerName::try_from("outbound.example").unwrap();
    let mut client = ClientConnection::new(Arc::new(client_config), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server_config)).unwrap();
    // Each round carries one flight in each direction; a handshake has three at most.
    for _ in 0..4 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            if server.process_new_packets().is_err() {
                return false;
            }
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            if client.process_new_packets().is_err() {
                return false;
            }
        }
    }
    !client.is_handshaking() && !server.is_handshaking()
}

#[test]
fn only_who_has_the_key_passes() {
    let (west, east, roots) = two_domains();
    let (here, there) = (issue(&west, "west.local"), issue(&east, "east.local"));
    for version in [&version::TLS12, &version::TLS13] {
        let with = |client: Shown, server: Shown| agree(version, &roots, client, server, false);
        let (client, server) = (shown(&here, &here), shown(&there, &there));
        assert!(with(client.clone(), server.clone()), "honest, {version:?}");
        assert!(!with(client, shown(&there, &here)), "a server with a stolen certificate, {version:?}");
        assert!(!with(shown(&here, &there), server), "a client with a stolen certificate, {version:?}");
    }
}

#[test]
fn a_client_shows_a_certificate_unless_it_need_not() {
    let (west, east, roots) = two_domains();
    let (here, there) = (issue(&west, "west.local"), issue(&east, "east.local"));
    let stranger = issue(&authority("west.local"), "west.local");
    for version in [&version::TLS12, &version::TLS13] {
        let with =
            |client: Shown, optional: bool| agree(version, &roots, client, shown(&there, &there), optional);
        assert!(!with(Shown(None), false), "nothing where it is mandatory, {version:?}");
        assert!(with(Shown(None), true), "nothing where it is optional, {version:?}");
        assert!(with(shown(&here, &here), true), "a good one where it is optional, {version:?}");
        assert!(!with(shown(&stranger, &stranger), true), "a bad one where it is optional, {version:?}");
    }
}
