//! Bodies of either direction.

mod chunked;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::error::BodyError;
use crate::framing::BodyFraming;
use chunked::ChunkedDecoder;

/// One step of decoding.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded {
    /// Nothing more can be said without more input.
    NeedMore,
    /// Some bytes of the body, never empty.
    Data(Bytes),
    /// The body ended with these trailers, never empty.
    Trailers(HeaderMap),
    /// The body ended. Returned again on further calls.
    End,
}

/// Decodes one body from a growing buffer.
#[derive(Debug)]
pub struct BodyDecoder(Kind);

#[derive(Debug)]
enum Kind {
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

impl BodyDecoder {
    /// A decoder for a body with this framing.
    pub fn new(framing: BodyFraming) -> Self {
        BodyDecoder(match framing {
            BodyFraming::None => Kind::Length(0),
            BodyFraming::Length(length) => Kind::Length(length),
            BodyFraming::Chunked => Kind::Chunked(ChunkedDecoder::new()),
            BodyFraming::UntilClose => Kind::UntilClose,
        })
    }

    /// Takes the next piece from the front of `src`. After an error the connection can not be used further.
    pub fn decode(&mut self, src: &mut BytesMut) -> Result<Decoded, BodyError> {
        match &mut self.0 {
            Kind::Length(0) => Ok(Decoded::End),
            Kind::Length(left) => {
                if src.is_empty() {
                    return Ok(Decoded::NeedMore);
                }
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(src.len());
                *left -= take as u64;
                Ok(Decoded::Data(src.split_to(take).freeze()))
            }
            Kind::Chunked(decoder) => decoder.decode(src),
            Kind::UntilClose if src.is_empty() => Ok(Decoded::NeedMore),
            Kind::UntilClose => Ok(Decoded::Data(src.split().freeze())),
        }
    }

    /// The peer sent its last byte: `Ok` when that is a valid end of this body.
    pub fn finish(&mut self) -> Result<(), BodyError> {
        match self.0 {
            Kind::UntilClose => {
                self.0 = Kind::Length(0);
                Ok(())
            }
            _ if self.is_done() => Ok(()),
            _ => Err(BodyError::UnexpectedEof),
        }
    }

    /// Whether everything was read, so that the next bytes belong to the next message.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            Kind::Length(left) => *left == 0,
            Kind::Chunked(decoder) => decoder.is_done(),
            Kind::UntilClose => false,
        }
    }

    /// Bytes of the body that are still to come, when the framing says it.
    pub fn remaining(&self) -> Option<u64> {
        match &self.0 {
            Kind::Length(left) => Some(*left),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(input: &[u8]) -> Result<(Vec<u8>, bool, HeaderMap), BodyError> {
        let mut src = BytesMut::from(input);
        let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
        let (mut data, mut trailers) = (Vec::new(), HeaderMap::new());
        loop {
            match decoder.decode(&mut src)? {
                Decoded::NeedMore => return Ok((data, false, trailers)),
                Decoded::Data(bytes) => data.extend_from_slice(&bytes),
                Decoded::Trailers(fields) => trailers = fields,
                Decoded::End => return Ok((data, true, trailers)),
            }
        }
    }

    #[test]
    fn chunks_and_trailers() {
        let (data, done, trailers) =
            all(b"3;a=b\r\nabc\r\n00A\r\n0123456789\r\n0\r\nX-T: 1\r\nContent-Length: 9\r\n\r\n").unwrap();
        assert_eq!(data, b"abc0123456789");
        assert!(done);
        assert_eq!(trailers.len(), 1);
        assert_eq!(trailers["x-t"], "1");
    }

    #[test]
    fn malformed_chunks() {
        for input in [
            &b"0x3\r\nabc\r\n0\r\n\r\n"[..],
            b"+3\r\nabc\r\n",
            b"-1\r\n",
            b" 3\r\nabc\r\n",
            b"3 \r\nabc\r\n",
            b"3\nabc\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabcX\r\n",
            b"3;\rx\r\nabc\r\n",
            b"3;a\0\r\nabc\r\n",
            b"0_2e\r\n",
            b"\r\n0\r\n\r\n",
            b"ffffffffffffffff\r\n",
            b"0\r\nbad trailer\r\n\r\n",
            b"0\r\n X: folded\r\n\r\n",
            b"0\r\nX: a\n\r\n",
            b"zz",
        ] {
            assert!(all(input).is_err(), "{:?}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn refused_trailers_do_not_end_a_body() {
        for section in ["X\r\n\r\n", " X: a\r\n\r\n", "X: \0\r\n\r\n"] {
            let mut src = BytesMut::from(format!("0\r\n{section}").as_bytes());
            let mut decoder = BodyDecoder::new(BodyFraming::Chunked);
            assert_eq!(decoder.decode(&mut src), Err(BodyError::Trailer), "{section:?}");
            assert!(!decoder.is_done(), "{section:?}");
        }
    }

    #[test]
    fn the_reason_does_not_depend_on_reads() {
        let long = "x".repeat(17 * 1024);
        for (input, reason) in [
            (format!("3x{long}\r\n"), BodyError::ChunkSize),
            (format!("3;{long}\n"), BodyError::ChunkLineTooLarge),
            (format!("0\r\nX: {long}\n"), BodyError::TrailerTooLarge),
        ] {
            assert_eq!(all(input.as_bytes()).err(), Some(reason));
            let (mut src, mut decoder) = (BytesMut::new(), BodyDecoder::new(BodyFraming::Chunked));
            let split = input.bytes().find_map(|byte| {
                src.extend_from_slice(&[byte]);
                decoder.decode(&mut src).err()
            });
            assert_eq!(split, Some(reason));
        }
    }

    #[test]
    fn chunk_extensions_are_bounded() {
        let mut input = Vec::new();
        for _ in 0..20 {
            input.extend_from_slice(format!("1;{}\r\na\r\n", "x".repeat(1000)).as_bytes());
        }
        assert_eq!(all(&input).err(), Some(BodyError::ChunkLineTooLarge));
        assert_eq!(
            all(format!("1;{}", "x".repeat(5000)).as_bytes()).err(),
            Some(BodyError::ChunkLineTooLarge)
        );
        assert_eq!(
            all(format!("0\r\nX: {}", "x".repeat(17 * 1024)).as_bytes()).err(),
            Some(BodyError::TrailerTooLarge)
        );
    }

    #[test]
    fn length_leaves_the_rest() {
        let mut src = BytesMut::from(&b"abcdef"[..]);
        let mut decoder = BodyDecoder::new(BodyFraming::Length(4));
        assert_eq!(decoder.decode(&mut src), Ok(Decoded::Data(Bytes::from_static(b"abcd"))));
        assert_eq!(decoder.decode(&mut src), Ok(Decoded::End));
        assert_eq!(&src[..], b"ef");
    }

    #[test]
    fn end_of_input() {
        assert_eq!(BodyDecoder::new(BodyFraming::Length(4)).finish(), Err(BodyError::UnexpectedEof));
        assert_eq!(BodyDecoder::new(BodyFraming::Chunked).finish(), Err(BodyError::UnexpectedEof));
        assert_eq!(BodyDecoder::new(BodyFraming::UntilClose).finish(), Ok(()));
        assert_eq!(BodyDecoder::new(BodyFraming::None).finish(), Ok(()));
    }
}
