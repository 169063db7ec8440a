//! The agent with Envoy as its data plane: sockets, bootstrap, child process.

use std::path::Path;

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

use super::envoy_bootstrap::{self, Paths};
use super::status::{self, Backend};
use super::{AgentError, Common, envoy_process, sds_server, xds_proxy, xds_upstream};

/// Runs until Envoy ends or the drain after `quit` is over.
pub(super) async fn run(common: Common, program: &Path) -> Result<(), AgentError> {
    let config = &common.config;
    let paths = Paths::new(&config.proxy.config_path);
    let sds =
        tonic::transport::Server::builder().add_service(sds_server::SdsServer::service(common.hub.clone()));
    let xds = tonic::transport::Server::builder().add_service(xds_proxy::XdsProxy::service(
        xds_upstream(config, &common.hub),
        common.hub.clone(),
        common.dns.clone(),
        common.xds_status.clone(),
    ));
    for (server, path) in [(sds, &paths.sds), (xds, &paths.xds)] {
        let incoming = UnixListenerStream::new(bind_socket(Path::new(path))?);
        let stop = common.stop.clone();
        tokio::spawn(async move {
            let ended = server.serve_with_incoming_shutdown(incoming, stop.cancelled_owned()).await;
            if let Err(error) = ended {
                tracing::error!(%error, "a socket server for Envoy ended");
            }
        });
    }
    let status = common.status(Backend::Envoy { admin_port: config.admin_port })?;
    common.serve(config.status_port, false, "status", "statusPort", status::handler(status)).await?;
    let bootstrap = envoy_bootstrap::render(config, &paths);
    let file = envoy_process::write_bootstrap(Path::new(&config.proxy.config_path), &bootstrap)?;
    envoy_process::run(config, program, &file, common.quit.clone()).await?;
    Ok(())
}

/// Binds a unix socket that only this user can reach, in place of one that an earlier run left.
fn bind_socket(path: &Path) -> Result<UnixListener, AgentError> {
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
    bind().map_err(|source| AgentError::Socket { path: path.to_owned(), source })
}
