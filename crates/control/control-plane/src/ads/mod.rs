//! xDS for proxies: aggregated discovery, delta and state-of-the-world, over gRPC (docs/reference/istiod.md).
//!
//! One task per stream owns the stream's state machine. It wakes for requests and when the boards of its proxy differ
//! (`publish`), and sends the names that do in the order CDS, EDS, LDS, RDS, VHDS, SDS. Streams share nothing but the
//! boards, where what they send has been made already.

mod connections;
mod limits;
mod pending;
mod running;
mod secrets;
mod service;
mod session;
mod stream;
mod task;

pub use connections::{Connection, Connections, TypeStatus};
pub use limits::{ACK_TIMEOUT, MAX_REQUEST_BYTES, MAX_STREAMS, SEND_TIMEOUT};
pub use secrets::SecretSource;
pub use service::AdsService;
