//! Why an exchange with a host failed.

use crate::io::BodyFail;

/// Why a request could not be sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendFail {
    /// The client stopped or broke its framing.
    Downstream(BodyFail),
    /// The host stopped reading; an answer may still come.
    Upstream,
}

/// Why there is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpstreamFail {
    /// The connection ended.
    Closed,
    /// The stream was reset.
    Reset,
    /// The stream was refused before any work.
    Refused,
    /// The response is malformed.
    Protocol,
}
