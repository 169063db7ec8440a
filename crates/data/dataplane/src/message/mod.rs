//! Requests, responses and connections as every floor above sees them, and how they are matched.

mod authority;
pub(crate) mod body;
mod connection;
mod flags;
mod local_reply;
pub(crate) mod matchers;
mod request;

pub(crate) use authority::without_port;
pub(crate) use body::Body;
pub(crate) use connection::{ConnectionInfo, PeerCertificate, TlsInfo};
pub(crate) use flags::Flags;
pub(crate) use local_reply::LocalReply;
pub(crate) use request::{Protocol, Request, ResponseHead, is_grpc};
