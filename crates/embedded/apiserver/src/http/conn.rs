//! One listener's accept loop and one connection's life.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Body;
use crate::limits;

/// How often a connection looks whether it is idle.
const IDLE_CHECK: Duration = Duration::from_secs(15);
/// Pause after a failed accept (out of file descriptors, mostly), so that the loop does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Its verified client certificate.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

/// Answers requests.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one request; must not fail.
    fn handle(
        self: Arc<Self>,
        peer: Arc<Peer>,
        request: Request<Incoming>,
    ) -> BoxFuture<'static, Response<Body>>;
}

/// Accepts connections until `stop`; then ends the idle ones and gives the others [`limits::DRAIN_TIMEOUT`].
pub(crate) async fn serve<H: Handler>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    handler: Arc<H>,
    connections: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => return,
            permit = connections.clone().acquire_owned() => permit,
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let acceptor = acceptor.clone();
        let handler = handler.clone();
        let stop = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = connection(socket, address, acceptor, handler, stop).await {
                tracing::debug!(peer = %address, %error, "connection ended");
            }
            drop(permit);
        });
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn connection<H: Handler>(
    socket: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    handler: Arc<H>,
    stop: CancellationToken,
) -> Result<(), AnyError> {
    socket.set_nodelay(true)?;
    let stream = tokio::time::timeout(limits::HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await??;
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|leaf| leaf.clone().into_owned());
    let peer = Arc::new(Peer { address, certificate });
    // Requests begun and not yet answered to the last byte.
    let open = Arc::new(AtomicUsize::new(0));
    let begun = Arc::new(AtomicUsize::new(0));
    let service = {
        let open = open.clone();
        let begun = begun.clone();
        service_fn(move |request: Request<Incoming>| {
            let handler = handler.clone();
            let peer = peer.clone();
            let guard = Guard::new(open.clone());
            begun.fetch_add(1, Ordering::Relaxed);
            async move {
                let response = handler.handle(peer, request).await;
                Ok::<_, Infallible>(response.map(|body| guarded(body, guard)))
            }
        })
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::IDLE_TIMEOUT)
        .max_buf_size(limits::MAX_HEAD)
        .max_headers(limits::MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(limits::MAX_STREAMS)
        .max_header_list_size(limits::MAX_HEAD as u32);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut idle = tokio::time::interval(IDLE_CHECK);
    let mut last = (0, tokio::time::Instant::now());
    loop {
        tokio::select! {
            result = connection.as_mut() => return result,
            () = stop.cancelled() => break,
            now = idle.tick() => {
                let count = begun.load(Ordering::Relaxed);
                if count != last.0 || open.load(Ordering::Relaxed) > 0 {
                    last = (count, now);
                } else if now.duration_since(last.1) > limits::IDLE_TIMEOUT {
                    break;
                }
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    finish(connection).await
}

async fn finish(connection: impl Future<Output = Result<(), AnyError>>) -> Result<(), AnyError> {
    tokio::time::timeout(limits::DRAIN_TIMEOUT, connection).await?
}

/// Counts a request for as long as it lives.
struct Guard(Arc<AtomicUsize>);

impl Guard {
    fn new(count: Arc<AtomicUsize>) -> Guard {
        count.fetch_add(1, Ordering::Relaxed);
        Guard(count)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body, holding the guard until it has been sent or dropped.
fn guarded(body: Body, guard: Guard) -> Body {
    if body.is_end_stream() {
        return body;
    }
    body.map_frame(move |frame| {
        let _held = &guard;
        frame
    })
    .boxed_unsync()
}
