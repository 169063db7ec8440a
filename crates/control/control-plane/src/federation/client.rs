//! The importer's side of discovery (Service Mesh 2.1, federation): one task for each peer, which asks through our egress
//! gateway what the peer exports, and asks again whenever the peer's watch says that something changed.
//!
//! What was learnt stays while the peer is away: calls fail at the gateway, not for want of configuration.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use portolan_federation::{LocalMesh, MAX_LIST_BYTES, Peer, Refused, ServiceList, ServiceMessage};
use portolan_names::ports;
use portolan_resources::federation::DiscoveryConnectionStatus;
use tokio::{
    net::TcpStream,
    sync::{Notify, Semaphore, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::status::now;

/// How long connecting to the egress gateway may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer's head, or a whole list, may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A list is asked for at least this often. It also finds a watch whose other end is gone without a word.
const RESYNC: Duration = Duration::from_secs(60);

/// Least time between two lists of one peer, and how many times longer than reading a list took it is at least: whatever
/// a peer sends and says, it costs us a small part of one CPU.
const LIST_INTERVAL: Duration = Duration::from_millis(500);
const LIST_SHARE: u32 = 20;

/// Lists that are read at the same time over all peers.
static READERS: Semaphore = Semaphore::const_new(2);

/// Services that are not taken and are logged one by one; of further ones only the number is.
const MAX_REFUSED_SHOWN: usize = 10;

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
    #[error("the peer's service list can't be read: the reader failed")]
    Reader,
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

/// When the next list may be asked for.
struct Pace {
    next: Instant,
}

impl Pace {
    fn new() -> Self {
        Pace { next: Instant::now() }
    }

    /// A list has been read, which took so long.
    fn read(&mut self, took: Duration) {
        self.next = Instant::now() + LIST_INTERVAL.max(took * LIST_SHARE);
    }
}

/// Finds the ends of events, which are lines.
#[derive(Default)]
struct Lines {
    length: usize,
}

impl Lines {
    /// Whether an event ends in these bytes.
    fn take(&mut self, data: &[u8]) -> Result<bool, Broken> {
        let mut complete = false;
        for byte in data {
            if *byte == b'\n' {
                complete = true;
                self.length = 0;
            } else {
                self.length += 1;
            }
            if self.length > MAX_EVENT_BYTES {
                return Err(Broken::Event);
            }
        }
        Ok(complete)
    }
}

/// Reads a watch until it ends, and asks for the list after events and every [`RESYNC`], but no more often than the pace
/// allows.
async fn follow<B, F>(
    mut events: B,
    pace: &mut Pace,
    targets: &mut watch::Receiver<Target>,
    mut heard: impl FnMut(),
    mut list: impl FnMut() -> F,
) -> Result<Ended, Broken>
where
    B: Body<Data = Bytes> + Unpin,
    Broken: From<B::Error>,
    F: Future<Output = Result<Duration, Broken>>,
{
    let mut lines = Lines::default();
    let mut due = None;
    let mut resync = Instant::now() + RESYNC;
    loop {
        let next = due.unwrap_or(resync);
        tokio::select! {
            frame = events.frame() => {
                let Some(frame) = frame else { return Ok(Ended::Closed) };
                let Ok(data) = frame?.into_data() else { continue };
                // What an event says in detail is in the list too, and the list is what counts.
                if lines.take(&data)? && due.is_none() {
                    heard();
                    due = Some(pace.next);
                }
            }
            () = sleep_until(next) => {
                pace.read(list().await?);
                due = None;
                resync = Instant::now() + RESYNC;
            }
            Ok(()) = targets.changed() => return Ok(Ended::Changed),
        }
    }
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
        let mut pace = Pace::new();
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
            let outcome = self.watch(&target, &mut pace).await;
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
            let jitter = pause.mul_f64(0.5 + 0.5 * fastrand::f64());
            tokio::select! {
                () = sleep(jitter) => {}
                Ok(()) = self.targets.changed() => {}
            }
            pause = pause.mul_f64(1.5).min(LONGEST_PAUSE);
        }
    }

    /// Watches until the connection breaks; asks for the list first.
    async fn watch(&mut self, target: &Target, pace: &mut Pace) -> Result<Ended, Broken> {
        let events = request(target, "/v1/watch").await?.into_body();
        // A peer that ends every watch at once is not asked more often for it.
        sleep_until(pace.next).await;
        let (seen, news) = (self.seen.clone(), self.news.clone());
        pace.read(take_list(target.clone(), seen.clone(), news.clone()).await?);
        self.note(|seen| seen.connection.connected = true);
        tracing::info!(peer = target.0.name, "connected to a peer");
        let heard = || {
            seen.lock().connection.last_event = Some(now());
            news.notify_one();
        };
        let list = || take_list(target.clone(), seen.clone(), news.clone());
        follow(events, pace, &mut self.targets, heard, list).await
    }
}

/// Asks for the list and keeps what is taken of it. Returns how long reading it took.
async fn take_list(target: Target, seen: Arc<Mutex<Seen>>, news: Arc<Notify>) -> Result<Duration, Broken> {
    let bytes = timeout(ANSWER_TIMEOUT, list(&target)).await.map_err(|_| Broken::Timeout)??;
    let read = read_list(bytes, target.0.trust_domain(&target.1).to_owned()).await?;
    let peer = &target.0.name;
    for why in read.refused.iter().take(MAX_REFUSED_SHOWN) {
        tracing::warn!(peer, %why, "a peer offers something that is not taken");
    }
    if let Some(more) = read.refused.len().checked_sub(MAX_REFUSED_SHOWN).filter(|more| *more > 0) {
        tracing::warn!(peer, more, "a peer offers more that is not taken");
    }
    {
        let mut seen = seen.lock();
        seen.offered = read.offered;
        seen.connection.last_full_sync = Some(now());
    }
    news.notify_one();
    Ok(read.took)
}

/// A list that was read.
struct ReadList {
    offered: Vec<ServiceMessage>,
    refused: Vec<Refused>,
    took: Duration,
}

/// Reads and checks a list where it holds up nobody: it may be long, and a hostile peer makes it as slow to read as it
/// can.
async fn read_list(bytes: Bytes, trust_domain: String) -> Result<ReadList, Broken> {
    let permit = READERS.acquire().await.map_err(|_| Broken::Reader)?;
    let read = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let started = std::time::Instant::now();
        let list: ServiceList = serde_json::from_slice(&bytes).map_err(Broken::List)?;
        let (offered, refused) = list.accept(&trust_domain);
        Ok(ReadList { offered, refused, took: started.elapsed() })
    });
    read.await.map_err(|_| Broken::Reader)?
}

async fn list(target: &Target) -> Result<Bytes, Broken> {
    let answer = request(target, "/v1/services/").await?;
    let body = Limited::new(answer.into_body(), MAX_LIST_BYTES).collect().await.map_err(Broken::Body)?;
    Ok(body.to_bytes())
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

    fn targets() -> (watch::Sender<Target>, watch::Receiver<Target>) {
        let peer = Peer {
            name: "east".to_owned(),
            namespace: "istio-system".to_owned(),
            generation: 1,
            spec: Default::default(),
        };
        let mesh = LocalMesh {
            namespace: "istio-system".to_owned(),
            trust_domain: "west.local".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            discovery_host: String::new(),
            service_account: String::new(),
            network: String::new(),
        };
        watch::channel((peer, mesh))
    }

    /// A watch that says something every millisecond for ever.
    fn restless() -> impl Body<Data = Bytes, Error = hyper::Error> + Unpin {
        let lines = futures::stream::unfold((), |()| async {
            sleep(Duration::from_millis(1)).await;
            Some((Ok(hyper::body::Frame::data(Bytes::from_static(b"\n"))), ()))
        });
        http_body_util::StreamBody::new(Box::pin(lines))
    }

    async fn lists_in(time: Duration, took: Duration) -> usize {
        let (_target, mut targets) = targets();
        let mut pace = Pace::new();
        let (mut lists, mut events) = (0, 0);
        let list = || {
            lists += 1;
            std::future::ready(Ok(took))
        };
        let ended = timeout(time, follow(restless(), &mut pace, &mut targets, || events += 1, list)).await;
        assert!(ended.is_err(), "it goes on for ever");
        assert!(events <= lists + 1, "an event is noted once for each list: {events}");
        lists
    }

    #[tokio::test(start_paused = true)]
    async fn a_restless_peer_is_asked_no_more_often_than_the_interval() {
        let lists = lists_in(Duration::from_secs(10), Duration::ZERO).await;
        assert!((19..=21).contains(&lists), "{lists}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_whose_list_is_slow_to_read_is_asked_less_often() {
        let lists = lists_in(Duration::from_secs(10), Duration::from_millis(100)).await;
        assert!((5..=6).contains(&lists), "{lists}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_asked_after_the_resync_time() {
        let (_target, mut targets) = targets();
        let silent = http_body_util::StreamBody::new(futures::stream::pending::<
            Result<hyper::body::Frame<Bytes>, hyper::Error>,
        >());
        let mut lists = 0;
        let list = || {
            lists += 1;
            std::future::ready(Ok(Duration::ZERO))
        };
        let mut pace = Pace::new();
        let _ =
            timeout(RESYNC + Duration::from_secs(1), follow(silent, &mut pace, &mut targets, || {}, list))
                .await;
        assert_eq!(lists, 1);
    }

    #[test]
    fn events_are_lines_of_bounded_length() {
        let mut lines = Lines::default();
        assert!(!lines.take(b"{\"action\"").unwrap());
        assert!(lines.take(b":1}\r\n{").unwrap());
        assert_eq!(lines.length, 1);
        assert!(lines.take(&vec![b'x'; MAX_EVENT_BYTES]).is_err());
    }

    #[tokio::test]
    async fn lists_that_are_no_lists_are_refused() {
        let read = read_list(Bytes::from_static(b"[1"), "east.local".to_owned()).await;
        assert!(matches!(read, Err(Broken::List(_))));
        let empty =
            read_list(Bytes::from_static(b"{\"checksum\":1}"), "east.local".to_owned()).await.unwrap();
        assert!(empty.offered.is_empty() && empty.refused.is_empty());
    }
}
