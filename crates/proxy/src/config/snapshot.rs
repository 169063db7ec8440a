//! The compiled configuration that workers run on.

/// One consistent, immutable state of the whole configuration.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Grows by one with every snapshot.
    pub generation: u64,
}
