//! Byte streams: sockets, what is read ahead of a protocol, buffered HTTP/1 input and output, relays, timers.

pub(crate) mod buffered;
mod frame;
pub(crate) mod metered;
pub(crate) mod prefixed;
pub(crate) mod relay;
pub(crate) mod stream;
pub(crate) mod timer;

pub(crate) use frame::{BodyFail, Frame, Trailers};
