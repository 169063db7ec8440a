//! The request body on its way up, kept as far as another try may need it.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};

use crate::message::Body;
use crate::upstream::exchange::Sender;
use crate::upstream::fail::SendFail;

/// Request bytes that are kept for another try or a mirror (Envoy: the connection's buffer limit, 1 MiB). A longer
/// request is sent once.
pub(super) const MAX_REPLAY: usize = 1024 * 1024;

/// The request body on its way up, with what must be kept of it.
pub(super) struct Upload {
    pub(super) body: Body,
    pub(super) recorded: Vec<Bytes>,
    recorded_bytes: usize,
    record: bool,
    /// Most bytes that are kept.
    limit: usize,
    /// The kept pieces are complete from the start.
    pub(super) replayable: bool,
    /// All of it was sent.
    pub(super) done: bool,
    pub(super) bytes: u64,
}

impl Upload {
    pub(super) fn new(body: Body, record: bool, limit: usize) -> Self {
        Upload {
            body,
            recorded: Vec::new(),
            recorded_bytes: 0,
            record,
            limit,
            replayable: true,
            done: false,
            bytes: 0,
        }
    }

    pub(super) fn poll(&mut self, sender: &mut Sender, cx: &mut Context<'_>) -> Poll<Result<(), SendFail>> {
        let Upload { body, recorded, recorded_bytes, record, limit, replayable, bytes, .. } = self;
        let mut tap = |data: &Bytes| {
            *bytes += data.len() as u64;
            if !*replayable {
                return;
            }
            *recorded_bytes += data.len();
            if *record && *recorded_bytes <= *limit {
                recorded.push(data.clone());
            } else {
                *replayable = false;
                recorded.clear();
            }
        };
        sender.poll_send(cx, body, &mut tap)
    }

    /// Puts the kept pieces back in front of the rest.
    pub(super) fn rewind(&mut self) {
        let pieces = std::mem::take(&mut self.recorded).into();
        let rest = std::mem::take(&mut self.body);
        let rest = if self.done { Body::Empty } else { rest };
        self.body = Body::Replay(pieces, Box::new(rest));
        self.recorded_bytes = 0;
        self.bytes = 0;
        self.done = false;
    }
}

/// Whose fault it is that time ran out: the client's until its request is complete.
pub(super) fn timeout_status(upload: &Upload) -> StatusCode {
    if upload.done { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::REQUEST_TIMEOUT }
}

/// Body length to announce upstream: what the framing says, else what an HTTP/2 client declared.
pub(super) fn upload_length(upload: &Upload, headers: &HeaderMap) -> Option<u64> {
    upload.body.length().or_else(|| headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok())
}
