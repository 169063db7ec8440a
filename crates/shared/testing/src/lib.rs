//! What tests that run programs have in common: waiting for a condition, talking to a port, playing the other side, and
//! saying what they need of the machine.
//!
//! Everything here reports by panicking, with a text that says what was expected: it is for tests only, and no product
//! crate links it. Nothing waits for a fixed time: a wait ends with its condition, or fails after [`PATIENCE`].
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

pub mod blocking;
pub mod http;
pub mod needs;
mod peer;
mod wait;

pub use peer::{Busy, Peer, nobody, read_all};
pub use wait::{PATIENCE, eventually, in_time};

/// A port of loopback that is free now. Somebody else may take it before it is used: where a program can choose its port
/// itself and tell it, let it.
pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
