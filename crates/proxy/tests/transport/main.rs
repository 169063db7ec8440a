//! What happens below the meaning of HTTP requests: TLS, HTTP/2, gRPC, TCP, load balancing, the admin pages.
//!
//! One static bootstrap drives our program and, when `PORTOLAN_ENVOY` names one, Envoy; both are held to the same
//! expectations. Where the two differ on purpose, the case says so (`Program::Ours`, `Program::Envoy`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

mod admin;
mod balance;
mod capture;
mod chains;
mod grpc;
mod http2;
mod mesh;
mod mtls;
mod support;
mod tcp;
