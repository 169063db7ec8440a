//! Request bodies: JSON, YAML and protobuf into a JSON value, with Kubernetes' field validation.

use serde_json::Value;

use crate::resources::Resource;
use crate::status::ApiStatus;

/// Media types that a create or update body may have.
pub const BODY_TYPES: &[&str] =
    &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The query parameter `fieldValidation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    /// Unknown fields are dropped in silence.
    Ignore,
    /// Unknown fields are dropped, with a `Warning` header each. The default of the real server.
    Warn,
    /// Unknown fields are a 400.
    Strict,
}

/// A decoded body.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object, without unknown fields.
    pub object: Value,
    /// Texts for `Warning: 299 - "..."` headers.
    pub warnings: Vec<String>,
}

impl FieldValidation {
    /// Reads the query parameter; `None` means it was not given.
    ///
    /// # Errors
    /// 400 for a value other than `Ignore`, `Warn`, `Strict`.
    pub fn parse(parameter: Option<&str>) -> Result<Self, ApiStatus> {
        match parameter {
            None | Some("") | Some("Warn") => Ok(Self::Warn),
            Some("Ignore") => Ok(Self::Ignore),
            Some("Strict") => Ok(Self::Strict),
            Some(other) => Err(ApiStatus::bad_request(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }
}

/// Decodes the object of a create or update of `resource` (or of one of its sub-resources' kinds when the body
/// says so: Scale, TokenRequest, Eviction, Binding), fills in a missing `apiVersion` and `kind`, checks that they
/// fit, drops nulls that Go clients send, and treats unknown and duplicate fields as `validation` says.
///
/// # Errors
/// 415 for an unknown media type, 400 for a body that does not parse or has fields of the wrong type.
pub fn decode(
    resource: &Resource,
    subresource: Option<&str>,
    content_type: &str,
    body: &[u8],
    validation: FieldValidation,
) -> Result<Decoded, ApiStatus> {
    let _ = (resource, subresource, content_type, body, validation);
    Err(ApiStatus::internal("not built yet"))
}

/// Decodes a body of meta.k8s.io options (`DeleteOptions`, ...), JSON, YAML or protobuf; an empty body is `{}`.
///
/// # Errors
/// As [`decode`].
pub fn decode_options(kind: &str, content_type: &str, body: &[u8]) -> Result<Value, ApiStatus> {
    let _ = (kind, content_type, body);
    Err(ApiStatus::internal("not built yet"))
}

/// Cleans an object that did not come through [`decode`] (the result of a patch): checks types, removes unknown
/// fields, reports them as [`decode`] does.
///
/// # Errors
/// 400 under `Strict`, or for fields of the wrong type.
pub fn recheck(
    resource: &Resource,
    object: Value,
    validation: FieldValidation,
) -> Result<Decoded, ApiStatus> {
    let _ = (resource, validation);
    Ok(Decoded { object, warnings: Vec::new() })
}
