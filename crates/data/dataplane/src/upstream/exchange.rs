//! One request to one upstream host and its response, whatever the codec.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use portolan_h1::Limits;

use super::cluster::Cluster;
use super::fail::{SendFail, UpstreamFail};
use super::h1_client::{self, H1Receiver, H1Sender};
use super::h2_client::{H2Receiver, H2Sender};
use super::pool::{Acquired, H2Lease};
use crate::message::{Body, ResponseHead};

/// Largest response head (Envoy's HTTP/1 client takes 80 KiB).
const MAX_RESPONSE_HEAD: usize = 80 * 1024;

/// The sending half.
#[derive(Debug)]
pub(crate) enum Sender {
    H1(H1Sender),
    H2(H2Sender),
}

/// The receiving half.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one per request in flight; a box would cost an allocation each"
)]
pub(crate) enum Receiver {
    H1(H1Receiver),
    H2(H2Receiver),
}

/// Both halves and facts about the connection.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) principal: Option<Arc<str>>,
}

/// What is sent.
pub(crate) struct OutgoingHead<'a> {
    pub(crate) method: &'a Method,
    pub(crate) scheme: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) path: &'a str,
    /// Changed as the connection needs it; another attempt may start from the result.
    pub(crate) headers: &'a mut HeaderMap,
    /// There will be no other attempt: the fields may be taken.
    pub(crate) last: bool,
    /// Body length if known.
    pub(crate) length: Option<u64>,
    /// Value of `Upgrade` for an HTTP/1 upgrade.
    pub(crate) upgrade: Option<&'a str>,
}

impl Exchange {
    /// Queues the head on the acquired connection.
    pub(crate) fn start(
        acquired: Acquired,
        cluster: &Arc<Cluster>,
        head: OutgoingHead<'_>,
    ) -> Result<Self, UpstreamFail> {
        match acquired {
            Acquired::H1(connection, pool) => {
                let (local, principal) = (connection.local, connection.principal.clone());
                let host = HeaderValue::from_str(head.authority).map_err(|_| UpstreamFail::Protocol)?;
                head.headers.insert(header::HOST, host);
                if let Some(upgrade) = head.upgrade {
                    let upgrade = HeaderValue::from_str(upgrade).map_err(|_| UpstreamFail::Protocol)?;
                    head.headers.insert(header::UPGRADE, upgrade);
                    head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
                }
                let limits =
                    Limits { headers: cluster.config.max_response_headers, head_bytes: MAX_RESPONSE_HEAD };
                let (sender, receiver) = h1_client::start(
                    connection,
                    pool,
                    (head.method, head.path, head.headers),
                    head.length,
                    limits,
                    &cluster.config,
                )?;
                Ok(Exchange {
                    sender: Sender::H1(sender),
                    receiver: Receiver::H1(receiver),
                    local,
                    principal,
                })
            }
            Acquired::H2(lease) => Self::start_h2(lease, head),
        }
    }

    fn start_h2(lease: H2Lease, head: OutgoingHead<'_>) -> Result<Self, UpstreamFail> {
        let uri = Uri::builder()
            .scheme(head.scheme)
            .authority(head.authority)
            .path_and_query(head.path)
            .build()
            .map_err(|_| UpstreamFail::Protocol)?;
        let mut request = http::Request::new(());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = if head.last { std::mem::take(head.headers) } else { head.headers.clone() };
        // Left by an attempt over HTTP/1; here it is the authority.
        request.headers_mut().remove(header::HOST);
        let end = head.length == Some(0);
        if let (Some(length), false) = (head.length, end) {
            request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        let connection = lease.connection.clone();
        let sent = connection.send.borrow().clone().send_request(request, end);
        let (response, stream) = sent.map_err(|error| {
            if error.is_go_away() || error.is_io() {
                connection.closed.set(true);
            }
            // Nothing was sent.
            UpstreamFail::Refused
        })?;
        Ok(Exchange {
            sender: Sender::H2(H2Sender::new(stream, end)),
            receiver: Receiver::H2(H2Receiver::new(response, lease)),
            local: connection.local,
            principal: connection.principal.clone(),
        })
    }
}

impl Sender {
    /// Moves the request body on; ready when it is wholly sent.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        tap: &mut dyn FnMut(&Bytes),
    ) -> Poll<Result<(), SendFail>> {
        match self {
            Sender::H1(sender) => sender.poll_send(cx, body, tap),
            Sender::H2(sender) => sender.poll_send(cx, body, tap),
        }
    }

    /// Gives an unfinished request up.
    pub(crate) fn reset(&mut self) {
        if let Sender::H2(sender) = self {
            sender.stream.send_reset(h2::Reason::CANCEL);
        }
    }
}

impl Receiver {
    /// The response head and body.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(ResponseHead, Body), UpstreamFail>> {
        match self {
            Receiver::H1(receiver) => receiver.poll_head(cx),
            Receiver::H2(receiver) => receiver.poll_head(cx),
        }
    }

    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, Receiver::H1(receiver) if receiver.is_stale())
    }

    /// The next 1xx head that came in.
    pub(crate) fn take_interim(&mut self) -> Option<ResponseHead> {
        match self {
            Receiver::H1(receiver) => receiver.interim.pop_front(),
            Receiver::H2(receiver) => receiver.interim.pop_front(),
        }
    }
}
