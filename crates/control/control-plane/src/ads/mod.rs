//! xDS for proxies: aggregated discovery, delta and state-of-the-world, over gRPC (docs/reference/istiod.md).
//!
//! One task per stream owns the stream's state machine. It wakes for requests and for new snapshots, generates what
//! the proxy watches, and sends differences in the order CDS, EDS, LDS, RDS, SDS. Nothing is shared between streams but
//! the snapshot and the generator's cache.

mod connections;
mod limits;
mod resources;
mod secrets;
mod service;
mod session;
mod stream;

pub use connections::{Connection, Connections, TypeStatus};
pub use limits::{ACK_TIMEOUT, MAX_REQUEST_BYTES, MAX_STREAMS, SEND_TIMEOUT};
pub use resources::Resources;
pub use secrets::SecretSource;
pub use service::AdsService;
