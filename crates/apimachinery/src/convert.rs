//! Objects between the version that is served and the version that is stored.
//!
//! Versions of a custom resource differ in `apiVersion` only (conversion strategy `None`). The two Event kinds show
//! the same objects under different field names.

use serde_json::{Value, json};

use crate::resources::Resource;

/// Names of an Event's fields in the core form and in events.k8s.io.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// From the form of `resource` to the stored form.
pub fn to_storage(resource: &Resource, mut object: Value) -> Value {
    if resource.group == "events.k8s.io" {
        rename(&mut object, |core, new| (new, core));
    }
    set_version(&mut object, &resource.storage.group, &resource.storage.version);
    object
}

/// From the stored form to the form of `resource`.
pub fn from_storage(resource: &Resource, mut object: Value) -> Value {
    if resource.group == "events.k8s.io" {
        rename(&mut object, |core, new| (core, new));
    }
    set_version(&mut object, &resource.group, &resource.version);
    object
}

fn set_version(object: &mut Value, group: &str, version: &str) {
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".into(), json!(crate::gvk::GroupVersion::new(group, version).to_string()));
    }
}

fn rename(object: &mut Value, direction: fn(&'static str, &'static str) -> (&'static str, &'static str)) {
    let Some(map) = object.as_object_mut() else { return };
    for (core, new) in EVENT_FIELDS {
        let (from, to) = direction(core, new);
        if let Some(value) = map.shift_remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResourceTable;

    #[test]
    fn events_have_two_forms() {
        let table = ResourceTable::builtin();
        let new = table.get("events.k8s.io", "v1", "events").unwrap();
        let object = json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "regarding": {"name": "p"}, "note": "n"});
        let stored = to_storage(new, object.clone());
        assert_eq!(
            stored,
            json!({"apiVersion": "v1", "kind": "Event", "involvedObject": {"name": "p"}, "message": "n"})
        );
        assert_eq!(from_storage(new, stored), object);
    }
}
