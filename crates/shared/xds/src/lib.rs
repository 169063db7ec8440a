//! xDS as a transport: what resources are called, how they travel, and both ends of the conversation as pure state
//! machines (no I/O, no clock).
//!
//! Bodies of resources are encoded once, by whoever makes them; here they are bytes that are passed on. The exception
//! is [`json`], which spells a message out for people.

pub mod client;
pub mod istio;
pub mod json;
pub mod names;
mod resource;
pub mod server;
pub mod sotw_client;
pub mod type_url;
pub mod wire;

pub use resource::{Resource, Revision, Version};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
