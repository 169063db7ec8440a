//! HTTP on the data path: codecs behind one stream interface, the normalised request, and the life of a request.

pub(crate) mod body;
pub(crate) mod connection;
pub(crate) mod forward;
pub(crate) mod forwarded;
pub(crate) mod h1;
pub(crate) mod h1_server;
pub(crate) mod h2_server;
pub(crate) mod local_reply;
pub(crate) mod manager;
pub(crate) mod normalize;
pub(crate) mod request;
pub(crate) mod respond;
pub(crate) mod tunnel;

pub(crate) use body::{Body, BodyFail, Frame};
pub(crate) use request::{Protocol, Request, ResponseHead};
