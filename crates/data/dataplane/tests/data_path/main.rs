//! The data path with real sockets on the loopback: raw clients, raw backends, configuration as raw messages.

mod basics;
mod counters;
mod drain;
mod filters;
mod interim;
mod retries;
mod support;
mod vhds;
