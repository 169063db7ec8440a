//! The importer's side of discovery (spec/federation.md 2.5): one task for each peer, which asks through our egress
//! gateway what the peer exports, and asks again whenever the peer's watch says that something changed.
//!
//! What was learnt stays while the peer is away: calls fail at the gateway, not for want of configuration.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use portolan_federation::{LocalMesh, MAX_LIST_BYTES, Peer, ServiceList, ServiceMessage};
use portolan_names::ports;
use portolan_resources::federation::DiscoveryConnectionStatus;
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::status::now;

/// How long connecting to the egress gateway may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer's head, or a whole list, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A list is asked for at least this often. It also finds a watch whose other end is gone without a word.
const RESYNC: Duration = Duration::from_secs(60);

/// Names of the peer's gateway are looked up this often.
const RESOLVE: Duration = Duration::from_secs(15);

/// Pauses between attempts: the first, and the longest. One small request in so many seconds is nothing to a peer that
/// is away, and its changes flow again that soon after it is back.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Longest line of the watch. An event holds one service.
const MAX_EVENT_BYTES: usize = 256 * 1024;

/// So much of the body of a refusal is read, and so much of that is shown: gateways say there what went wrong.
const MAX_REFUSAL_BYTES: usize = 4096;
const MAX_REFUSAL_TEXT: usize = 300;

/// Addresses of a peer that are used.
const MAX_ADDRESSES: usize = 64;

/// What is known of a peer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// What it exports to us; what is not its to offer is left out.
    pub(super) offered: Vec<ServiceMessage>,
    /// Addresses of its ingress gateway.
    pub(super) remote_addresses: BTreeSet<IpAddr>,
    /// How the connection fares.
    pub(super) connection: DiscoveryConnectionStatus,
}

type Target = (Peer, LocalMesh);

/// The tasks of one peer; they end with it.
pub(super) struct PeerTask {
    target: watch::Sender<Target>,
    seen: Arc<Mutex<Seen>>,
    tasks: [JoinHandle<()>; 2],
}

impl PeerTask {
    /// Starts with what is remembered of the peer.
    pub(super) fn start(
        peer: Peer,
        mesh: LocalMesh,
        offered: Vec<ServiceMessage>,
        news: Arc<Notify>,
    ) -> Self {
        let (target, targets) = watch::channel((peer, mesh));
        let seen = Arc::new(Mutex::new(Seen { offered, ..Seen::default() }));
        let asker = Asker { targets: targets.clone(), seen: seen.clone(), news: news.clone() };
        let resolver = Asker { targets, seen: seen.clone(), news };
        let tasks = [tokio::spawn(asker.ask_for_ever()), tokio::spawn(resolver.resolve_for_ever())];
        PeerTask { target, seen, tasks }
    }

    /// The peer as it is declared now. Connections start over only when how it is reached has changed.
    pub(super) fn set(&self, peer: Peer, mesh: LocalMesh) {
        self.target.send_if_modified(|old| {
            let changed = old.0.spec.remote != peer.spec.remote
                || old.0.spec.gateways.egress != peer.spec.gateways.egress
                || old.0.spec.security.trust_domain != peer.spec.security.trust_domain
                || old.1 != mesh;
            *old = (peer, mesh);
            changed
        });
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }
}

impl Drop for PeerTask {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("our egress gateway {0} can't be reached: {1}")]
    Connect(String, std::io::Error),
    #[error("no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}{1}")]
    Status(StatusCode, String),
    #[error("the peer's service list can't be read: {0}")]
    List(serde_json::Error),
    #[error("the peer's service list can't be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("the peer sent an event of more than {MAX_EVENT_BYTES} bytes")]
    Event,
    #[error("request can't be made: {0}")]
    Request(#[from] http::Error),
}

/// What ended a watch without fault.
enum Ended {
    /// The peer closed it.
    Closed,
    /// The peer is declared differently now.
    Changed,
}

struct Asker {
    targets: watch::Receiver<Target>,
    seen: Arc<Mutex<Seen>>,
    news: Arc<Notify>,
}

impl Asker {
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock());
        self.news.notify_one();
    }

    async fn resolve_for_ever(mut self) {
        loop {
            let addresses = self.targets.borrow_and_update().0.spec.remote.addresses.clone();
            let found = resolve(&addresses).await;
            // A name server that is away takes nothing back that it has said.
            if !found.is_empty() && self.seen.lock().remote_addresses != found {
                self.note(|seen| seen.remote_addresses = found);
            }
            tokio::select! {
                () = sleep(RESOLVE) => {}
                Ok(()) = self.targets.changed() => {}
            }
        }
    }

    async fn ask_for_ever(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let target = self.targets.borrow_and_update().clone();
            if target.0.spec.gateways.egress.name.is_empty() || target.0.spec.remote.addresses.is_empty() {
                // A peer that only calls us.
                if self.targets.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let before = self.seen.lock().connection.connected;
            self.seen.lock().connection.last_connected = Some(now());
            let outcome = self.watch(&target).await;
            let was_connected = std::mem::take(&mut self.seen.lock().connection.connected);
            let peer = &target.0.name;
            let text = match &outcome {
                Ok(Ended::Changed) => "the peer's declaration changed".to_owned(),
                Ok(Ended::Closed) => "200 OK".to_owned(),
                Err(error) => error.to_string(),
            };
            if was_connected || before {
                tracing::warn!(
                    peer,
                    reason = text,
                    "the watch of a peer ended; what it exported stays known"
                );
            } else {
                tracing::info!(peer, reason = text, "a peer can't be watched yet");
            }
            self.note(|seen| {
                if was_connected {
                    seen.connection.last_disconnect = Some(now());
                }
                seen.connection.last_disconnect_status = Some(text);
            });
            if was_connected {
                pause = FIRST_PAUSE;
            }
            if matches!(outcome, Ok(Ended::Changed)) {
                continue;
            }
            // Half of the pause to all of it: peers that lost the same gateway do not come back at once.
            let jitter = pause.mul_f64(0.5 + 0.5 * fraction());
            tokio::select! {
                () = sleep(jitter) => {}
                Ok(()) = self.targets.changed() => {}
            }
            pause = pause.mul_f64(1.5).min(LONGEST_PAUSE);
        }
    }

    /// Watches until the connection breaks; asks for the list first, after each event, and every [`RESYNC`].
    async fn watch(&mut self, target: &Target) -> Result<Ended, Broken> {
        let answer = request(target, "/v1/watch").await?;
        let mut events = answer.into_body();
        self.poll(target).await?;
        self.note(|seen| seen.connection.connected = true);
        tracing::info!(peer = target.0.name, "connected to a peer");
        let mut line = 0_usize;
        loop {
            tokio::select! {
                frame = events.frame() => {
                    let Some(frame) = frame else { return Ok(Ended::Closed) };
                    let Ok(mut data) = frame?.into_data() else { continue };
                    let mut complete = false;
                    while data.has_remaining() {
                        line = if data.get_u8() == b'\n' { complete = true; 0 } else { line + 1 };
                        if line > MAX_EVENT_BYTES {
                            return Err(Broken::Event);
                        }
                    }
                    if complete {
                        // What an event says in detail is in the list too, and the list is what counts
                        // (spec/federation.md 0.5).
                        self.note(|seen| seen.connection.last_event = Some(now()));
                        self.poll(target).await?;
                    }
                }
                () = sleep(RESYNC) => self.poll(target).await?,
                Ok(()) = self.targets.changed() => return Ok(Ended::Changed),
            }
        }
    }

    async fn poll(&self, target: &Target) -> Result<(), Broken> {
        let list = timeout(ANSWER_TIMEOUT, list(target)).await.map_err(|_| Broken::Timeout)??;
        let (offered, refused) = list.accept(target.0.trust_domain(&target.1));
        for why in refused {
            tracing::warn!(peer = target.0.name, %why, "a peer offers something that is not taken");
        }
        self.note(|seen| {
            seen.offered = offered;
            seen.connection.last_full_sync = Some(now());
        });
        Ok(())
    }
}

async fn list(target: &Target) -> Result<ServiceList, Broken> {
    let answer = request(target, "/v1/services/").await?;
    let body = Limited::new(answer.into_body(), MAX_LIST_BYTES).collect().await.map_err(Broken::Body)?;
    serde_json::from_slice(&body.to_bytes()).map_err(Broken::List)
}

/// Sends a request to our egress gateway, which takes it to the peer by its headers.
async fn request(target: &Target, path: &str) -> Result<Response<Incoming>, Broken> {
    let (peer, mesh) = target;
    let host = peer.egress_host(mesh);
    let connect = TcpStream::connect((host.as_str(), ports::FEDERATION_DISCOVERY));
    let stream = match timeout(CONNECT_TIMEOUT, connect).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(Broken::Connect(host, error)),
        Err(_) => return Err(Broken::Connect(host, std::io::ErrorKind::TimedOut.into())),
    };
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
    // Ends with the connection, or when nobody reads the answer any more.
    tokio::spawn(connection);
    let mut request =
        Request::get(path).header(header::HOST, host).header(header::ACCEPT, "application/json");
    for (name, value) in peer.discovery_headers() {
        request = request.header(name, value);
    }
    let request = request.body(Empty::new())?;
    let answer =
        timeout(ANSWER_TIMEOUT, sender.send_request(request)).await.map_err(|_| Broken::Timeout)??;
    if answer.status() == StatusCode::OK {
        return Ok(answer);
    }
    let status = answer.status();
    let gateway = &peer.spec.gateways.egress.name;
    let body = Limited::new(answer.into_body(), MAX_REFUSAL_BYTES).collect();
    let body = timeout(ANSWER_TIMEOUT, body).await.ok().and_then(Result::ok);
    let mut text = body.map(|body| detail(&body.to_bytes())).unwrap_or_default();
    if status.is_server_error() {
        // What went wrong on the connection is for those who may read logs.
        text.push_str(&format!(" (see the access log of {gateway})"));
    }
    Err(Broken::Status(status, text))
}

/// What the body of a refusal adds to its status, fit for a log and a status field whoever wrote it.
fn detail(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REFUSAL_TEXT)
        .collect();
    let text = text.trim();
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

async fn resolve(addresses: &[String]) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    for address in addresses {
        match timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((address.as_str(), 0))).await {
            Ok(Ok(resolved)) => found.extend(resolved.map(|socket| socket.ip())),
            Ok(Err(error)) => tracing::warn!(address, %error, "a peer's address can't be resolved"),
            Err(_) => tracing::warn!(address, "resolving a peer's address takes too long"),
        }
    }
    while found.len() > MAX_ADDRESSES {
        found.pop_last();
    }
    found
}

/// A number from 0 to 1 that differs between processes and calls; nothing depends on its quality.
fn fraction() -> f64 {
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    f64::from(nanos % 1000) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_shown_on_one_line() {
        assert_eq!(detail(b"RBAC: access denied\r\n"), ": RBAC: access denied");
        assert_eq!(detail(b" \n"), "");
        assert_eq!(detail(b"a\x1b[31mb\0\xff"), ": a [31mb \u{fffd}");
        assert_eq!(detail(&[b'x'; 4096]).len(), MAX_REFUSAL_TEXT + 2);
    }
}
