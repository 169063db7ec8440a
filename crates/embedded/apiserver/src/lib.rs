//! The embedded cluster's API server: the Kubernetes API over HTTPS, from an embedded store.
//!
//! `apimachinery` knows the rules (what a kind looks like, how a patch merges, who may do what); this crate
//! does the rest: durable storage, connections, identities, the path of a request, admission webhooks,
//! watches. It runs no controller and no Pod: those are clients like any other (design.md 1).
//!
//! The life of a request reads top-down in [`dispatch`]: limits, authentication, authorization, the verb.

mod admission;
mod api;
mod authn;
mod authz;
mod bootstrap;
mod clock;
mod config;
mod derived;
mod discovery;
mod dispatch;
mod http;
pub mod limits;
mod logs;
mod negotiate;
mod pki;
mod proxy;
mod request;
mod respond;
mod reviews;
mod server;
mod services;
pub mod store;
mod subresources;
mod verbs;
mod write;

pub use config::{Config, Dialer, PodDialer, direct_dialer};
pub use logs::{LogError, LogRequest, LogStream, NoLogs, PodLogs};
pub use server::{Server, ServerError};
