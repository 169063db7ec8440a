//! The exporter's side of discovery (docs/reference/federation.md): answers the gateways through which peers ask.
//!
//! Who asks is known from the gateway: each peer has an ingress gateway of its own, whose identity is checked here and
//! which checks the peer's. A watcher gets the difference between what it was told last and what holds now, so that a
//! slow one holds nobody up and misses nothing.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Extension, Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use parking_lot::Mutex;
use portolan_federation::{Export, export_events};
use portolan_identity::spiffe_id_of;
use portolan_resources::federation::DiscoveryRemoteStatus;
use tokio::sync::{Notify, watch};

use super::status::now;
use crate::tls;

/// Watches of one peer at the same time: one for each replica of its control plane, and their successors.
const MAX_WATCHES: usize = 32;

/// Sources of one peer that are remembered.
const MAX_REMOTES: usize = 32;

/// Longest source that is believed: an address.
const MAX_SOURCE_LENGTH: usize = 64;

type Exports = Arc<BTreeMap<String, Export>>;

/// What one peer is told, and who of it listens.
struct Served {
    gateway: String,
    exports: watch::Sender<Exports>,
    watches: Arc<AtomicUsize>,
    remotes: Arc<Mutex<BTreeMap<String, DiscoveryRemoteStatus>>>,
}

/// What all peers are told.
pub(super) struct Discovery {
    peers: Mutex<BTreeMap<String, Served>>,
    news: Arc<Notify>,
}

impl Discovery {
    pub(super) fn new(news: Arc<Notify>) -> Self {
        Discovery { peers: Mutex::default(), news }
    }

    /// Replaces what all peers are told. Watches of a peer that is gone end.
    pub(super) fn publish(&self, served: BTreeMap<String, (String, BTreeMap<String, Export>)>) {
        let mut peers = self.peers.lock();
        peers.retain(|name, _| served.contains_key(name));
        for (name, (gateway, exports)) in served {
            let peer = peers.entry(name).or_insert_with(|| Served {
                gateway: String::new(),
                exports: watch::Sender::new(Arc::default()),
                watches: Arc::default(),
                remotes: Arc::default(),
            });
            peer.gateway = gateway;
            peer.exports.send_if_modified(|old| {
                let changed = **old != exports;
                if changed {
                    *old = Arc::new(exports);
                }
                changed
            });
        }
    }

    /// Who has asked, by peer.
    pub(super) fn remotes(&self) -> BTreeMap<String, Vec<DiscoveryRemoteStatus>> {
        let peers = self.peers.lock();
        peers
            .iter()
            .map(|(name, peer)| (name.clone(), peer.remotes.lock().values().cloned().collect()))
            .collect()
    }
}

/// The routes. Methods do not matter, as in Service Mesh 2.x.
pub(super) fn router(discovery: Arc<Discovery>) -> Router {
    Router::new()
        .route("/v1/services/{peer}", any(services))
        .route("/v1/watch/{peer}", any(watch_services))
        .with_state(discovery)
}

type Refusal = (StatusCode, &'static str);

/// The peer that the caller's gateway stands for.
fn asked<T>(
    discovery: &Discovery,
    name: &str,
    caller: &tls::Peer,
    then: impl FnOnce(&Served) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let peers = discovery.peers.lock();
    // The protocol's answer for a mesh that nobody has declared.
    let peer = peers.get(name).ok_or((StatusCode::BAD_REQUEST, "unknown mesh"))?;
    let identity = caller.certificates.first().and_then(|leaf| spiffe_id_of(leaf).ok());
    if identity.is_none_or(|id| id.to_string() != peer.gateway) {
        return Err((StatusCode::FORBIDDEN, "only the peer's ingress gateway may ask"));
    }
    then(peer)
}

async fn services(
    State(discovery): State<Arc<Discovery>>,
    Path(name): Path<String>,
    Extension(caller): Extension<tls::Peer>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let list = asked(&discovery, &name, &caller, |peer| {
        if let Some(remote) = peer.remotes.lock().get_mut(&source(&headers)) {
            remote.last_full_sync = Some(now());
        }
        let exports = peer.exports.borrow().clone();
        Ok(export_events(&exports, &exports).list)
    })?;
    discovery.news.notify_one();
    Ok(Json(list).into_response())
}

async fn watch_services(
    State(discovery): State<Arc<Discovery>>,
    Path(name): Path<String>,
    Extension(caller): Extension<tls::Peer>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let source = source(&headers);
    let watcher = asked(&discovery, &name, &caller, |peer| {
        if peer.watches.fetch_add(1, Ordering::AcqRel) >= MAX_WATCHES {
            peer.watches.fetch_sub(1, Ordering::AcqRel);
            return Err((StatusCode::TOO_MANY_REQUESTS, "too many watches of this mesh"));
        }
        let mut exports = peer.exports.subscribe();
        let told = exports.borrow_and_update().clone();
        let presence = Presence::enter(
            source.clone(),
            peer.watches.clone(),
            peer.remotes.clone(),
            discovery.news.clone(),
        );
        Ok(Watcher { exports, told, presence })
    })?;
    tracing::info!(peer = name, source, "a peer watches what we export");
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        let bytes = watcher.next().await?;
        Some((Ok::<_, Infallible>(bytes), watcher))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(stream)).into_response())
}

/// Where the peer's egress gateway is, as our ingress gateway saw it.
fn source(headers: &HeaderMap) -> String {
    let forwarded = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = forwarded.split(',').next().unwrap_or_default().trim();
    first.chars().take(MAX_SOURCE_LENGTH).collect()
}

/// One watch.
struct Watcher {
    exports: watch::Receiver<Exports>,
    told: Exports,
    presence: Presence,
}

impl Watcher {
    /// The next events; `None` when the peer is gone.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            self.exports.changed().await.ok()?;
            let holds = self.exports.borrow_and_update().clone();
            let events = export_events(&self.told, &holds).events;
            self.told = holds;
            let mut text = Vec::new();
            for event in events {
                if serde_json::to_writer(&mut text, &event).is_ok() {
                    text.extend_from_slice(b"\r\n");
                }
            }
            if !text.is_empty() {
                self.presence.told();
                return Some(text.into());
            }
        }
    }
}

/// Shows a watch in the peer's status for as long as it lives.
struct Presence {
    source: String,
    watches: Arc<AtomicUsize>,
    remotes: Arc<Mutex<BTreeMap<String, DiscoveryRemoteStatus>>>,
    news: Arc<Notify>,
}

impl Presence {
    fn enter(
        source: String,
        watches: Arc<AtomicUsize>,
        remotes: Arc<Mutex<BTreeMap<String, DiscoveryRemoteStatus>>>,
        news: Arc<Notify>,
    ) -> Self {
        {
            let mut remotes = remotes.lock();
            if remotes.len() >= MAX_REMOTES {
                remotes.retain(|_, remote| remote.connected);
            }
            if remotes.len() < MAX_REMOTES {
                let remote = remotes.entry(source.clone()).or_default();
                remote.source.clone_from(&source);
                remote.connected = true;
                remote.last_connected = Some(now());
            }
        }
        news.notify_one();
        Presence { source, watches, remotes, news }
    }

    fn told(&self) {
        if let Some(remote) = self.remotes.lock().get_mut(&self.source) {
            remote.last_event = Some(now());
        }
        self.news.notify_one();
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.watches.fetch_sub(1, Ordering::AcqRel);
        if let Some(remote) = self.remotes.lock().get_mut(&self.source) {
            remote.connected = false;
            remote.last_disconnect = Some(now());
        }
        self.news.notify_one();
    }
}
