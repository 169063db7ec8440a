//! How to reach a gRPC server of the control plane: address, TLS, bearer token, keepalive.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use portolan_names::ports;
use portolan_xds_grpc::causes;
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// How long TCP and TLS may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A peer that is silent for this long is asked whether it is still there; a dead istiod node is noticed
/// within this and [`KEEPALIVE_TIMEOUT`].
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long the answer to the question may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest message that is accepted: a full CDS answer of a mesh with 10,000 services is about 30 MiB.
pub const MAX_MESSAGE: usize = 128 * 1024 * 1024;
/// Largest token or certificate file that is read.
const MAX_FILE: u64 = 1024 * 1024;

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `host:port`
    Tcp(String),
    /// A unix socket.
    Unix(PathBuf),
}

/// Where trusted roots come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// A PEM file, read again for each connection.
    File(PathBuf),
    /// PEM text.
    Inline(Vec<u8>),
}

/// Whoever has the workload's own certificate.
pub trait WorkloadCertificate: std::fmt::Debug + Send + Sync {
    /// Chain and key, PEM; `None` as long as there is none.
    fn workload_certificate(&self) -> Option<(Vec<u8>, Vec<u8>)>;
}

/// Where our own certificate for the control connection comes from.
#[derive(Debug, Clone)]
pub enum OwnIdentity {
    /// Files of chain and key.
    Files(PathBuf, PathBuf),
    /// The workload's own certificate, as soon as there is one. Used where the Pod has no token (virtual
    /// machines after their first start).
    Workload(Arc<dyn WorkloadCertificate>),
}

/// TLS towards the server.
#[derive(Debug, Clone)]
pub struct UpstreamTls {
    /// Trusted roots.
    pub roots: Roots,
    /// Name that the server's certificate must carry.
    pub server_name: String,
    /// Our own certificate.
    pub identity: Option<OwnIdentity>,
}

/// One control plane server.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its address.
    pub target: Target,
    /// TLS, or `None` for plain text.
    pub tls: Option<UpstreamTls>,
    /// File with a bearer token, read again for each stream because the kubelet renews it.
    pub token_path: Option<PathBuf>,
    /// Further request metadata.
    pub metadata: Vec<(String, String)>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The address does not form a URI.
    #[error("{0:?} is not an address of the form host:port")]
    Address(String),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A metadata entry (or the token) is not a valid header.
    #[error("{0} is not a valid request header value")]
    Metadata(String),
    /// The connection failed.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where to.
        address: String,
        /// The chain of causes.
        reason: String,
    },
}

impl Upstream {
    /// istiod or a CA: TLS verified with the roots in a file, a token from a file or else `own`.
    pub fn istiod(address: &str, roots: &Path, token_path: &Path, own: Arc<dyn WorkloadCertificate>) -> Self {
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (address, None),
        };
        Upstream {
            target: Target::Tcp(address.to_owned()),
            tls: (port != Some(ports::XDS_PLAINTEXT)).then(|| UpstreamTls {
                roots: Roots::File(roots.to_owned()),
                server_name: host.trim_matches(['[', ']']).to_owned(),
                identity: Some(OwnIdentity::Workload(own)),
            }),
            token_path: Some(token_path.to_owned()),
            metadata: Vec::new(),
        }
    }

    /// Text for logs.
    pub fn address(&self) -> String {
        match &self.target {
            Target::Tcp(address) => address.clone(),
            Target::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Channel, UpstreamError> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let uri = match &self.target {
            Target::Tcp(address) => format!("{scheme}://{address}"),
            Target::Unix(_) => "http://localhost".to_owned(),
        };
        let mut endpoint = Endpoint::from_shared(uri)
            .map_err(|_| UpstreamError::Address(self.address()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true);
        if let Some(tls) = &self.tls {
            let mut config = ClientTlsConfig::new().domain_name(&tls.server_name);
            config = config.ca_certificate(Certificate::from_pem(match &tls.roots {
                Roots::File(path) => read_file(path).await?,
                Roots::Inline(pem) => pem.clone(),
            }));
            if let Some((chain, key)) = self.own_certificate(tls).await? {
                config = config.identity(Identity::from_pem(chain, key));
            }
            endpoint = endpoint.tls_config(config).map_err(|error| self.connect_error(&error))?;
        }
        let connected = match &self.target {
            Target::Tcp(_) => endpoint.connect().await,
            Target::Unix(path) => {
                let path = path.clone();
                endpoint
                    .connect_with_connector(tower::service_fn(move |_| {
                        let path = path.clone();
                        async move { UnixStream::connect(path).await.map(TokioIo::new) }
                    }))
                    .await
            }
        };
        connected.map_err(|error| self.connect_error(&error))
    }

    async fn own_certificate(&self, tls: &UpstreamTls) -> Result<Option<(Vec<u8>, Vec<u8>)>, UpstreamError> {
        match &tls.identity {
            None => Ok(None),
            Some(OwnIdentity::Files(chain, key)) => {
                Ok(Some((read_file(chain).await?, read_file(key).await?)))
            }
            Some(OwnIdentity::Workload(own)) => {
                let has_token = self.token_path.as_ref().is_some_and(|path| path.exists());
                Ok(if has_token { None } else { own.workload_certificate() })
            }
        }
    }

    fn connect_error(&self, error: &(dyn std::error::Error + 'static)) -> UpstreamError {
        UpstreamError::Connect { address: self.address(), reason: causes(error) }
    }

    /// Adds token and metadata to a request's headers.
    pub async fn authorize(&self, headers: &mut MetadataMap) -> Result<(), UpstreamError> {
        for (name, value) in &self.metadata {
            let key: MetadataKey<Ascii> =
                name.to_ascii_lowercase().parse().map_err(|_| UpstreamError::Metadata(name.clone()))?;
            headers.insert(key, ascii(name, value)?);
        }
        if let Some(path) = &self.token_path {
            match read_file(path).await {
                Ok(token) => {
                    let token = String::from_utf8_lossy(&token);
                    headers.insert("authorization", ascii("the token", &format!("Bearer {}", token.trim()))?);
                }
                // Plain text servers on loopback need no token; whether one is needed is the server's decision.
                Err(UpstreamError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn ascii(name: &str, value: &str) -> Result<MetadataValue<Ascii>, UpstreamError> {
    value.parse().map_err(|_| UpstreamError::Metadata(name.to_owned()))
}

/// Reads a small file.
pub async fn read_file(path: &Path) -> Result<Vec<u8>, UpstreamError> {
    let read = async {
        let size = tokio::fs::metadata(path).await?.len();
        if size > MAX_FILE {
            return Err(std::io::Error::other(format!(
                "the file has {size} bytes, more than the {MAX_FILE} allowed"
            )));
        }
        tokio::fs::read(path).await
    };
    read.await.map_err(|source| UpstreamError::File { path: path.to_owned(), source })
}
