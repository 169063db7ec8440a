//! The unix sockets that Envoy gets its configuration (XDS) and its certificates (SDS) from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use portolan_xds_grpc::{AdsServer, Discovery, DiscoveryServer, SdsServer, Service};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;

use super::bootstrap::Paths;
use super::sds_server::Sds;
use super::xds_proxy::XdsProxy;
use crate::certificates::SecretHub;
use crate::upstream::{MAX_MESSAGE, Upstream};
use crate::xds_client::{NameTableSink, XdsStatus};

/// Largest request for secrets: a few names.
const MAX_SDS_REQUEST: usize = 4 * 1024 * 1024;

/// A unix socket cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {path}: {source}; the directory must be writable")]
pub struct SocketError {
    /// Its path.
    pub path: PathBuf,
    /// The system's reason.
    #[source]
    pub source: std::io::Error,
}

/// What Envoy is fed from.
pub struct Feed {
    /// The control plane that streams are forwarded to.
    pub upstream: Upstream,
    /// The agent's secrets; takes the peers' roots that the control plane sends.
    pub hub: SecretHub,
    /// Takes the name table; `None` = do not subscribe to it.
    pub names: Option<Arc<dyn NameTableSink>>,
    /// Facts for others.
    pub status: Arc<XdsStatus>,
}

/// Binds both sockets and serves them until `stop` is cancelled.
pub fn serve(paths: &Paths, feed: Feed, stop: &CancellationToken) -> Result<(), SocketError> {
    let Feed { upstream, hub, names, status } = feed;
    let xds = XdsProxy { upstream, roots: Arc::new(hub.clone()), names, status };
    serve_on(&paths.sds, SdsServer::new(Arc::new(Sds { hub }), MAX_SDS_REQUEST), stop)?;
    serve_on(&paths.xds, AdsServer::new(Arc::new(xds), MAX_MESSAGE), stop)
}

fn serve_on<S, T: Discovery>(
    path: &str,
    service: DiscoveryServer<S, T>,
    stop: &CancellationToken,
) -> Result<(), SocketError>
where
    S: Service,
{
    let incoming = UnixListenerStream::new(bind(Path::new(path))?);
    let stop = stop.clone();
    tokio::spawn(async move {
        let server = tonic::transport::Server::builder();
        let ended = server.serve_with_incoming_shutdown(service, incoming, stop.cancelled_owned()).await;
        if let Err(error) = ended {
            tracing::error!(%error, "a socket server for Envoy ended");
        }
    });
    Ok(())
}

/// Binds a unix socket that only this user can reach, in place of one that an earlier run left.
fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    use std::os::unix::fs::PermissionsExt;
    let bind = || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    };
    bind().map_err(|source| SocketError { path: path.to_owned(), source })
}
