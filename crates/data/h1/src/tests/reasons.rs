//! What is answered and logged. The words are in access logs and dashboards.

use super::*;

#[test]
fn a_refused_request_is_answered_and_logged_by_its_reason() {
    for (reason, status, details) in [
        (Reject::HeadTooLarge, 431, "http1.headers_too_large"),
        (Reject::TooManyHeaders, 431, "http1.too_many_headers"),
        (Reject::BareLf, 400, "http1.bare_lf"),
        (Reject::BareCr, 400, "http1.bare_cr"),
        (Reject::StartLine, 400, "http1.invalid_start_line"),
        (Reject::Method, 400, "http1.invalid_method"),
        (Reject::Target, 400, "http1.invalid_url"),
        (Reject::Version, 505, "http1.invalid_version"),
        (Reject::HeaderName, 400, "http1.invalid_header_name"),
        (Reject::HeaderValue, 400, "http1.invalid_characters"),
        (Reject::ObsFold, 400, "http1.obsolete_line_folding"),
        (Reject::HostMissing, 400, "missing_host_header"),
        (Reject::HostRepeated, 400, "http1.multiple_hosts"),
        (Reject::Host, 400, "http1.invalid_host"),
        (Reject::ContentLength, 400, "http1.invalid_content_length"),
        (Reject::ContentLengthRepeated, 400, "http1.multiple_content_length"),
        (Reject::TransferEncoding, 501, "http1.invalid_transfer_encoding"),
        (Reject::TransferEncodingHttp10, 400, "http1.transfer_encoding_in_http10"),
        (Reject::LengthAndEncoding, 400, "http1.content_length_and_chunked_not_allowed"),
        (Reject::Status, 400, "http1.invalid_status"),
    ] {
        assert_eq!((reason.status(), reason.details()), (status, details));
    }
}

#[test]
fn a_broken_body_is_logged_by_its_reason() {
    for (reason, details) in [
        (BodyError::ChunkSize, "http1.invalid_chunk_size"),
        (BodyError::ChunkLineTooLarge, "http1.chunk_line_too_large"),
        (BodyError::ChunkEnd, "http1.invalid_chunk_end"),
        (BodyError::Trailer, "http1.invalid_trailer"),
        (BodyError::TrailerTooLarge, "http1.trailers_too_large"),
        (BodyError::UnexpectedEof, "http1.unexpected_eof"),
    ] {
        assert_eq!(reason.details(), details);
    }
}
