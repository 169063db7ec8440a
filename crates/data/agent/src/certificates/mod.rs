//! The workload's own certificate and the other secrets that the agent supplies: asked for, kept fresh, handed on.

mod ca;
mod csr;
mod feed;
mod secrets;

pub use ca::{CaError, CaOptions, CaStatus, CertificateInfo, CertificateTask};
pub use csr::CsrError;
pub use feed::feed;
pub use secrets::{
    FileSecret, ROOT, SecretHub, StoredSecret, WORKLOAD, certificate_secret, is_own, root_secret,
};
