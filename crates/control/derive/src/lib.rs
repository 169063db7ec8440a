//! A table of facts and of what follows from them, kept true with the work of the change.
//!
//! Facts ([`Input`]) are set from outside. What follows ([`Derived`], [`Relation`]) is a function of a key that reads
//! facts and other functions through a [`Reader`], which writes down every read. When a fact changes, exactly what has
//! read it is made again, and what comes out equal stops the wave there. Nobody keeps a list of what may be concerned.
//!
//! Whoever wants to hear of changes holds a key ([`Table::hold`]); [`Table::settle`] makes everything true again and
//! says which held values differ now. What nobody holds or reads is forgotten.
//!
//! Invariants: no I/O, no clock. After `settle` every value equals what its function would give from the facts, whatever
//! the order of changes was; the tests play random changes against functions that remember nothing.
//!
//! Functions must not panic, and not read in a circle, which panics with the key. One that does keeps the value that it
//! gave before, and so do its readers, until something differs that it has read ([`Table::take_failures`]). They may be called more often than needed,
//! and while a wave is under way with a mixture of old and new facts; the last call sees the new ones.

mod counters;
mod derived;
mod failure;
mod guard;
mod input;
mod node;
mod reader;
mod relation;
mod table;

use std::{collections::BTreeMap, fmt::Debug, hash::Hash};

pub use counters::Counts;
pub use failure::Failure;
pub use reader::Reader;
pub use table::{Changes, Table};

#[cfg(test)]
mod tests;

/// What names an entry of a table.
pub trait Key: Clone + Ord + Hash + Debug + Send + Sync + 'static {}
impl<T: Clone + Ord + Hash + Debug + Send + Sync + 'static> Key for T {}

/// What a table holds. Cloned for every read: larger values belong in an `Arc`.
pub trait Value: Clone + PartialEq + Send + Sync + 'static {}
impl<T: Clone + PartialEq + Send + Sync + 'static> Value for T {}

/// The key of a fact.
pub trait Input: Key {
    /// The fact.
    type Value: Value;
    /// Marks by which facts are found without knowing their keys.
    type Tag: Key;
    /// The marks of a fact. Readers of a mark are concerned when a fact gets or loses it.
    fn tags(&self, value: &Self::Value) -> Vec<Self::Tag>;
}

/// The key of a value that follows from others.
pub trait Derived: Key {
    /// The value.
    type Value: Value;
    /// Makes the value. It may read nothing but through `read`.
    fn derive(&self, read: &Reader<'_>) -> Self::Value;
    /// The name under which work on it is counted.
    fn kind(&self) -> &'static str {
        counters::short_name::<Self>()
    }
}

/// The key of a map that follows from others and is read entry by entry: who reads one entry is not concerned when
/// another one changes.
pub trait Relation: Key {
    /// Key of an entry.
    type Entry: Key;
    /// Value of an entry.
    type Value: Value;
    /// Makes the map. It may read nothing but through `read`.
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<Self::Entry, Self::Value>;
}
