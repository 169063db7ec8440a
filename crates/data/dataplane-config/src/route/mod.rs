//! Routing: virtual hosts, route matching, what a route does with a request.

pub mod action;
mod compile;
pub mod mutation;
pub mod path;
pub mod retry;
pub mod table;

pub use action::Action;
pub use table::{Matched, RouteTable};

#[cfg(test)]
mod tests;
