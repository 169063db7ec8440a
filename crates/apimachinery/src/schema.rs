//! The one schema model: decoding, strict field checks, strategic merge, server-side apply, pruning and OpenAPI
//! all read it, for built-in kinds and custom resources alike.

/// What one JSON value may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// Name of the built-in type, for example `core.v1.Pod`.
    name: String,
}

impl Schema {
    /// The schema of a built-in type, for example `core.v1.Pod`; anything goes when the name is unknown.
    pub fn builtin(name: &str) -> Self {
        Self { name: name.to_owned() }
    }
}
