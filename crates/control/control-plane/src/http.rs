//! Serves HTTP on accepted connections: webhooks, debug pages, discovery for peers.

use std::time::Duration;

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

use crate::tls::Connection;

/// Pings on idle HTTP/2 connections find dead peers.
pub const KEEPALIVE: Duration = Duration::from_secs(30);

/// How long a client may take for the head of an HTTP/1 request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves HTTP/1 and HTTP/2 on accepted connections. Handlers find the [`crate::tls::Peer`] in the request's extensions.
pub async fn serve_http<S>(mut accepted: mpsc::Receiver<std::io::Result<Connection<S>>>, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    while let Some(connection) = accepted.recv().await {
        let Ok(connection) = connection else { continue };
        let router = router.clone().layer(axum::Extension(connection.peer().clone()));
        tokio::spawn(async move {
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
            server.http2().timer(TokioTimer::new()).keep_alive_interval(KEEPALIVE);
            let service = TowerToHyperService::new(router);
            if let Err(error) = server.serve_connection(TokioIo::new(connection), service).await {
                tracing::debug!(%error, "connection broke");
            }
        });
    }
}
