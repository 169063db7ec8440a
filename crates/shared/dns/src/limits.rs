//! Every limit of the name service.

use std::time::Duration;

/// Questions over UDP that are being worked on; more are dropped, and their clients ask again.
pub const MAX_QUESTIONS: usize = 1024;
/// Open TCP connections; more wait in the listener's queue.
pub const MAX_CONNECTIONS: usize = 128;
/// Largest question. Real ones have less than 300 bytes.
pub const MAX_QUESTION: usize = 4096;
/// Largest datagram that is sent or taken, whatever a client offers (EDNS, RFC 6891 6.2.5).
pub const MAX_DATAGRAM: usize = 4096;
/// Largest datagram without EDNS (RFC 1035 2.3.4).
pub const PLAIN_DATAGRAM: usize = 512;
/// How long a TCP connection may be silent, and how long a client may take to read an answer.
pub const TCP_IDLE: Duration = Duration::from_secs(10);
/// Pause after a socket failed (too many open files), so that the loop does not spin.
pub const ERROR_PAUSE: Duration = Duration::from_millis(50);
/// Aliases that are followed for one question.
pub const MAX_ALIASES: usize = 4;
/// How long one server behind may take.
pub const FORWARD_TIMEOUT: Duration = Duration::from_secs(2);
/// Servers behind that are used, as in the C library (`MAXNS` of resolv.conf(5)).
pub const MAX_SERVERS: usize = 3;
/// Search domains that are used, as many as the C library once did (resolv.conf(5)); lists of Pods have three to six.
pub const MAX_SEARCH: usize = 32;
/// Lines of a hosts text; the rest is ignored.
pub const MAX_HOST_LINES: usize = 10_000;
