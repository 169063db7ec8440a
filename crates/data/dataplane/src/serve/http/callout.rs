//! Requests that filters send to clusters of the proxy.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};

use crate::filters::stream::{Answer, Callout, CalloutFail};
use crate::io::Frame;
use crate::message::{Body, ResponseHead};
use crate::serve::worker::Worker;
use crate::tls::Offer;
use crate::upstream::config::UpstreamProtocol;
use crate::upstream::exchange::{Exchange, OutgoingHead};
use crate::upstream::pick::LbContext;

/// Bytes of an answer's body.
const MAX_ANSWER: usize = 1024 * 1024;

/// Sends a request and reads its answer. Neither retried nor logged; the cluster's limits and statistics count it.
pub(super) async fn send(worker: Rc<Worker>, callout: Callout) -> Result<Answer, CalloutFail> {
    let limit = callout.timeout;
    match tokio::time::timeout(limit, exchange(worker, callout)).await {
        Ok(answer) => answer,
        Err(_) => Err(CalloutFail::Timeout),
    }
}

/// Says that the request is the proxy's own, and how long it waits, as Envoy does.
fn note_origin(timeout: Duration, headers: &mut HeaderMap) {
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    headers.insert("x-envoy-internal", HeaderValue::from_static("true"));
    headers.insert("x-envoy-expected-rq-timeout-ms", HeaderValue::from(millis));
}

async fn exchange(worker: Rc<Worker>, callout: Callout) -> Result<Answer, CalloutFail> {
    let (cluster, own) = worker.cluster(&callout.cluster).ok_or(CalloutFail::NoCluster)?;
    let _slot = cluster.take_request(false).ok_or(CalloutFail::Upstream)?;
    let host = own.pick(&LbContext::default()).ok_or(CalloutFail::Upstream)?;
    let h2 = cluster.config.protocol == UpstreamProtocol::Http2;
    let offer = if h2 { Offer::Http2 } else { Offer::Http1 };
    let acquired = own.acquire(&cluster, &host, offer, false).await.map_err(|_| CalloutFail::Upstream)?;
    own.stats_of(&cluster).upstream_rq_total.inc();
    let Callout { method, authority, path, mut headers, body, timeout, .. } = callout;
    note_origin(timeout, &mut headers);
    let mut body = match body.is_empty() {
        true => Body::Empty,
        false => Body::Replay([body].into(), Box::new(Body::Empty)),
    };
    let head = OutgoingHead {
        method: &method,
        scheme: "http",
        authority: &authority,
        path: &path,
        headers: &mut headers,
        last: true,
        length: body.length(),
        upgrade: None,
    };
    let mut exchange = Exchange::start(acquired, &cluster, head).map_err(|_| CalloutFail::Upstream)?;
    let mut sent = false;
    let mut response: Option<(ResponseHead, Body)> = None;
    let mut read = BytesMut::new();
    let mut trailers = HeaderMap::new();
    poll_fn(|cx| {
        if !sent && exchange.sender.poll_send(cx, &mut body, &mut |_: &Bytes| {}).is_ready() {
            sent = true;
        }
        let (_, body) = match &mut response {
            Some(response) => response,
            none => {
                let head = ready!(exchange.receiver.poll_head(cx)).map_err(|_| CalloutFail::Upstream)?;
                none.insert(head)
            }
        };
        loop {
            match ready!(body.poll_frame(cx)).map_err(|_| CalloutFail::Upstream)? {
                Frame::Data(data) if read.len() + data.len() > MAX_ANSWER => {
                    return Poll::Ready(Err(CalloutFail::TooLarge));
                }
                Frame::Data(data) => read.extend_from_slice(&data),
                Frame::Trailers(found) => {
                    trailers = found;
                    return Poll::Ready(Ok(()));
                }
                Frame::End => return Poll::Ready(Ok(())),
            }
        }
    })
    .await?;
    let (head, _) = response.ok_or(CalloutFail::Upstream)?;
    let mut headers = head.headers;
    // gRPC says in the trailers how it went.
    trailers.into_iter().for_each(|(name, value)| {
        if let Some(name) = name {
            headers.insert(name, value);
        }
    });
    Ok(Answer { status: head.status, headers, body: read.freeze() })
}
