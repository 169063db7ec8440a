//! HTTP/1.x without I/O: bytes in, requests, responses and bodies out, and the way back.
//!
//! It exists beside hyper because a proxy must see what is wrong with a malformed message (access log,
//! statistics, local reply) and must frame by the letter of RFC 9112: whenever two readings of a message are
//! possible it is refused, never repaired (RFC 9112, RFC 9112).
//!
//! Invariants:
//! - the result does not depend on how the input was split into reads;
//! - nothing is kept beyond the limits in [`Limits`] and the constants of [`limits`];
//! - no input makes a function panic.

mod body;
mod encode;
mod error;
mod fields;
mod framing;
pub mod limits;
mod request;
mod response;
mod scan;

pub use body::{BodyDecoder, Decoded};
pub use encode::{
    BodyLength, EncodeError, HeaderCase, encode_chunk_head, encode_last_chunk, encode_request_head,
    encode_response_head,
};
pub use error::{BodyError, Reject};
pub use fields::{connection_has, connection_tokens, is_forbidden_trailer, is_valid_authority};
pub use framing::BodyFraming;
pub use limits::Limits;
pub use request::{RequestHead, RequestParser, Target};
pub use response::{ResponseHead, ResponseParser};

/// The two versions of the 1.x family that are accepted. Any other minor version is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

impl Version {
    /// As the `http` crate says it.
    pub fn to_http(self) -> http::Version {
        match self {
            Version::Http10 => http::Version::HTTP_10,
            Version::Http11 => http::Version::HTTP_11,
        }
    }
}

#[cfg(test)]
mod tests;
