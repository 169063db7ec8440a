//! What is told of a function that panicked.

/// A function that has panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was to be made.
    pub key: String,
    /// What the panic says.
    pub reason: String,
}
