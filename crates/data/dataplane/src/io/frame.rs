//! Pieces of bodies, and why a body ends early.

use bytes::Bytes;
use http::HeaderMap;

use crate::pb::core;

/// A piece of a body.
#[derive(Debug)]
pub(crate) enum Frame {
    Data(Bytes),
    /// The body ended with trailers.
    Trailers(HeaderMap),
    /// The body ended.
    End,
}

/// Whether trailers of HTTP/1 pass (`enable_trailers`). They are read in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trailers {
    Pass,
    Drop,
}

impl Trailers {
    pub(crate) fn of(options: Option<&core::Http1ProtocolOptions>) -> Self {
        if options.is_some_and(|options| options.enable_trailers) { Trailers::Pass } else { Trailers::Drop }
    }

    /// The frame, or the end of the body in place of trailers that do not pass.
    pub(crate) fn filter(self, frame: Frame) -> Frame {
        match (self, frame) {
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
