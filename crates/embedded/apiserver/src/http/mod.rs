//! The HTTPS side: accepting connections, TLS with optional client certificates, HTTP/1.1 and HTTP/2.
//!
//! Knows nothing about Kubernetes: every request goes to one [`Handler`] with what the connection says
//! about its peer.

mod admitted;
mod body;
mod conn;
mod head;
mod tls;

pub(crate) use admitted::Connections;
pub(crate) use body::{Body, full, stream};
pub(crate) use conn::{Handler, Peer, serve};
pub(crate) use tls::server_config;
