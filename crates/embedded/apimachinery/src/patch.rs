//! PATCH bodies of the three kinds that edit an object: JSON patch, merge patch, strategic merge patch.
//! The fourth, apply, is [`crate::managed::apply`].

mod json;
mod strategic;

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::resources::Resource;
use crate::status::{ApiStatus, FieldError};

pub use json::{MAX_COPIED_BYTES, MAX_JSON_PATCH_OPERATIONS, MAX_SHIFTED_ITEMS};

/// The media type of a PATCH body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own; built-in kinds only.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// The media types of [`PatchKind`].
pub const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

impl PatchKind {
    /// Reads the media type of a PATCH for `resource`.
    ///
    /// # Errors
    /// 415 for other types, and for a strategic merge patch of a custom resource.
    pub fn from_content_type(resource: &Resource, content_type: &str) -> Result<Self, ApiStatus> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let strategic = resource.custom.is_none();
        match essence {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" if strategic => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => {
                let accepted: Vec<&str> =
                    PATCH_TYPES.iter().copied().filter(|t| strategic || !t.contains("strategic")).collect();
                Err(ApiStatus::unsupported_media_type(&accepted))
            }
        }
    }
}

/// Applies a JSON, merge or strategic merge patch to `current` and returns the new object, not yet checked
/// (run [`crate::body::recheck`] on it).
///
/// # Errors
/// 400 for a malformed patch, 422 for a JSON patch that does not fit the object.
pub fn patch(resource: &Resource, kind: PatchKind, current: &Value, body: &[u8]) -> Result<Value, ApiStatus> {
    let name = current.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let invalid = |why: String| -> ApiStatus {
        let text = String::from_utf8_lossy(body.get(..body.len().min(1024)).unwrap_or_default()).into_owned();
        ApiStatus::invalid(resource, name, &[FieldError::invalid("patch", text, why)])
    };
    match kind {
        PatchKind::Json => {
            let (patch, _) = crate::json::parse(body)
                .map_err(|e| ApiStatus::bad_request(format!("error decoding JSON patch: {e}")))?;
            json::patch(current, patch, invalid)
        }
        PatchKind::Merge | PatchKind::Strategic => {
            let (patch, _) = crate::json::parse(body)
                .map_err(|e| ApiStatus::bad_request(format!("error decoding patch: {e}")))?;
            if !patch.is_object() {
                return Err(ApiStatus::bad_request("the patch must be a JSON object"));
            }
            if kind == PatchKind::Strategic && resource.custom.is_none() {
                return strategic::merge(&resource.schema, current, patch).map_err(ApiStatus::bad_request);
            }
            let mut object = current.clone();
            merge(&mut object, patch);
            Ok(object)
        }
        PatchKind::Apply => Err(ApiStatus::internal("apply patches are merged by ownership, not here")),
    }
}

/// Applies a JSON patch that did not come from a client but from a webhook; the same limits hold.
///
/// # Errors
/// Why the patch cannot be read, does not fit, or is too large.
pub fn json_patch(object: &Value, patch: &[u8]) -> Result<Value, String> {
    let (patch, _) = crate::json::parse(patch).map_err(|error| error.to_string())?;
    let patched = json::patch(object, patch, ApiStatus::bad_request).map_err(|status| status.message)?;
    if crate::json::is_too_deep(&patched) {
        return Err(crate::json::TOO_DEEP.to_owned());
    }
    Ok(patched)
}

/// RFC 7386.
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(map) = target.as_object_mut() else { return };
    let mut gone = HashSet::new();
    for (key, value) in patch {
        if value.is_null() {
            gone.insert(key);
        } else {
            merge(map.entry(key).or_insert(Value::Null), value);
        }
    }
    // Together: one removal alone moves everything behind it.
    if !gone.is_empty() {
        map.retain(|key, _| !gone.contains(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResourceTable;
    use proptest::prelude::*;

    fn services() -> std::sync::Arc<Resource> {
        ResourceTable::builtin().get("", "v1", "services").unwrap().clone()
    }

    #[test]
    fn the_examples_of_rfc_7386() {
        for (mut target, patch, want) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!(["a"]), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        ] {
            merge(&mut target, patch);
            assert_eq!(target, want);
        }
    }

    #[test]
    fn json_patches() {
        let object = json!({"metadata": {"name": "a"}, "spec": {"ports": [1]}});
        let body = br#"[{"op":"add","path":"/spec/ports/-","value":2},{"op":"test","path":"/metadata/name","value":"a"}]"#;
        let patched = patch(&services(), PatchKind::Json, &object, body).unwrap();
        assert_eq!(patched["spec"]["ports"], json!([1, 2]));
        let body = br#"[{"op":"remove","path":"/spec/none"}]"#;
        assert_eq!(patch(&services(), PatchKind::Json, &object, body).unwrap_err().code, 422);
        assert_eq!(patch(&services(), PatchKind::Json, &object, b"{}").unwrap_err().code, 400);
        assert_eq!(patch(&services(), PatchKind::Merge, &object, b"[]").unwrap_err().code, 400);
        assert_eq!(PatchKind::from_content_type(&services(), "text/plain").unwrap_err().code, 415);
    }

    /// The answer to a JSON patch of an object with a list of `items` and a text of `text` bytes.
    fn patched(items: usize, text: usize, operations: Vec<Value>) -> Result<Value, ApiStatus> {
        let object = json!({"list": vec![0; items], "a": {"text": "x".repeat(text)}});
        patch(&services(), PatchKind::Json, &object, Value::from(operations).to_string().as_bytes())
    }

    #[test]
    fn copies_of_a_json_patch_are_counted_in_bytes() {
        let doubling = |n| -> Vec<Value> {
            (0..n).map(|i| json!({"op": "copy", "from": "/a", "path": format!("/a/{i}")})).collect()
        };
        assert!(patched(0, 10, doubling(5)).is_ok());
        let refused = patched(0, 10, doubling(40)).unwrap_err();
        assert_eq!(refused.code, 413, "{refused}");
        assert!(refused.message.contains("copied"), "{refused}");
        let many = |n| vec![json!({"op": "copy", "from": "/a", "path": "/b"}); n];
        assert!(patched(0, 1 << 20, many(2)).is_ok());
        assert_eq!(patched(0, 1 << 20, many(3)).unwrap_err().code, 413);
    }

    #[test]
    fn what_a_json_patch_moves_in_lists_is_counted() {
        let front = |n| vec![json!({"op": "add", "path": "/list/0", "value": 1}); n];
        assert_eq!(patched(10, 0, front(3)).unwrap()["list"], json!([1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(patched(MAX_SHIFTED_ITEMS / 100, 0, front(101)).unwrap_err().code, 413);
        let end = |n| vec![json!({"op": "add", "path": "/list/-", "value": 1}); n];
        assert!(patched(MAX_SHIFTED_ITEMS / 100, 0, end(101)).is_ok());
        let there_and_back = |n| vec![json!({"op": "move", "from": "/list/0", "path": "/list/0"}); n];
        assert_eq!(patched(MAX_SHIFTED_ITEMS / 100, 0, there_and_back(51)).unwrap_err().code, 413);
    }

    #[test]
    fn a_json_patch_makes_no_object_that_cannot_be_read_again() {
        let deeper = [
            json!({"op": "add", "path": "/b", "value": {}}),
            json!({"op": "move", "from": "/a", "path": "/b/a"}),
            json!({"op": "move", "from": "/b", "path": "/a"}),
        ];
        let refused = patched(0, 0, deeper.iter().cycle().take(9_000).cloned().collect()).unwrap_err();
        assert!(refused.message.contains("deep"), "{refused}");
        let body = Value::from(deeper.iter().cycle().take(330).cloned().collect::<Vec<_>>()).to_string();
        assert!(json_patch(&json!({"a": {}}), body.as_bytes()).unwrap_err().contains("deep"));
    }

    #[test]
    fn operations_of_a_json_patch_are_counted() {
        let test = |n| vec![json!({"op": "test", "path": "/a/text", "value": ""}); n];
        assert!(patched(0, 0, test(MAX_JSON_PATCH_OPERATIONS)).is_ok());
        assert_eq!(patched(0, 0, test(MAX_JSON_PATCH_OPERATIONS + 1)).unwrap_err().code, 413);
    }

    fn arbitrary_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..9i64).prop_map(Value::from),
            "[a-c]".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                proptest::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|m| m.into_iter().collect::<Value>()),
            ]
        })
    }

    proptest! {
        #[test]
        fn merging_twice_is_merging_once(target in arbitrary_json(), patch in arbitrary_json()) {
            let mut once = target;
            merge(&mut once, patch.clone());
            let mut twice = once.clone();
            merge(&mut twice, patch);
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn merging_itself_changes_nothing(target in arbitrary_json()) {
            let mut merged = target.clone();
            merge(&mut merged, target.clone());
            prop_assert_eq!(merged, target);
        }
    }
}
