//! The mesh model and one proxy's identity in, Envoy's configuration out: clusters, endpoints, listeners, routes and the
//! secrets that the control plane serves, with the names and the layout of Istio 1.9 (docs/reference/xds.md) in the current
//! Envoy API, so that our own proxies and stock Envoys take the same resources.
//!
//! Invariants: no I/O, no clock; the same model and node give the same bytes; an object that cannot be translated is
//! left out and never takes another one with it (one duplicate domain or filter chain match would make a proxy reject
//! the whole resource).

mod access_log;
mod authz;
mod cluster;
mod context;
mod encode;
mod endpoint;
mod filters;
mod gateway_port;
mod jwt;
mod limitations;
mod listener;
mod metadata;
mod naming;
mod pb;
mod pieces;
mod route;
mod secret;
mod tcp;
mod tls;
mod traffic_policy;
mod view;

pub use limitations::{Limitation, LimitationsOf};
pub use pieces::{Audience, AudiencesOf, Made, Piece, Pieces, is_hidden_from};
pub use view::View;

#[cfg(test)]
mod tests;
