//! Copies of requests, whose answers nobody sees.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::HeaderMap;

use super::Forwarding;
use super::upload::Upload;
use crate::io::Frame;
use crate::message::Body;
use crate::serve::http::manager::Stream;
use crate::serve::worker::Worker;
use crate::tls::Offer;
use crate::upstream::config::UpstreamProtocol;
use crate::upstream::exchange::{Exchange, OutgoingHead};
use crate::upstream::lb::LbContext;
use crate::upstream::pool::acquire;

/// Timeout of mirrored requests.
const MIRROR_TIMEOUT: Duration = Duration::from_secs(30);

/// Copies a request to another cluster and forgets about it.
pub(super) fn send_mirror(
    stream: &Stream<'_>,
    forwarding: &Forwarding<'_>,
    headers: &HeaderMap,
    name: &str,
    suffix: bool,
    upload: &Upload,
) {
    if !upload.done || !upload.replayable || stream.request.upgrade.is_some() {
        return;
    }
    let worker: Rc<Worker> = stream.scope.worker.clone();
    let Some((cluster, own)) = worker.cluster(name) else { return };
    let Some(slot) = cluster.take_request(false) else { return };
    let method = stream.request.method.clone();
    let scheme = stream.request.scheme;
    let mut authority = forwarding.authority.clone();
    if suffix {
        let bare = crate::message::without_port(&authority);
        authority = format!("{bare}-shadow{}", &authority[bare.len()..]);
    }
    let (path, mut headers, hash) = (forwarding.path.clone(), headers.clone(), forwarding.hash);
    let body = Body::Replay(upload.recorded.clone().into(), Box::new(Body::Empty));
    let h2 = cluster.config.protocol == UpstreamProtocol::Http2;
    tokio::task::spawn_local(async move {
        let _slot = slot;
        let context = LbContext { hash, ..LbContext::default() };
        let Some(host) = own.pick(&context) else { return };
        let sending = async {
            let offer = if h2 { Offer::Http2 } else { Offer::Http1 };
            let acquired = acquire(&own, &cluster, &host, offer, false).await.ok()?;
            own.stats_of(&cluster).upstream_rq_total.inc();
            let length = body.length();
            let head = OutgoingHead {
                method: &method,
                scheme,
                authority: &authority,
                path: &path,
                headers: &mut headers,
                length,
                upgrade: None,
            };
            let mut exchange = Exchange::start(acquired, &cluster, head).ok()?;
            let mut upload = Upload::new(body, false, 0);
            let body = RefCell::new(None);
            poll_fn(|cx| {
                if !upload.done
                    && let Poll::Ready(result) = upload.poll(&mut exchange.sender, cx)
                {
                    upload.done = true;
                    if result.is_err() {
                        return Poll::Ready(());
                    }
                }
                if body.borrow().is_none() {
                    match exchange.receiver.poll_head(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Err(_)) => return Poll::Ready(()),
                        Poll::Ready(Ok((_, response))) => *body.borrow_mut() = Some(response),
                    }
                }
                // The answer is read to its end so that the connection can be used again.
                let mut body = body.borrow_mut();
                let Some(body) = body.as_mut() else { return Poll::Ready(()) };
                loop {
                    match body.poll_frame(cx) {
                        Poll::Pending => return Poll::Pending,
                        Poll::Ready(Ok(Frame::Data(_))) => {}
                        Poll::Ready(_) => return Poll::Ready(()),
                    }
                }
            })
            .await;
            Some(())
        };
        let _ = tokio::time::timeout(MIRROR_TIMEOUT, sending).await;
    });
}
