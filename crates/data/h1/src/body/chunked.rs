//! The chunked coding (RFC 9112 7.1).

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::Decoded;
use crate::error::{BodyError, Reject};
use crate::fields;
use crate::limits::{
    MAX_CHUNK_EXTENSION_BYTES, MAX_CHUNK_LINE_BYTES, MAX_CHUNK_SIZE_DIGITS, MAX_TRAILER_BYTES, MAX_TRAILERS,
};
use crate::scan::HeadScanner;

#[derive(Debug)]
enum State {
    /// Before or within a chunk-size line; how much of the line was searched for its end.
    SizeLine { scanned: usize },
    /// Within the data of a chunk.
    Data { left: u64 },
    /// Before the CRLF after the data.
    DataEnd,
    /// Within the trailer section.
    Trailers(HeadScanner),
    /// After the end.
    Done,
}

/// Decodes one chunked body.
#[derive(Debug)]
pub(crate) struct ChunkedDecoder {
    state: State,
    extension_bytes: usize,
}

impl ChunkedDecoder {
    pub(crate) fn new() -> Self {
        ChunkedDecoder { state: State::SizeLine { scanned: 0 }, extension_bytes: 0 }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    pub(crate) fn decode(&mut self, src: &mut BytesMut) -> Result<Decoded, BodyError> {
        loop {
            match &mut self.state {
                State::SizeLine { scanned } => {
                    // Digits are checked before the line is complete, so that garbage fails at once.
                    check_size_prefix(src)?;
                    let Some(end) = find_line_end(src, scanned)? else { return Ok(Decoded::NeedMore) };
                    let (size, extension) = parse_size_line(&src[..end])?;
                    self.extension_bytes += extension;
                    if self.extension_bytes > MAX_CHUNK_EXTENSION_BYTES {
                        return Err(BodyError::ChunkLineTooLarge);
                    }
                    src.advance(end + 2);
                    self.state = if size == 0 {
                        State::Trailers(HeadScanner::default())
                    } else {
                        State::Data { left: size }
                    };
                }
                State::Data { left } => {
                    if src.is_empty() {
                        return Ok(Decoded::NeedMore);
                    }
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(src.len());
                    let data = src.split_to(take).freeze();
                    *left -= take as u64;
                    if *left == 0 {
                        self.state = State::DataEnd;
                    }
                    return Ok(Decoded::Data(data));
                }
                State::DataEnd => match src.as_ref() {
                    [] | [b'\r'] => return Ok(Decoded::NeedMore),
                    [b'\r', b'\n', ..] => {
                        src.advance(2);
                        self.state = State::SizeLine { scanned: 0 };
                    }
                    _ => return Err(BodyError::ChunkEnd),
                },
                State::Trailers(scanner) => {
                    let length = match scanner.find_end(src, MAX_TRAILER_BYTES) {
                        Ok(Some(length)) => length,
                        Ok(None) => return Ok(Decoded::NeedMore),
                        Err(Reject::HeadTooLarge) => return Err(BodyError::TrailerTooLarge),
                        Err(_) => return Err(BodyError::Trailer),
                    };
                    let trailers = parse_trailers(&src.split_to(length).freeze())?;
                    // Only now: a body whose trailers were refused never ended.
                    self.state = State::Done;
                    return Ok(if trailers.is_empty() { Decoded::End } else { Decoded::Trailers(trailers) });
                }
                State::Done => return Ok(Decoded::End),
            }
        }
    }
}

/// Position of the CR of the CRLF that ends the line at the front of `src`.
fn find_line_end(src: &[u8], scanned: &mut usize) -> Result<Option<usize>, BodyError> {
    let Some(offset) = src.get(*scanned..).and_then(|rest| memchr::memchr2(b'\r', b'\n', rest)) else {
        *scanned = src.len();
        return if src.len() > MAX_CHUNK_LINE_BYTES { Err(BodyError::ChunkLineTooLarge) } else { Ok(None) };
    };
    let at = *scanned + offset;
    if at > MAX_CHUNK_LINE_BYTES {
        return Err(BodyError::ChunkLineTooLarge);
    }
    match (src.get(at), src.get(at + 1)) {
        (Some(b'\r'), None) => {
            *scanned = at;
            Ok(None)
        }
        (Some(b'\r'), Some(b'\n')) => Ok(Some(at)),
        _ => Err(BodyError::ChunkSize),
    }
}

fn check_size_prefix(src: &[u8]) -> Result<(), BodyError> {
    for (at, byte) in src.iter().take(MAX_CHUNK_SIZE_DIGITS + 1).enumerate() {
        match byte {
            b';' | b'\r' if at > 0 => return Ok(()),
            byte if byte.is_ascii_hexdigit() && at < MAX_CHUNK_SIZE_DIGITS => {}
            _ => return Err(BodyError::ChunkSize),
        }
    }
    Ok(())
}

/// Size and number of extension bytes. Nothing but a semicolon may follow the digits: the optional white
/// space of old senders is what parsers disagree on.
fn parse_size_line(line: &[u8]) -> Result<(u64, usize), BodyError> {
    // `check_size_prefix` has seen that there are some, and not too many.
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (number, extension) = line.split_at(digits);
    match extension.first() {
        None | Some(b';') => {}
        Some(_) => return Err(BodyError::ChunkSize),
    }
    if extension.iter().any(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f) {
        return Err(BodyError::ChunkSize);
    }
    let text = std::str::from_utf8(number).map_err(|_| BodyError::ChunkSize)?;
    let size = u64::from_str_radix(text, 16).map_err(|_| BodyError::ChunkSize)?;
    Ok((size, extension.len()))
}

fn parse_trailers(section: &Bytes) -> Result<HeaderMap, BodyError> {
    if section.len() == 2 {
        return Ok(HeaderMap::new());
    }
    if matches!(section.first(), Some(b' ' | b'\t')) || fields::has_fold(section) {
        return Err(BodyError::Trailer);
    }
    let mut table = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    let parsed = match httparse::parse_headers(section, &mut table) {
        Ok(httparse::Status::Complete((length, parsed))) if length == section.len() => parsed,
        Err(httparse::Error::TooManyHeaders) => return Err(BodyError::TrailerTooLarge),
        _ => return Err(BodyError::Trailer),
    };
    let all = fields::collect(section, parsed).map_err(|_| BodyError::Trailer)?;
    let mut kept = HeaderMap::with_capacity(all.len());
    for (name, value) in &all {
        if !fields::is_forbidden_trailer(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    Ok(kept)
}
