//! The proxies' side of the streams: as cheap as it can be, because it shares the machine with what is measured. Of a
//! resource only what decides the next subscription is read, and once for all proxies that are sent it.

mod connection;
mod hub;
mod interner;
mod kind;
mod stream;
mod subscriptions;
mod wire;

pub(crate) use hub::{Hub, Tally, Wanted};
pub(crate) use kind::{Kind, KindSet};
pub(crate) use stream::{Client, Ended};
pub(crate) use subscriptions::Subscriptions;
