//! Sizes, times and numbers that bound streams.

use std::time::Duration;

/// Largest request that is read: names of all clusters of a large mesh fit in.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024 * 1024;

/// How long a response may wait for a slow proxy before its stream is closed (`PILOT_XDS_SEND_TIMEOUT`).
pub const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a push waits for the answer to the one before (`PILOT_XDS_FLOW_CONTROL_TIMEOUT`).
pub const ACK_TIMEOUT: Duration = Duration::from_secs(15);

/// Responses on their way between a stream's task and its socket.
pub(super) const RESPONSES: usize = 4;

/// Streams that are served at the same time over all proxies.
pub const MAX_STREAMS: usize = 20_000;
