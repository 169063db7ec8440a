//! Why a message was refused.

/// Why a head was refused. Every reason means: answer with [`Reject::status`] if it was a request, then
/// close the connection, because what follows can not be told apart from the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Reject {
    /// Larger than `Limits::head_bytes`.
    #[error("head is larger than the limit")]
    HeadTooLarge,
    /// More field lines than `Limits::headers`.
    #[error("too many header fields")]
    TooManyHeaders,
    /// A line ended by LF without CR (RFC 9112 2.2).
    #[error("line feed without carriage return")]
    BareLf,
    /// CR that is not followed by LF.
    #[error("carriage return without line feed")]
    BareCr,
    /// The start line is not of the form that RFC 9112 3 or 4 asks for.
    #[error("malformed start line")]
    StartLine,
    /// Method is not a token or too long.
    #[error("malformed method")]
    Method,
    /// The request target has forbidden bytes or a form that its method does not allow.
    #[error("malformed request target")]
    Target,
    /// Not HTTP/1.0 or HTTP/1.1.
    #[error("unsupported HTTP version")]
    Version,
    /// Field name is not a token (includes white space before the colon).
    #[error("malformed header name")]
    HeaderName,
    /// Forbidden byte in a field value.
    #[error("malformed header value")]
    HeaderValue,
    /// Continuation line (RFC 9112 5.2).
    #[error("obsolete line folding")]
    ObsFold,
    /// No `Host` in an HTTP/1.1 request.
    #[error("missing Host header")]
    HostMissing,
    /// More than one `Host`.
    #[error("more than one Host header")]
    HostRepeated,
    /// `Host` or the authority of the target is malformed.
    #[error("malformed host")]
    Host,
    /// `Content-Length` is not one plain decimal number.
    #[error("malformed Content-Length")]
    ContentLength,
    /// More than one `Content-Length`, even when equal.
    #[error("more than one Content-Length")]
    ContentLengthRepeated,
    /// `Transfer-Encoding` is anything but one field with the one coding `chunked`.
    #[error("unsupported Transfer-Encoding")]
    TransferEncoding,
    /// `Transfer-Encoding` in an HTTP/1.0 message (RFC 9112 6.1).
    #[error("Transfer-Encoding in an HTTP/1.0 message")]
    TransferEncodingHttp10,
    /// Both `Content-Length` and `Transfer-Encoding` (RFC 9112 6.3).
    #[error("both Content-Length and Transfer-Encoding")]
    LengthAndEncoding,
    /// Status code out of 100..=599.
    #[error("malformed status code")]
    Status,
}

impl Reject {
    /// The status with which a server answers.
    pub fn status(self) -> u16 {
        match self {
            Reject::HeadTooLarge | Reject::TooManyHeaders => 431,
            Reject::Version => 505,
            Reject::TransferEncoding => 501,
            _ => 400,
        }
    }

    /// Stable word for logs and statistics (`%RESPONSE_CODE_DETAILS%`).
    pub fn details(self) -> &'static str {
        match self {
            Reject::HeadTooLarge => "http1.headers_too_large",
            Reject::TooManyHeaders => "http1.too_many_headers",
            Reject::BareLf => "http1.bare_lf",
            Reject::BareCr => "http1.bare_cr",
            Reject::StartLine => "http1.invalid_start_line",
            Reject::Method => "http1.invalid_method",
            Reject::Target => "http1.invalid_url",
            Reject::Version => "http1.invalid_version",
            Reject::HeaderName => "http1.invalid_header_name",
            Reject::HeaderValue => "http1.invalid_characters",
            Reject::ObsFold => "http1.obsolete_line_folding",
            Reject::HostMissing => "missing_host_header",
            Reject::HostRepeated => "http1.multiple_hosts",
            Reject::Host => "http1.invalid_host",
            Reject::ContentLength => "http1.invalid_content_length",
            Reject::ContentLengthRepeated => "http1.multiple_content_length",
            Reject::TransferEncoding => "http1.invalid_transfer_encoding",
            Reject::TransferEncodingHttp10 => "http1.transfer_encoding_in_http10",
            Reject::LengthAndEncoding => "http1.content_length_and_chunked_not_allowed",
            Reject::Status => "http1.invalid_status",
        }
    }
}

/// Why a body could not be read further. The connection is lost for HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The chunk size line is malformed.
    #[error("malformed chunk size")]
    ChunkSize,
    /// A chunk line or its extensions are larger than the limits.
    #[error("chunk line is larger than the limit")]
    ChunkLineTooLarge,
    /// The data of a chunk is not followed by CRLF.
    #[error("chunk data is not followed by CRLF")]
    ChunkEnd,
    /// The trailer section is malformed.
    #[error("malformed trailer field")]
    Trailer,
    /// The trailer section is larger than the limits.
    #[error("trailer section is larger than the limit")]
    TrailerTooLarge,
    /// The connection ended within the body.
    #[error("connection ended within the body")]
    UnexpectedEof,
}

impl BodyError {
    /// Stable word for logs and statistics.
    pub fn details(self) -> &'static str {
        match self {
            BodyError::ChunkSize => "http1.invalid_chunk_size",
            BodyError::ChunkLineTooLarge => "http1.chunk_line_too_large",
            BodyError::ChunkEnd => "http1.invalid_chunk_end",
            BodyError::Trailer => "http1.invalid_trailer",
            BodyError::TrailerTooLarge => "http1.trailers_too_large",
            BodyError::UnexpectedEof => "http1.unexpected_eof",
        }
    }
}
