//! Every limit of the server, in one place.

use std::time::Duration;

/// Bytes of a request body: what a Kubernetes API server takes.
pub const MAX_BODY: usize = 3 << 20;
/// Bytes of a request's head, on HTTP/1.1 and (as a header list) on HTTP/2.
pub const MAX_HEAD: usize = 64 << 10;
/// Header fields of a request on HTTP/1.1.
pub const MAX_HEADERS: usize = 100;
/// Streams that one HTTP/2 connection may have open.
pub const MAX_STREAMS: u32 = 250;
/// Connections that are open at once.
pub const MAX_CONNECTIONS: usize = 4096;
/// Connections that have proved no identity and one source address may have open: they are closed, the longest idle ones
/// first, before anybody else is kept waiting.
pub const MAX_ANONYMOUS_PER_ADDRESS: usize = 256;
/// Ordinary requests in work at once; more are answered 429.
pub const MAX_IN_FLIGHT: usize = 400;
/// Watches and log streams open at once; more are answered 429.
pub const MAX_LONG_RUNNING: usize = 4096;
/// Time for the TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a request's head to arrive.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for an ordinary request, body included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection without a request for this long is closed.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Time that requests in work get when the server stops.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// A watch that names no `timeoutSeconds` ends between this and twice this.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(1800);
/// Time between bookmarks of a quiet watch.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(50);
/// A deleted CRD whose objects are held by finalizers is looked at this often.
pub const CLEANUP_INTERVAL: Duration = Duration::from_secs(1);
/// Attempts of a patch or an unconditional update that keeps meeting newer versions.
pub const MAX_CONFLICT_RETRIES: usize = 16;
/// Attempts to find a free generated name.
pub const MAX_NAME_ATTEMPTS: usize = 8;
/// Objects in a list answer for which the client named no limit are all sent; a named limit is at most this.
pub const MAX_PAGE: usize = 100_000;
/// The longest lifetime of a ServiceAccount token.
pub const MAX_TOKEN_SECONDS: i64 = 48 * 3600;
/// The shortest lifetime that a TokenRequest may ask for.
pub const MIN_TOKEN_SECONDS: i64 = 600;
/// The lifetime of a token for which none was asked.
pub const DEFAULT_TOKEN_SECONDS: i64 = 3600;
/// Bytes of an admission webhook's answer.
pub const MAX_WEBHOOK_ANSWER: usize = 3 << 20;
/// The default of a webhook's `timeoutSeconds`.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines that a log request may ask for by `tailLines`.
pub const MAX_TAIL_LINES: u64 = 1_000_000;
/// Bytes of a body, or of an object that a patch is for, from which on a request is carried out off the async workers.
pub const HEAVY: usize = 32 << 10;
/// Heavy requests in work at once; others wait for their turn, within [`REQUEST_TIMEOUT`].
pub const MAX_HEAVY: usize = 16;
/// `Warning` fields of one answer. Clients stop reading at 100 header fields.
pub const MAX_WARNINGS: usize = 40;
/// Bytes of one `Warning` field.
pub const MAX_WARNING: usize = 1024;
/// Bytes of all `Warning` fields of one answer.
pub const MAX_WARNINGS_TOTAL: usize = 8 << 10;
/// Watches and log streams that one user may have open; more are answered 429. A node or a controller has some
/// twenty.
pub const MAX_LONG_RUNNING_PER_USER: usize = 500;
