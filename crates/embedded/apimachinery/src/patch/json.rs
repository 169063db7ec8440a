//! JSON patch (RFC 6902), with what it costs counted: a few operations can make an object of any size.

use json_patch::{Patch, PatchOperation};
use serde_json::Value;

use crate::status::ApiStatus;

/// Operations in one JSON patch; the limit of the real server.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;
/// Bytes of JSON that the `copy` operations of one patch may make; the limit of the real server.
pub const MAX_COPIED_BYTES: usize = 3 << 20;
/// Items of lists that one patch may move up or down by inserting and removing: a tenth of a second of work.
pub const MAX_SHIFTED_ITEMS: usize = 10_000_000;
/// Levels that the object may have between the operations of a patch. Values are walked by recursion: this many levels
/// are far from the end of a stack.
const MAX_DEPTH_BETWEEN: usize = 5 * crate::json::MAX_DEPTH;

/// Applies `patch` to a copy of `current`.
pub(super) fn patch(
    current: &Value,
    patch: Value,
    invalid: impl Fn(String) -> ApiStatus,
) -> Result<Value, ApiStatus> {
    let patch: Patch = serde_json::from_value(patch)
        .map_err(|e| ApiStatus::bad_request(format!("error decoding JSON patch: {e}")))?;
    if patch.0.len() > MAX_JSON_PATCH_OPERATIONS {
        return Err(too_much("operations", patch.0.len(), MAX_JSON_PATCH_OPERATIONS));
    }
    let mut object = current.clone();
    let (mut copied, mut shifted) = (0, 0);
    // Not less than the depth of the object; measured only when it may have become much.
    let mut depth = crate::json::MAX_DEPTH;
    for operation in &patch.0 {
        copied += copies(&object, operation, MAX_COPIED_BYTES - copied);
        if copied > MAX_COPIED_BYTES {
            return Err(too_much("bytes copied", copied, MAX_COPIED_BYTES));
        }
        shifted += shifts(&object, operation);
        if shifted > MAX_SHIFTED_ITEMS {
            return Err(too_much("list items moved", shifted, MAX_SHIFTED_ITEMS));
        }
        json_patch::patch(&mut object, std::slice::from_ref(operation))
            .map_err(|e| invalid(e.to_string()))?;
        depth += deepens(operation);
        if depth > MAX_DEPTH_BETWEEN {
            if crate::json::is_too_deep(&object) {
                return Err(invalid(crate::json::TOO_DEEP.to_owned()));
            }
            depth = crate::json::MAX_DEPTH;
        }
    }
    Ok(object)
}

/// By how many levels the operation makes the object deeper at most. A value of the patch itself is no deeper than what
/// is parsed.
fn deepens(operation: &PatchOperation) -> usize {
    let levels = |path: &str| path.matches('/').count();
    match operation {
        PatchOperation::Add(add) => levels(add.path.as_str()),
        PatchOperation::Replace(replace) => levels(replace.path.as_str()),
        PatchOperation::Copy(copy) => levels(copy.path.as_str()),
        PatchOperation::Move(moved) => levels(moved.path.as_str()),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => 0,
    }
}

fn too_much(what: &str, found: usize, limit: usize) -> ApiStatus {
    let reason = Some("RequestEntityTooLarge");
    ApiStatus::custom(
        413,
        reason,
        format!("the JSON patch is too large: {found} or more {what}, at most {limit}"),
    )
}

/// Bytes that the operation copies; it stops to count above `limit`.
fn copies(object: &Value, operation: &PatchOperation, limit: usize) -> usize {
    let PatchOperation::Copy(copy) = operation else { return 0 };
    object.pointer(copy.from.as_str()).map_or(0, |value| size(value, limit))
}

/// Bytes of a value as JSON, more or less; it stops to count above `limit`.
fn size(value: &Value, limit: usize) -> usize {
    let (mut bytes, mut left) = (0, vec![value]);
    while let Some(value) = left.pop() {
        bytes += match value {
            Value::String(text) => text.len() + 2,
            Value::Array(items) => {
                left.extend(items);
                items.len() + 2
            }
            Value::Object(fields) => {
                left.extend(fields.values());
                fields.keys().map(|key| key.len() + 4).sum::<usize>() + 2
            }
            // Room for any number.
            _ => 8,
        };
        if bytes > limit {
            break;
        }
    }
    bytes
}

/// Items of lists that the operation moves by one place.
fn shifts(object: &Value, operation: &PatchOperation) -> usize {
    let behind = |path: &str| -> usize {
        let Some((list, index)) = path.rsplit_once('/') else { return 0 };
        let length = object.pointer(list).and_then(Value::as_array).map_or(0, Vec::len);
        index.parse::<usize>().map_or(0, |index| length.saturating_sub(index))
    };
    match operation {
        PatchOperation::Add(add) => behind(add.path.as_str()),
        PatchOperation::Remove(remove) => behind(remove.path.as_str()),
        PatchOperation::Copy(copy) => behind(copy.path.as_str()),
        PatchOperation::Move(moved) => behind(moved.from.as_str()) + behind(moved.path.as_str()),
        PatchOperation::Replace(_) | PatchOperation::Test(_) => 0,
    }
}
