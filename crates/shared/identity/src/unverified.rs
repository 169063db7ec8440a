//! TLS to servers that nobody vouches for.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Takes any certificate of a server, but sees that the server holds its key.
///
/// It protects from nobody who can stand in between, so it has a place only where the peer's identity decides nothing:
///
/// - probes over HTTPS: they ask whether a workload answers, not who it is, and the kubelet checks no certificate either
///   (Kubernetes, "Configure Liveness, Readiness and Startup Probes");
/// - TLS origination without `caCertificates`, as the user wrote it: Envoy verifies nothing without `trusted_ca`
///   (`CertificateValidationContext`).
///
/// Never where credentials or the mesh's own traffic travel: that is [`crate::PeerVerifier`].
///
/// A certificate that webpki does not read (X.509 version 1, as people sign their own) is taken as well; whether the
/// server holds its key cannot be seen then.
#[derive(Debug)]
pub struct Unverified(WebPkiSupportedAlgorithms);

impl Unverified {
    /// With the signature algorithms of `provider`.
    pub fn new(provider: &CryptoProvider) -> Self {
        Unverified(provider.signature_verification_algorithms)
    }

    /// The settings of a client that sends no certificate and takes any.
    pub fn client_config() -> Result<ClientConfig, Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Unverified::new(&provider));
        Ok(ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth())
    }
}

/// A certificate that cannot be read says nothing about the signature.
fn unread_is_taken(
    checked: Result<HandshakeSignatureValid, Error>,
) -> Result<HandshakeSignatureValid, Error> {
    match checked {
        Err(Error::InvalidCertificate(CertificateError::BadEncoding | CertificateError::Other(_))) => {
            Ok(HandshakeSignatureValid::assertion())
        }
        checked => checked,
    }
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unread_is_taken(rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unread_is_taken(rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::{ClientHello, ResolvesServerCert};
    use rustls::sign::CertifiedKey;
    use rustls::{ClientConnection, ServerConfig, ServerConnection};

    use super::*;

    #[derive(Debug)]
    struct Fixed(Arc<CertifiedKey>);

    impl ResolvesServerCert for Fixed {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }
    }

    fn certificate(key: &KeyPair) -> Vec<u8> {
        CertificateParams::new(vec!["other.test".to_owned()])
            .unwrap()
            .self_signed(key)
            .unwrap()
            .der()
            .to_vec()
    }

    /// A handshake with a server that shows `certificate` and signs with `key`.
    fn shake_hands(certificate: Vec<u8>, key: &KeyPair) -> Result<(), Error> {
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).unwrap();
        let shown = Fixed(Arc::new(CertifiedKey::new(vec![certificate.into()], key)));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(shown));
        let mut server = ServerConnection::new(Arc::new(config)).unwrap();
        let client_config = Arc::new(Unverified::client_config().unwrap());
        let mut client = ClientConnection::new(client_config, "asked.test".try_into().unwrap()).unwrap();
        while client.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(())
    }

    #[test]
    fn any_certificate_is_taken() {
        let key = KeyPair::generate().unwrap();
        shake_hands(certificate(&key), &key).unwrap();
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        assert!(shake_hands(certificate(&other), &key).is_err());
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_taken() {
        shake_hands(b"version 1".to_vec(), &KeyPair::generate().unwrap()).unwrap();
    }
}
