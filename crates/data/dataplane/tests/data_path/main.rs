//! The data path with real sockets on the loopback: raw clients, raw backends, configuration as raw messages.

mod basics;
mod filters;
mod support;
