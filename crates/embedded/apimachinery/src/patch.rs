//! PATCH bodies of the three kinds that edit an object: JSON patch, merge patch, strategic merge patch.
//! The fourth, apply, is [`crate::managed::apply`].

mod strategic;

use serde_json::{Value, json};

use crate::resources::Resource;
use crate::status::{ApiStatus, FieldError};

/// Operations in one JSON patch; the limit of the real server.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;

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
    let invalid = |why: String| {
        let text = String::from_utf8_lossy(body.get(..body.len().min(1024)).unwrap_or_default()).into_owned();
        ApiStatus::invalid(resource, name, &[FieldError::invalid("patch", text, why)])
    };
    match kind {
        PatchKind::Json => {
            let patch: json_patch::Patch = serde_json::from_slice(body)
                .map_err(|e| ApiStatus::bad_request(format!("error decoding JSON patch: {e}")))?;
            if patch.0.len() > MAX_JSON_PATCH_OPERATIONS {
                return Err(ApiStatus::too_large(MAX_JSON_PATCH_OPERATIONS));
            }
            let mut object = current.clone();
            json_patch::patch(&mut object, &patch).map_err(|e| invalid(e.to_string()))?;
            Ok(object)
        }
        PatchKind::Merge | PatchKind::Strategic => {
            let patch: Value = serde_json::from_slice(body)
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
    for (key, value) in patch {
        if value.is_null() {
            map.shift_remove(&key);
        } else {
            merge(map.entry(key).or_insert(Value::Null), value);
        }
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
