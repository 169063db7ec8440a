//! Routing: virtual hosts, route matching, what a route does with a request.

pub mod action;
mod compile;
pub mod config;
pub mod domain;
pub mod hosts;
pub mod mutation;
pub mod path;
pub mod retry;
pub mod table;

pub use action::Action;
pub use config::RouteConfig;
pub use hosts::{HostChanges, VirtualHosts};
pub use table::{Matched, RouteTable, VirtualHost};

#[cfg(test)]
mod tests;
