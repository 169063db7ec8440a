//! The HTTP/1.1 server that all roles share: bounded connections, a deadline on everything a caller can
//! stretch, and a graceful end on SIGTERM or SIGINT.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;

use crate::Listen;
use crate::client::HttpClient;
use crate::roles::{self, App};

/// Connections served at once; further ones wait in the accept queue.
const MAX_CONNECTIONS: usize = 1024;
/// How long a caller may take to send a request head (also the keep-alive idle limit).
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long requests in flight may go on after the stop signal.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept (file descriptors used up), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `app` until SIGTERM or SIGINT, then lets requests in flight end.
pub(crate) async fn serve(listen: &Listen, app: App) -> anyhow::Result<()> {
    let listener = TcpListener::bind((listen.address, listen.port)).await.with_context(|| {
        format!("cannot listen on {}:{}: choose another --port", listen.address, listen.port)
    })?;
    println!("{} listening on {}:{}", app.name(), listen.address, listen.port);
    let app = Arc::new(app);
    let client = HttpClient::new();
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stop = std::pin::pin!(wait_for_stop());
    loop {
        let place = Arc::clone(&places).acquire_owned().await.context("semaphore closed")?;
        let stream = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let (app, client) = (Arc::clone(&app), client.clone());
        let service = service_fn(move |request| {
            let (app, client) = (Arc::clone(&app), client.clone());
            async move { Ok::<_, Infallible>(roles::answer(&app, &client, request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A caller that breaks off is no event worth a line.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await;
    Ok(())
}

/// Returns when the process is told to stop.
pub(crate) async fn wait_for_stop() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
