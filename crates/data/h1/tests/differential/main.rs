//! The codec against hyper, on the same bytes: messages that people made up to confuse parsers, and valid ones that
//! were damaged at random. The fuzz targets in `fuzz/` use the same oracle.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

mod corpus;
mod generate;
#[allow(unreachable_pub, reason = "for the fuzz targets it is the surface of a library")]
mod oracle;
mod random;
