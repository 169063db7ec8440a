//! All limits of the codec.

/// Largest request or response head: Envoy's default `max_request_headers_kb`.
pub const MAX_HEAD_BYTES: usize = 60 * 1024;
/// Most field lines in a head: Envoy's default `max_headers_count`.
pub const MAX_HEADERS: usize = 100;
/// Ceiling for a configured `max_headers_count`: the parser's table is on the stack.
pub const MAX_HEADERS_CEILING: usize = 256;
/// Empty lines that are skipped before a request line (RFC 9112 2.2 asks for at least one).
pub const MAX_LEADING_EMPTY_LINES: usize = 4;
/// Longest method; the longest registered one (`UPDATEREDIRECTREF`) has 17 bytes.
pub const MAX_METHOD_BYTES: usize = 32;
/// Longest chunk-size line with its extensions.
pub const MAX_CHUNK_LINE_BYTES: usize = 4 * 1024;
/// Chunk extension bytes of one message, all chunks together: they are read and thrown away, so a sender
/// that hides much behind them only wants to burn our time.
pub const MAX_CHUNK_EXTENSION_BYTES: usize = 16 * 1024;
/// Most hex digits of a chunk size; 15 can not overflow a `u64`.
pub const MAX_CHUNK_SIZE_DIGITS: usize = 15;
/// Largest trailer section.
pub const MAX_TRAILER_BYTES: usize = 16 * 1024;
/// Most trailer fields.
pub const MAX_TRAILERS: usize = 64;
/// Longest `Host` / authority: a DNS name has at most 253 bytes, plus brackets, colon and port.
pub const MAX_AUTHORITY_BYTES: usize = 262;

/// Limits that a configuration may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest head in bytes.
    pub head_bytes: usize,
    /// Most field lines; values above [`MAX_HEADERS_CEILING`] are cut to it.
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { head_bytes: MAX_HEAD_BYTES, headers: MAX_HEADERS }
    }
}
