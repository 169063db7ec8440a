//! HTTP on the data path: codecs behind one stream interface, the normalised request, and the life of a request.

mod callout;
pub(crate) mod connection;
mod filtered_body;
mod filtering;
pub(crate) mod forward;
pub(crate) mod forwarded;
pub(crate) mod h1_server;
pub(crate) mod h2_server;
pub(crate) mod incoming;
pub(crate) mod manager;
pub(crate) mod normalize;
pub(crate) mod report;
pub(crate) mod respond;
mod routing;
mod state;
pub(crate) mod trace;
pub(crate) mod tunnel;
mod waiting;

#[cfg(test)]
mod testing;
