//! The embedded cluster's API server: the Kubernetes API over HTTPS, from an embedded store.
//!
//! `apimachinery` knows the rules (what a kind looks like, how a patch merges, who may do what); this crate
//! does the rest: durable storage, connections, identities, the path of a request, admission webhooks,
//! watches. It runs no Pod and, as Kubernetes' own, no controller but the one that empties deleted CRDs: the others
//! are clients like any other.
//!
//! The life of a request reads top-down in [`dispatch`]: limits, authentication, authorization, the verb.

mod addresses;
mod admission;
mod api;
mod authn;
mod authz;
mod bootstrap;
mod call;
mod clock;
mod config;
mod definition_cleanup;
mod derived;
mod discovery;
mod dispatch;
mod endpoints;
mod error;
mod http;
mod idle;
mod keys;
mod kinds;
pub mod limits;
mod logs;
mod long_running;
mod negotiate;
mod pki;
mod proxy;
mod random;
mod request;
mod respond;
mod reviews;
mod server;
pub mod store;
mod subresources;
mod verbs;
mod write;
mod writing;

pub use config::{Config, Dialer, PodDialer, direct_dialer};
pub use error::ServerError;
pub use logs::{LogError, LogRequest, LogStream, NoLogs, PodLogs};
pub use server::Server;
