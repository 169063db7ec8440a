//! Requests, responses and connections as configuration looks at them, and how they are matched.

mod authority;
mod connection;
mod flags;
mod local_reply;
pub mod matchers;
pub mod rbac;
mod request;
#[cfg(test)]
mod tests;
mod trailers;

pub use authority::without_port;
pub use connection::{ConnectionFacts, PeerCertificate, TlsInfo};
pub use flags::Flags;
pub use local_reply::LocalReply;
pub use request::{Protocol, Request, ResponseHead, is_grpc};
pub use trailers::Trailers;
