//! Serves HTTP on accepted connections: webhooks, debug pages, discovery for peers.

use std::time::Duration;

use axum::Router;
use http::{Request, Uri};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tower::util::MapRequest;

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};

use crate::tls::Connection;

/// Pings on idle HTTP/2 connections find dead peers.
pub const KEEPALIVE: Duration = Duration::from_secs(30);

/// How long a client may take for the head of an HTTP/1 request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// A request whose path has no empty segments: istioctl asks for `//version`, and Go's servers take that.
fn with_clean_path<B>(mut request: Request<B>) -> Request<B> {
    let path = request.uri().path();
    if !path.contains("//") {
        return request;
    }
    let mut clean = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !clean.ends_with('/') {
            clean.push(c);
        }
    }
    if let Some(query) = request.uri().query() {
        clean = format!("{clean}?{query}");
    }
    let mut parts = request.uri().clone().into_parts();
    // It was a path before, and is one without some of its slashes.
    if let Ok(clean) = clean.parse() {
        parts.path_and_query = Some(clean);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}

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
            let service = TowerToHyperService::new(MapRequest::new(router, with_clean_path));
            if let Err(error) = server.serve_connection(TokioIo::new(connection), service).await {
                tracing::debug!(%error, "connection broke");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_segments_of_a_path_count_for_nothing() {
        for (asked, meant) in [
            ("//version", "/version"),
            ("/debug//syncz?a=//b", "/debug/syncz?a=//b"),
            ("/ready", "/ready"),
            ("http://istiod:15014///metrics", "http://istiod:15014/metrics"),
        ] {
            let request = Request::get(asked).body(()).unwrap();
            assert_eq!(with_clean_path(request).uri().to_string(), meant);
        }
    }
}
