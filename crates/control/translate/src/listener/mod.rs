//! Listeners (LDS).

mod base;
mod chains;
mod claimants;
mod gateway;
mod inbound;
mod outbound;
mod virtual_outbound;

pub(crate) use claimants::{RouteNames, claimants, places};
pub(crate) use gateway::{listeners as of_gateway, route_names as gateway_route_names};
pub(crate) use inbound::virtual_inbound;
pub(crate) use outbound::listener;
pub(crate) use virtual_outbound::virtual_outbound;
