//! Who takes what the control plane sends to the agent and not to the data path.

/// Takes the roots that peers are verified with.
pub trait RootsSink: Send + Sync {
    /// Name of the secret that is asked for.
    fn name(&self) -> &str;

    /// Takes an encoded `Secret` over. The error is the reason of the rejection.
    fn set_roots(&self, body: &[u8]) -> Result<(), String>;

    /// The control plane has no such secret (any more).
    fn clear_roots(&self);
}

/// Takes the mesh's names, for answering DNS questions.
pub trait NameTableSink: Send + Sync {
    /// Takes an encoded `NameTable` over. The error is the reason of the rejection.
    fn set_table(&self, body: &[u8]) -> Result<(), String>;
}
