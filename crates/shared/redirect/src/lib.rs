//! Traffic capture: the packet rules that lead a Pod's TCP traffic through its proxy.
//!
//! One model ([`Rules`]) is written as native nftables text ([`nft`], the default) or as
//! `iptables-restore` text ([`iptables`], for nodes without `nft`). The order of the rules is part of the contract
//! (that of Istio 1.9's `istio-iptables`); both writers follow it line by line, and golden files hold them to it.
//! [`apply`] loads the rules into the network namespace of the calling process.
//!
//! Invariant: traffic of the proxy itself is never captured, unless it goes to the Pod's own address over `lo`.

mod apply;
mod backend;
mod cli;
pub mod iptables;
mod model;
pub mod nft;
mod validate;

pub use apply::{ApplyError, apply};
pub use backend::Backend;
pub use cli::{RedirectArgs, RunError, run};
pub use model::{DnsCapture, MAX_LIST_ENTRIES, Networks, Ports, Rules, RulesError};
pub use validate::{ValidateError, validate};

/// The proxy's inbound passthrough connections come from these addresses, and must not be captured again.
pub const PASSTHROUGH_V4: &str = "127.0.0.6/32";
/// IPv6 form of [`PASSTHROUGH_V4`]; has to be added to `lo`.
pub const PASSTHROUGH_V6: &str = "::6/128";
