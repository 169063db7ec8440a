//! What the server itself decides about an object on its way to the store: metadata that clients may not set,
//! which half of the object a write may change, and `metadata.generation`.

use serde_json::Value;

use crate::resources::Resource;
use crate::status::ApiStatus;

/// Facts that only the impure caller knows.
#[derive(Clone, Copy, Debug)]
pub struct Fresh<'a> {
    /// A new random UUID.
    pub uid: &'a str,
    /// RFC 3339 time.
    pub now: &'a str,
    /// Five or more random characters of [`NAME_ALPHABET`] for `generateName`.
    pub suffix: &'a str,
}

/// Characters of the suffix that `generateName` gets: no vowels, nothing that looks alike.
pub const NAME_ALPHABET: &str = "bcdfghjklmnpqrstvwxz2456789";

/// Makes a decoded object ready to be created: namespace from the path, name from `generateName`, uid,
/// creationTimestamp, generation 1; drops `status` where it is a sub-resource, and `resourceVersion`, `selfLink`,
/// deletion times.
///
/// # Errors
/// 400 when the namespaces of path and object differ, 422 when there is no name.
pub fn prepare_for_create(
    resource: &Resource,
    namespace: &str,
    object: &mut Value,
    fresh: Fresh<'_>,
) -> Result<(), ApiStatus> {
    let _ = (resource, namespace, object, fresh);
    Ok(())
}

/// Makes `new` ready to replace `old`: keeps immutable metadata, the half that the write may not touch
/// (`subresource` empty: status; `status`: everything else), sets `generation`.
///
/// # Errors
/// 409 when uid differs; 422 for a change of immutable metadata.
pub fn prepare_for_update(
    resource: &Resource,
    subresource: &str,
    old: &Value,
    new: &mut Value,
) -> Result<(), ApiStatus> {
    let _ = (resource, subresource, old, new);
    Ok(())
}

/// Whether a write changes anything: everything but `managedFields` times is compared. An unchanged object is not
/// stored, so that its resourceVersion stays.
pub fn is_unchanged(old: &Value, new: &Value) -> bool {
    old == new
}
