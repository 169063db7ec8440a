//! Pieces of bodies, and why a body ends early.

use bytes::Bytes;
use http::HeaderMap;

pub(crate) use portolan_dataplane_config::message::Trailers;

/// A piece of a body.
#[derive(Debug)]
pub(crate) enum Frame {
    Data(Bytes),
    /// The body ended with trailers.
    Trailers(HeaderMap),
    /// The body ended.
    End,
}

impl Frame {
    /// The frame, or the end of the body in place of trailers that do not pass.
    pub(crate) fn with(self, trailers: Trailers) -> Frame {
        match (trailers, self) {
            (Trailers::Drop, Frame::Trailers(_)) => Frame::End,
            (_, frame) => frame,
        }
    }
}

/// Why a body ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFail {
    /// The connection ended.
    Reset,
    /// The peer reset the stream.
    StreamReset,
    /// The peer broke the framing.
    Protocol(portolan_h1::BodyError),
}
