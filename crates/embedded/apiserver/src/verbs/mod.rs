//! The verbs on objects.

mod list;
mod watch;
mod write;

pub(crate) use list::{get, list};
pub(crate) use watch::watch;
pub(crate) use write::{create, delete, delete_collection, patch, update};
