//! The mesh's certificate authority: where its key lives, the service that signs for workloads, and how everybody
//! learns its root (docs/reference/istiod.md).

mod publish;
mod service;
mod store;

pub use publish::publish_roots;
pub use service::CertificateIssuer;
pub use store::{StoreError, load};
