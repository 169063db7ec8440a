//! A body, or a part of one, at a filter.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

/// Pieces of a body in order, and its end if that was seen.
#[derive(Debug, Default)]
pub struct Held {
    pieces: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    end: bool,
}

impl Held {
    /// One piece.
    pub fn data(data: Bytes) -> Self {
        Held { pieces: VecDeque::from([data]), ..Held::default() }
    }

    /// The end, with trailers or without.
    pub fn end(trailers: Option<HeaderMap>) -> Self {
        Held { trailers, end: true, ..Held::default() }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether there is neither data nor an end.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && !self.end
    }

    /// Whether nothing follows.
    pub fn is_end(&self) -> bool {
        self.end
    }

    /// The trailers, once the end was seen; they may be changed, added and removed.
    pub fn trailers_mut(&mut self) -> &mut Option<HeaderMap> {
        &mut self.trailers
    }

    /// All bytes in one piece.
    pub fn bytes(&mut self) -> Bytes {
        if self.pieces.len() > 1 {
            let mut all = BytesMut::with_capacity(self.len());
            self.pieces.drain(..).for_each(|piece| all.extend_from_slice(&piece));
            self.pieces.push_back(all.freeze());
        }
        self.pieces.front().cloned().unwrap_or_default()
    }

    /// Puts other bytes in the place of these.
    pub fn replace(&mut self, data: impl Into<Bytes>) {
        self.pieces.clear();
        let data = data.into();
        // An empty piece would end a chunked body.
        if !data.is_empty() {
            self.pieces.push_back(data);
        }
    }

    /// Adds what came later.
    pub(super) fn append(&mut self, later: Held) {
        self.pieces.extend(later.pieces);
        if later.end {
            self.end = true;
            self.trailers = later.trailers;
        }
    }

    /// The next piece, in front.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.pieces.pop_front()
    }

    /// The pieces and the trailers.
    pub fn into_parts(self) -> (VecDeque<Bytes>, Option<HeaderMap>) {
        (self.pieces, self.trailers)
    }
}
