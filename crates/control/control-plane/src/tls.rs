//! TLS servers: the control plane's own certificate, which is renewed while it serves, and connections that know their
//! peer.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use portolan_identity::{
    AuthorityError, BundleError, CertificateAuthority, PeerVerifier, Roots, SpiffeId, TrustBundle,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tonic::transport::server::Connected;

/// Validity of the control plane's own certificate.
const OWN_VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// How often it is renewed.
const RENEWAL: Duration = Duration::from_secs(8 * 3600);

/// Pause after a failed renewal.
const RENEWAL_RETRY: Duration = Duration::from_secs(60);

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshakes at the same time; further connections wait in the kernel's queue.
const MAX_HANDSHAKES: usize = 256;

/// Connections that wait to be served.
const ACCEPTED: usize = 64;

/// Pause after a failed accept: the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why TLS can't be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate.
    #[error("no certificate for the control plane: {0}")]
    Certificate(#[from] AuthorityError),
    /// rustls refuses the configuration.
    #[error("TLS can't be configured: {0}")]
    Config(#[from] rustls::Error),
    /// The root is unusable.
    #[error("clients can't be verified: {0}")]
    Roots(#[from] BundleError),
    /// What was just issued can't be read.
    #[error("the control plane's new certificate can't be read: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
}

/// Configurations of the servers, renewed in place.
pub struct ServerTls {
    /// For gRPC: HTTP/2, client certificates of the mesh are checked when presented.
    pub grpc: Arc<ArcSwap<ServerConfig>>,
    /// For webhooks: client certificates are not asked for.
    pub https: Arc<ArcSwap<ServerConfig>>,
    /// For federation discovery: only who has a certificate of the mesh is let in. No ALPN: gateways offer Istio's own
    /// protocol names here, and what is spoken is HTTP either way.
    pub federation: Arc<ArcSwap<ServerConfig>>,
}

impl ServerTls {
    /// Issues the first certificate and keeps renewing it.
    pub fn start(
        authority: Arc<CertificateAuthority>,
        id: SpiffeId,
        hosts: Vec<String>,
    ) -> Result<Self, TlsError> {
        let [grpc, https, federation] =
            configs(&authority, &id, &hosts)?.map(|config| Arc::new(ArcSwap::new(config)));
        let tls = Self { grpc: grpc.clone(), https: https.clone(), federation: federation.clone() };
        tokio::spawn(async move {
            let mut pause = RENEWAL;
            loop {
                tokio::time::sleep(pause).await;
                pause = match configs(&authority, &id, &hosts) {
                    Ok([new_grpc, new_https, new_federation]) => {
                        grpc.store(new_grpc);
                        https.store(new_https);
                        federation.store(new_federation);
                        tracing::info!("renewed the control plane's own certificate");
                        RENEWAL
                    }
                    Err(error) => {
                        tracing::error!(%error, "own certificate not renewed; trying again");
                        RENEWAL_RETRY
                    }
                };
            }
        });
        Ok(tls)
    }
}

/// For gRPC, HTTPS and federation.
type Configs = [Arc<ServerConfig>; 3];

fn configs(authority: &CertificateAuthority, id: &SpiffeId, hosts: &[String]) -> Result<Configs, TlsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let issued = authority.issue(id, hosts, SystemTime::now(), OWN_VALIDITY)?;
    let chain =
        CertificateDer::pem_slice_iter(issued.chain_pem().as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.unwrap_or_default().as_bytes())?;
    // Certificates are optional (a new workload has none yet), but one that is presented has to be ours. Which
    // identities count is decided by the authenticator.
    let own = TrustBundle::from_pem(authority.root_pem().as_bytes())?;
    let verifier = || PeerVerifier::new(Roots::Any(Arc::new(own.clone())), Vec::new());
    let mut grpc = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier().client_certificate_optional()))
        .with_single_cert(chain.clone(), key.clone_key())?;
    grpc.alpn_protocols = vec![b"h2".to_vec()];
    let federation = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier()))
        .with_single_cert(chain.clone(), key.clone_key())?;
    let mut https = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    https.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok([Arc::new(grpc), Arc::new(https), Arc::new(federation)])
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// Its verified certificates, leaf first; empty without.
    pub certificates: Arc<Vec<CertificateDer<'static>>>,
}

/// A connection that knows its peer, with or without TLS.
pub struct Connection<S> {
    stream: S,
    peer: Peer,
}

impl<S> Connection<S> {
    /// The other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Accepts TLS connections; a slow handshake holds nobody else up.
pub fn accept_tls(
    listener: TcpListener,
    config: Arc<ArcSwap<ServerConfig>>,
) -> mpsc::Receiver<io::Result<Connection<TlsStream<TcpStream>>>> {
    let (accepted, receiver) = mpsc::channel(ACCEPTED);
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    tokio::spawn(async move {
        loop {
            let Ok(permit) = handshakes.clone().acquire_owned().await else { return };
            let (stream, address) = tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(connection) => connection,
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = accepted.closed() => return,
            };
            let (config, accepted) = (config.load_full(), accepted.clone());
            tokio::spawn(async move {
                let _ = stream.set_nodelay(true);
                match timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
                        let certificates =
                            Arc::new(certificates.iter().map(|c| c.clone().into_owned()).collect());
                        let connection = Connection { stream, peer: Peer { address, certificates } };
                        let _ = accepted.send(Ok(connection)).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%address, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%address, "TLS handshake took too long"),
                }
                drop(permit);
            });
        }
    });
    receiver
}

/// Accepts plain connections.
pub fn accept_plain(listener: TcpListener) -> mpsc::Receiver<io::Result<Connection<TcpStream>>> {
    let (accepted, receiver) = mpsc::channel(ACCEPTED);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                connection = listener.accept() => match connection {
                    Ok((stream, address)) => {
                        let _ = stream.set_nodelay(true);
                        let connection = Connection { stream, peer: Peer { address, certificates: Arc::default() } };
                        if accepted.send(Ok(connection)).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = accepted.closed() => return,
            }
        }
    });
    receiver
}
