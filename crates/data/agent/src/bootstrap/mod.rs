//! The bootstrap file: Envoy's own format, JSON or YAML (`envoy.config.bootstrap.v3.Bootstrap`).
//!
//! What Envoy runs with a file, the stand-alone proxy runs too: static listeners, clusters and secrets, files that are
//! watched, or a control plane that one of the static clusters names.

mod address;
mod ads;
mod document;
mod files;
mod references;
mod static_resources;

pub use address::{admin_address, socket_address};
pub use ads::{AdsSource, SourceError, ads};
pub use document::{FileError, Loaded, MESSAGE, from_document, load, parse, read_document};
pub use files::{Claims, FileWatcher};
pub use references::{FileSource, file_references};
pub use static_resources::apply_static;
