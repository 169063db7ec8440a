//! Routing: virtual hosts, route matching, what a route does with a request.

pub(crate) mod action;
pub(crate) mod compile;
pub(crate) mod mutation;
pub(crate) mod path;
pub(crate) mod retry;
pub(crate) mod table;

pub(crate) use action::Action;
pub(crate) use table::{Matched, RouteTable};
