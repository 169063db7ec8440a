//! Copies of requests, whose answers nobody sees.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::{HeaderMap, Method};

use super::Forwarding;
use super::headers::Outgoing;
use super::upload::Upload;
use crate::io::Frame;
use crate::message::Body;
use crate::route::action::{Mirror, RouteAction};
use crate::serve::http::state::RequestState;
use crate::tls::Offer;
use crate::upstream::config::UpstreamProtocol;
use crate::upstream::exchange::{Exchange, OutgoingHead};
use crate::upstream::pick::LbContext;
use crate::upstream::pool::acquire;
use crate::upstream::{Cluster, WorkerCluster};
use crate::value::drawn;

/// Timeout of mirrored requests.
const MIRROR_TIMEOUT: Duration = Duration::from_secs(30);

/// The mirrors that a request was drawn for, and its fields before the attempts change them.
pub(super) struct Mirrors<'a> {
    chosen: Vec<&'a Mirror>,
    headers: HeaderMap,
}

impl<'a> Mirrors<'a> {
    pub(super) fn draw(action: &'a RouteAction, outgoing: &Outgoing) -> Self {
        let chosen: Vec<_> = action.mirrors.iter().filter(|mirror| drawn(mirror.share)).collect();
        let headers = if chosen.is_empty() { HeaderMap::new() } else { outgoing.headers.clone() };
        Mirrors { chosen, headers }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chosen.is_empty()
    }

    /// Copies a request that is wholly known to its mirrors, and forgets about it.
    pub(super) fn send(&self, state: &RequestState<'_>, forwarding: &Forwarding<'_>) {
        let upload = &forwarding.upload;
        if !upload.done || !upload.replayable || state.request.upgrade.is_some() {
            return;
        }
        for mirror in &self.chosen {
            self.send_one(mirror, state, forwarding);
        }
    }

    fn send_one(&self, mirror: &Mirror, state: &RequestState<'_>, forwarding: &Forwarding<'_>) {
        let Some((cluster, own)) = state.scope.worker.cluster(&mirror.cluster) else { return };
        let Some(slot) = cluster.take_request(false) else { return };
        let outgoing = &forwarding.outgoing;
        let mut authority = outgoing.authority.clone();
        if mirror.suffix {
            let bare = crate::message::without_port(&authority);
            authority = format!("{bare}-shadow{}", &authority[bare.len()..]);
        }
        let copy = Copy {
            method: state.request.method.clone(),
            scheme: state.request.scheme,
            outgoing: Outgoing { headers: self.headers.clone(), authority, path: outgoing.path.clone() },
            hash: forwarding.hash,
            body: Body::Replay(forwarding.upload.recorded.clone().into(), Box::new(Body::Empty)),
        };
        tokio::task::spawn_local(async move {
            let _slot = slot;
            let _ = tokio::time::timeout(MIRROR_TIMEOUT, copy.send(&cluster, &own)).await;
        });
    }
}

/// A request that is sent a second time.
struct Copy {
    method: Method,
    scheme: &'static str,
    outgoing: Outgoing,
    hash: Option<u64>,
    body: Body,
}

impl Copy {
    /// Sends it and reads the answer to its end, so that the connection can be used again.
    async fn send(mut self, cluster: &Arc<Cluster>, own: &WorkerCluster) -> Option<()> {
        let host = own.pick(&LbContext { hash: self.hash, ..LbContext::default() })?;
        let h2 = cluster.config.protocol == UpstreamProtocol::Http2;
        let offer = if h2 { Offer::Http2 } else { Offer::Http1 };
        let acquired = acquire(own, cluster, &host, offer, false).await.ok()?;
        own.stats_of(cluster).upstream_rq_total.inc();
        let head = OutgoingHead {
            method: &self.method,
            scheme: self.scheme,
            authority: &self.outgoing.authority,
            path: &self.outgoing.path,
            headers: &mut self.outgoing.headers,
            last: true,
            length: self.body.length(),
            upgrade: None,
        };
        let mut exchange = Exchange::start(acquired, cluster, head).ok()?;
        let mut upload = Upload::new(self.body, false, 0);
        let mut response: Option<Body> = None;
        poll_fn(|cx| {
            if !upload.done
                && let Poll::Ready(result) = upload.poll(&mut exchange.sender, cx)
            {
                upload.done = true;
                if result.is_err() {
                    return Poll::Ready(());
                }
            }
            if response.is_none() {
                match ready!(exchange.receiver.poll_head(cx)) {
                    Err(_) => return Poll::Ready(()),
                    Ok((_, body)) => response = Some(body),
                }
            }
            let Some(body) = response.as_mut() else { return Poll::Ready(()) };
            loop {
                match ready!(body.poll_frame(cx)) {
                    Ok(Frame::Data(_)) => {}
                    _ => return Poll::Ready(()),
                }
            }
        })
        .await;
        Some(())
    }
}
