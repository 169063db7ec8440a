//! Bodies, and connections with their drain; requests, responses and matchers come from the configuration's crate.

pub(crate) mod body;
mod connection;

pub(crate) use body::Body;
pub(crate) use connection::ConnectionInfo;
pub(crate) use portolan_dataplane_config::message::{
    ConnectionFacts, Flags, LocalReply, PeerCertificate, Protocol, Request, ResponseHead, TlsInfo, is_grpc,
    without_port,
};
