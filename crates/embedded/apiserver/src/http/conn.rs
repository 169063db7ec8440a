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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Body;
use super::admitted::{Connections, Place};
use super::head::{Clocked, HeadClock, OpenRequest};
use crate::limits;

/// How often a connection looks whether it is idle.
const IDLE_CHECK: Duration = Duration::from_secs(15);
/// Pause after a failed accept (out of file descriptors, mostly), so that the loop does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection.
pub(crate) struct Peer {
    /// Its address.
    pub(crate) address: SocketAddr,
    /// Its verified client certificate.
    pub(crate) certificate: Option<CertificateDer<'static>>,
    /// Its place among the open connections.
    pub(crate) place: Option<Arc<Place>>,
}

impl Peer {
    /// A request of this connection was made by `known` user, or by nobody in particular.
    pub(crate) fn has_asked(&self, known: bool) {
        match &self.place {
            Some(place) if known => place.proved(),
            Some(place) => place.alive(),
            None => {}
        }
    }
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
    connections: Connections,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
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
        let Some(place) = connections.take(address.ip()) else {
            tracing::debug!(peer = %address, "too many connections: a new one is closed");
            continue;
        };
        let acceptor = acceptor.clone();
        let handler = handler.clone();
        let stop = stop.clone();
        tasks.spawn(async move {
            let served = connection(socket, address, acceptor, handler, place.clone(), stop);
            let ended = tokio::select! {
                ended = served => ended,
                () = place.closed() => Err("it was silent, and its place was needed".into()),
            };
            if let Err(error) = ended {
                tracing::debug!(peer = %address, %error, "connection ended");
            }
        });
    }
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn connection<H: Handler>(
    socket: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    handler: Arc<H>,
    place: Arc<Place>,
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
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    if certificate.is_some() {
        // It was verified in the handshake.
        place.proved();
    }
    let peer = Arc::new(Peer { address, certificate, place: Some(place) });
    requests(stream, http2, peer, handler, stop).await
}

/// Serves the requests of a connection: HTTP/2 if the client has chosen it in the handshake, else HTTP/1.
async fn requests<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    http2: bool,
    peer: Arc<Peer>,
    handler: Arc<H>,
    stop: CancellationToken,
) -> Result<(), AnyError> {
    let clock = HeadClock::new();
    let begun = Arc::new(AtomicUsize::new(0));
    let service = {
        let clock = clock.clone();
        let begun = begun.clone();
        service_fn(move |request: Request<Incoming>| {
            let handler = handler.clone();
            let peer = peer.clone();
            // Open until it is answered to the last byte.
            let open = clock.request();
            begun.fetch_add(1, Ordering::Relaxed);
            async move {
                let response = handler.handle(peer, request).await;
                Ok::<_, Infallible>(response.map(|body| guarded(body, open)))
            }
        })
    };
    let builder = builder(http2);
    let stream = Clocked { stream, clock: clock.clone() };
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // HTTP/2 asks its peer for signs of life instead, and frames may come without a request.
    let mut overdue =
        pin!(async { if http2 { std::future::pending().await } else { clock.overdue().await } });
    let mut idle = tokio::time::interval(IDLE_CHECK);
    let mut last = (0, tokio::time::Instant::now());
    loop {
        tokio::select! {
            result = connection.as_mut() => return result,
            () = stop.cancelled() => break,
            () = overdue.as_mut() => return Err("the head of a request took too long".into()),
            now = idle.tick() => {
                let count = begun.load(Ordering::Relaxed);
                if count != last.0 || clock.is_open() {
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

fn builder(http2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // A timer of its own kind, `head`, stands in for hyper's.
    builder.http1().header_read_timeout(None).max_buf_size(limits::MAX_HEAD).max_headers(limits::MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(limits::MAX_STREAMS)
        .max_header_list_size(limits::MAX_HEAD as u32);
    if http2 { builder.http2_only() } else { builder.http1_only() }
}

async fn finish(connection: impl Future<Output = Result<(), AnyError>>) -> Result<(), AnyError> {
    tokio::time::timeout(limits::DRAIN_TIMEOUT, connection).await?
}

/// The body, holding the guard until it has been sent or dropped.
fn guarded(body: Body, guard: OpenRequest) -> Body {
    if body.is_end_stream() {
        return body;
    }
    body.map_frame(move |frame| {
        let _held = &guard;
        frame
    })
    .boxed_unsync()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    use super::*;

    struct Echo;

    impl Handler for Echo {
        fn handle(
            self: Arc<Self>,
            _peer: Arc<Peer>,
            request: Request<Incoming>,
        ) -> BoxFuture<'static, Response<Body>> {
            Box::pin(async move {
                let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                Response::new(super::super::full(body.unwrap_or_default()))
            })
        }
    }

    /// The client's end of a connection, and the task that serves it.
    fn connected() -> (DuplexStream, JoinHandle<Result<(), AnyError>>) {
        let (client, server) = tokio::io::duplex(1 << 10);
        let peer = Arc::new(Peer { address: ([127, 0, 0, 1], 1).into(), certificate: None, place: None });
        let served = requests(server, false, peer, Arc::new(Echo), CancellationToken::new());
        (client, tokio::spawn(served))
    }

    /// How long the server keeps the connection from now on.
    async fn lifetime(served: JoinHandle<Result<(), AnyError>>) -> Duration {
        let began = Instant::now();
        let _ = served.await.unwrap();
        began.elapsed()
    }

    async fn answered(client: &mut DuplexStream) {
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        // The rest of it is at hand.
        let mut rest = [0; 1 << 10];
        let _ = client.read(&mut rest).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_end_ends_the_connection() {
        let (mut client, served) = connected();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        let drip = tokio::spawn(async move {
            while client.write_all(b"A: b\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        });
        assert_eq!(lifetime(served).await, limits::HEAD_TIMEOUT);
        drip.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_head_that_does_not_end_ends_the_connection() {
        let (mut client, served) = connected();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        answered(&mut client).await;
        client.write_all(b"G").await.unwrap();
        assert_eq!(lifetime(served).await, limits::HEAD_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_may_be_idle_for_longer_than_a_head_takes() {
        let (mut client, served) = connected();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        answered(&mut client).await;
        tokio::time::sleep(limits::HEAD_TIMEOUT * 2).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        answered(&mut client).await;
        assert!(lifetime(served).await >= limits::IDLE_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_take_longer_than_a_head() {
        let (mut client, served) = connected();
        client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n").await.unwrap();
        tokio::time::sleep(limits::HEAD_TIMEOUT).await;
        client.write_all(b"a").await.unwrap();
        tokio::time::sleep(limits::HEAD_TIMEOUT).await;
        client.write_all(b"b").await.unwrap();
        answered(&mut client).await;
        drop(client);
        served.await.unwrap().unwrap();
    }
}
