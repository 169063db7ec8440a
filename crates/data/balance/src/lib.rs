//! Which host gets a request, and which one does not: load balancing, outlier detection, circuit breakers, retries.
//!
//! Everything here is a function of what it is given: hosts, settings, the time and random numbers
//! ([`Environment`]). Nothing waits, reads a clock or opens a connection, so every rule can be tested step by step. The
//! rules are those of Envoy; where a hash decides, the host is the one that Envoy would choose.
//!
//! The pieces by who owns them:
//! - the configuration thread builds a [`Balancer`] from a [`HostSet`] and [`Settings`]: all that costs time and memory
//!   (rings, tables, subsets) is made there, within the limits in [`limits`];
//! - every worker has a [`Picker`], a few numbers that say whose turn it is, and picks hosts from the balancer;
//! - workers report results to the host's [`outlier::Monitor`]; one thread runs the [`outlier::Detector`], which alone
//!   ejects hosts and lets them return;
//! - [`breaker`] counts what is in use over all workers, [`retry`] says when to try again.

mod balancer;
pub mod breaker;
mod edf;
mod environment;
pub mod hash;
mod host;
mod host_set;
pub mod limits;
mod load;
mod maglev;
pub mod outlier;
mod picker;
mod pool;
pub mod retry;
mod ring;
mod settings;
mod subset;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use balancer::Balancer;
pub use environment::{Environment, Moment};
pub use host::{Health, Host, HostState};
pub use host_set::{HostSet, Locality};
pub use maglev::is_prime;
pub use picker::{Picked, Picker, Request};
pub use settings::{
    Criteria, HashFunction, HashSettings, KeyFallback, Policy, Settings, SlowStart, SubsetFallback,
    SubsetSelector, SubsetSettings,
};
