//! How an HTTP/2 connection to a host begins, and what the host may make us hold.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;

use crate::io::metered::Metered;
use crate::io::stream::Stream;

/// Receive window of a stream: what a slow client may make us hold per request.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Receive window of a connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Largest response head (Envoy: 60 KiB).
const MAX_HEADER_LIST: u32 = 60 * 1024;
/// Largest frame accepted.
const MAX_FRAME: u32 = 64 * 1024;
/// Bytes queued in a stream towards a slow peer.
const MAX_SEND_BUFFER: usize = 256 * 1024;

/// Starts a connection and its driver task within `limit`. `meter` is told of bytes read and written, `ended` that a
/// connection which came to be is over.
pub(crate) async fn handshake(
    stream: Stream,
    limit: Duration,
    meter: impl Fn(u64, u64) + Unpin + 'static,
    ended: impl FnOnce() + 'static,
) -> Result<SendRequest<Bytes>, h2::Error> {
    let handshake = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_frame_size(MAX_FRAME)
        .max_send_buffer_size(MAX_SEND_BUFFER)
        .enable_push(false)
        .handshake::<_, Bytes>(Metered::new(stream, meter));
    let Ok(done) = tokio::time::timeout(limit, handshake).await else {
        return Err(h2::Reason::SETTINGS_TIMEOUT.into());
    };
    let (send, connection) = done?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "upstream HTTP/2 connection ended");
        }
        ended();
    });
    Ok(send)
}
