//! The definitions of our own resource types pass the checks that the API server makes, and the objects that it
//! stores under them keep all their fields.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

use portolan_apimachinery::{ResourceTable, crd, defaults, validate};

#[test]
fn our_definitions_are_structural() {
    let table = ResourceTable::builtin();
    let kind = table.get("apiextensions.k8s.io", "v1", "customresourcedefinitions").unwrap();
    let definitions = portolan_resources::crds::crds();
    assert!(!definitions.is_empty());
    for definition in definitions {
        let mut object = serde_json::to_value(&definition).unwrap();
        defaults::apply(kind, &mut object);
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let faults: Vec<String> = validate::create(kind, &object).iter().map(ToString::to_string).collect();
        assert_eq!(faults, Vec::<String>::new(), "{name}");
        assert!(!crd::Definition::compile(&object).unwrap().resources().is_empty(), "{name}");
    }
}
