//! The path of a write: what the server decides, defaults, admission, validation, ownership, the store.
//!
//! Written once, for every kind and every way to write (create, update, patch, apply, delete, bootstrap). What
//! one kind does on the way beside what all kinds do is a file of [`crate::kinds`].

mod commit;
mod create;
mod delete;
mod update;

pub(crate) use create::create;
pub(crate) use delete::{Deleted, begin_deletion, delete};
pub(crate) use update::update;

/// How an object is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The whole object is sent; a revision in it is the one that it was made from.
    Put,
    /// It is made from the current object.
    Patch,
    /// As [`Mode::Patch`], and the fields' owners are already worked out.
    Apply,
}

#[cfg(test)]
mod tests;
