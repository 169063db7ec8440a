//! A small istiod for tests: delta ADS and certificate signing over TLS, with everything that was asked recorded.
#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking: that is how it reports")]
#![allow(unreachable_pub, missing_docs, reason = "a module of a test program has no public interface")]

pub mod istiod;
pub mod program;

pub use portolan_testing::{PATIENCE, eventually, free_port};

/// Status and body of a request over plain HTTP/1; nothing when nobody answers yet.
pub async fn http(method: &str, address: &str, path: &str) -> Option<(u16, String)> {
    portolan_testing::http::request(address, method, path, "content-length: 0\r\n").await.ok()
}

/// `GET path` over mutual TLS with the given identity; the server's certificate must chain to `root`.
pub async fn https(
    address: &str,
    path: &str,
    root: &str,
    identity: (&str, &str),
) -> Result<(u16, String), std::io::Error> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    let certificates =
        |pem: &str| CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect::<Vec<_>>();
    let mut roots = rustls::RootCertStore::empty();
    for root in certificates(root) {
        roots.add(root).unwrap();
    }
    let mut config = rustls::ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(spiffe::ChainOnly::new(roots)))
        .with_client_auth_cert(
            certificates(identity.0),
            PrivateKeyDer::from_pem_slice(identity.1.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = tokio::net::TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await?;
    portolan_testing::http::request_on(stream, "GET", path, "").await
}

/// SPIFFE certificates have no DNS name: the chain is verified, the name is not.
mod spiffe {
    use std::sync::Arc;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct ChainOnly(Arc<WebPkiServerVerifier>);

    impl ChainOnly {
        pub(super) fn new(roots: RootCertStore) -> Self {
            ChainOnly(WebPkiServerVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    }

    impl ServerCertVerifier for ChainOnly {
        fn verify_server_cert(
            &self,
            end_entity: &CertificateDer<'_>,
            intermediates: &[CertificateDer<'_>],
            server_name: &ServerName<'_>,
            ocsp: &[u8],
            now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp, now) {
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => Ok(ServerCertVerified::assertion()),
                other => other,
            }
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.verify_tls12_signature(message, cert, dss)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            self.0.verify_tls13_signature(message, cert, dss)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_verify_schemes()
        }
    }
}
