//! A definition from YAML to resources, and objects against its schema.

use super::*;
use crate::body::{FieldValidation, decode};
use crate::table::{self, IncludeObject};
use crate::{ResourceTable, managed};

fn definition() -> Value {
    serde_saphyr::from_str(
        r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.example.io}
spec:
  group: example.io
  scope: Namespaced
  names: {plural: gadgets, kind: Gadget, shortNames: [gd], categories: [all]}
  versions:
  - name: v1alpha1
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Since, type: date, jsonPath: .metadata.creationTimestamp, priority: 1}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [size]
            properties:
              size: {type: integer, minimum: 1, maximum: 10}
              mode: {type: string, enum: [Fast, Slow], default: Slow}
              name: {type: string, pattern: '^[a-z]+$', maxLength: 5}
              port: {x-kubernetes-int-or-string: true}
              replicas: {type: integer}
              note: {type: string, nullable: true}
              mood: {type: string, nullable: true, default: calm}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              labels: {type: object, additionalProperties: {type: string}}
              items:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [key]
                maxItems: 3
                items:
                  type: object
                  required: [key]
                  properties: {key: {type: string}, weight: {type: integer, default: 1}}
            oneOf:
            - not: {anyOf: [{required: [port]}, {required: [name]}]}
            - required: [port]
            - required: [name]
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"#,
    )
    .unwrap()
}

fn gadgets() -> Arc<Resource> {
    let definition = Definition::compile(&definition()).unwrap();
    let table = ResourceTable::with_custom(definition.resources().iter().cloned());
    table.get("example.io", "v1", "gadgets").unwrap().clone()
}

fn faults(spec: Value) -> Vec<String> {
    let object =
        json!({"apiVersion": "example.io/v1", "kind": "Gadget", "metadata": {"name": "a"}, "spec": spec});
    let errors = gadgets().custom.as_ref().unwrap().validate(&object);
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn a_definition_becomes_resources() {
    let resource = gadgets();
    assert_eq!(resource.storage.version, "v1");
    assert_eq!((resource.singular.as_str(), resource.list_kind.as_str()), ("gadget", "GadgetList"));
    assert!(resource.has_status() && resource.subresource("scale").is_some());
    let definition = Definition::compile(&definition()).unwrap();
    let table = ResourceTable::with_custom(definition.resources().iter().cloned());
    let versions: Vec<String> = table
        .group_versions()
        .iter()
        .filter(|g| g.group == "example.io")
        .map(|g| g.version.clone())
        .collect();
    assert_eq!(versions, ["v1", "v1alpha1"], "the stable version is preferred");
    assert_eq!(table.stored().filter(|r| r.group == "example.io").count(), 1);
    assert!(crate::openapi::document(&table, &resource.group_version()).is_some());
}

#[test]
fn objects_are_validated() {
    assert_eq!(faults(json!({"size": 1})), Vec::<String>::new());
    for (spec, want) in [
        (json!({}), "spec.size: Required value"),
        (
            json!({"size": "1"}),
            "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
        ),
        (
            json!({"size": 11}),
            "spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10",
        ),
        (
            json!({"size": 1, "mode": "X"}),
            "spec.mode: Unsupported value: \"X\": supported values: \"Fast\", \"Slow\"",
        ),
        (
            json!({"size": 1, "name": "A"}),
            "spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'",
        ),
        (json!({"size": 1, "name": "toolong"}), "spec.name: Too long: may not be more than 5 bytes"),
        (
            json!({"size": 1, "labels": {"a": 1}}),
            "spec.labels.a: Invalid value: \"integer\": spec.labels.a in body must be of type string: \"integer\"",
        ),
        (
            json!({"size": 1, "items": [{"key": "a"}, {"key": "a"}]}),
            "spec.items[1]: Duplicate value: {\"key\":\"a\"}",
        ),
        (json!({"size": 1, "items": [{}]}), "spec.items[0].key: Required value"),
        (
            json!({"size": 1, "port": true}),
            "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
        ),
    ] {
        assert_eq!(faults(spec), [want]);
    }
    let both = faults(json!({"size": 1, "port": 1, "name": "a"}));
    assert!(both[0].ends_with("(oneOf). Found 2 valid alternatives"), "{both:?}");
    assert_eq!(
        faults(json!({"size": 1, "note": null, "port": "http", "free": {"x": [1]}})),
        Vec::<String>::new()
    );
}

#[test]
fn unknown_fields_are_pruned_and_defaults_filled_in() {
    let resource = gadgets();
    let body = json!({"metadata": {"name": "a", "creationTimestamp": null}, "spec": {"size": 1, "what": 1, "note": null,
        "mode": null, "free": {"any": {"thing": null}}, "items": [{"key": "k", "no": 1}]}, "status": {"x": 1}});
    let text = body.to_string();
    let decoded =
        decode(&resource, None, "application/json", text.as_bytes(), FieldValidation::Warn).unwrap();
    assert_eq!(decoded.warnings, ["unknown field \"spec.items[0].no\"", "unknown field \"spec.what\""]);
    let mut object = decoded.object;
    crate::defaults::apply(&resource, &mut object);
    assert_eq!(
        object["spec"],
        json!({"size": 1, "note": null, "free": {"any": {"thing": null}}, "items": [{"key": "k", "weight": 1}], "mode": "Slow", "mood": "calm"})
    );
    assert_eq!(object["metadata"], json!({"name": "a"}));
    let strict =
        decode(&resource, None, "application/json", text.as_bytes(), FieldValidation::Strict).unwrap_err();
    assert!(
        strict
            .message
            .starts_with("Gadget in version \"v1\" cannot be handled as a Gadget: strict decoding error")
    );
}

#[test]
fn columns_come_from_their_paths() {
    let resource = gadgets();
    let object = json!({"metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:00Z"}, "spec": {"size": 3},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let rendered = table::render(&resource, [&object], json!({}), IncludeObject::None, true, 60);
    assert_eq!(rendered["rows"][0]["cells"], json!(["a", 3, "True", "60s"]));
    assert_eq!(rendered["columnDefinitions"][3]["priority"], 1);
}

#[test]
fn custom_lists_are_applied_by_key() {
    let resource = gadgets();
    let writer = |manager| managed::Writer { manager, subresource: "", time: "2024-01-01T00:00:00Z" };
    let config = |key: &str| {
        json!({"apiVersion": "example.io/v1", "kind": "Gadget", "metadata": {"name": "a"},
        "spec": {"items": [{"key": key}]}})
    };
    let live = managed::apply(&resource, None, &config("x"), writer("one"), false).unwrap();
    let live = managed::apply(&resource, Some(&live), &config("y"), writer("two"), false).unwrap();
    assert_eq!(live["spec"]["items"], json!([{"key": "x"}, {"key": "y"}]));
}

#[test]
fn bad_definitions_are_refused() {
    let broken = |edit: fn(&mut Value)| {
        let mut crd = definition();
        edit(&mut crd);
        let errors = Definition::compile(&crd).unwrap_err();
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert!(broken(|c| c["metadata"]["name"] = json!("x")).contains("spec.names.plural+\".\"+spec.group"));
    assert!(broken(|c| c["spec"]["scope"] = json!("World")).contains("spec.scope: Unsupported value"));
    assert!(broken(|c| c["spec"]["versions"] = json!([])).contains("spec.versions: Required value"));
    assert!(broken(|c| c["spec"]["versions"][0]["storage"] = json!(true)).contains("exactly one version"));
    assert!(broken(|c| c["spec"]["versions"][0]["schema"] = json!({})).contains("schemas are required"));
    fn properties(c: &mut Value) -> &mut Value {
        &mut c["spec"]["versions"][1]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    }
    assert!(broken(|c| properties(c)["x"] = json!({})).contains("properties[x].type: Required value"));
    assert!(
        broken(|c| properties(c)["x"] = json!({"type": "string", "pattern": "("}))
            .contains("regular expression")
    );
    assert!(broken(|c| properties(c)["x"] = json!({"type": "array"})).contains("items: Required value"));
    assert!(
        broken(|c| properties(c)["x"] = json!({"type": "string", "anyOf": [{"type": "string"}]}))
            .contains("structural")
    );
    assert!(
        broken(|c| properties(c)["x"] = json!({"$ref": "#/x", "type": "string"})).contains("$ref: Forbidden")
    );
}

#[test]
fn status_keeps_transition_times() {
    let mut crd = definition();
    crd["status"] = status(&crd, None, "2024-01-01T00:00:00Z");
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(crd["status"]["acceptedNames"]["kind"], "Gadget");
    assert_eq!(status(&crd, None, "2025-01-01T00:00:00Z"), crd["status"]);
    let refused = status(&crd, Some("\"gadgets\" is already in use"), "2025-01-01T00:00:00Z");
    assert_eq!(refused["conditions"][1]["status"], "False");
    assert_eq!(refused["conditions"][1]["lastTransitionTime"], "2025-01-01T00:00:00Z");
}

/// What is wrong with a schema of one field.
fn schema_faults(field: Value) -> Vec<String> {
    let mut errors = Vec::new();
    structural::check(&json!({"type": "object", "properties": {"f": field}}), "s", &mut errors);
    let text = |error: &FieldError| error.to_string().replace("s.properties[f]", "f");
    errors.iter().map(text).collect()
}

#[test]
fn a_schema_is_an_object_at_its_root() {
    let mut errors = Vec::new();
    structural::check(&json!({"type": "string"}), "s", &mut errors);
    assert_eq!(errors[0].to_string(), "s.type: Invalid value: \"string\": must be object at the root");
}

#[test]
fn schemas_that_are_structural_pass() {
    let item = json!({"type": "object", "properties": {"k": {"type": "string"}}});
    for field in [
        json!({"type": "string"}),
        json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
        json!({"x-kubernetes-preserve-unknown-fields": true}),
        json!({"type": "object", "additionalProperties": {"type": "string"}}),
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": false}),
        json!({"type": "object", "properties": {}, "additionalProperties": {"type": "string"}}),
        json!({"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
        json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}),
        json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic", "x-kubernetes-list-map-keys": []}),
        json!({"type": "string", "uniqueItems": false, "allOf": [{"minLength": 1}], "not": {"pattern": "a"}}),
    ] {
        assert_eq!(schema_faults(field.clone()), [""; 0], "{field}");
    }
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    let keys = "f.x-kubernetes-list-map-keys: ";
    let undefined = "Forbidden: must be undefined to be structural";
    for (field, want) in [
        (json!({}), "f.type: Required value: must not be empty for specified object fields".to_owned()),
        (json!({"type": "x"}), "f.type: Unsupported value: \"x\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"".into()),
        (
            json!({"type": "string", "x-kubernetes-int-or-string": true}),
            "f.type: Forbidden: must be empty if x-kubernetes-int-or-string is true".into(),
        ),
        (json!({"type": "string", "id": "x"}), "f.id: Forbidden: is not supported".into()),
        (
            json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true}),
            "f.uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic".into(),
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": true}),
            "f.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive".into(),
        ),
        (
            json!({"type": "object", "properties": {"a": {}}}),
            "f.properties[a].type: Required value: must not be empty for specified object fields".into(),
        ),
        (
            json!({"type": "object", "additionalProperties": {}}),
            "f.additionalProperties.type: Required value: must not be empty for specified object fields".into(),
        ),
        (json!({"type": "array", "items": {}}), "f.items.type: Required value: must not be empty for specified object fields".into()),
        (json!({"type": "array", "items": [{}]}), "f.items: Forbidden: items must be a schema object".into()),
        (json!({"type": "array"}), "f.items: Required value: must be specified".into()),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map"}),
            format!("{keys}Required value: must not be empty if x-kubernetes-list-type is map"),
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}),
            format!("{keys}Invalid value: \"k\": must be a property of the items"),
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-map-keys": ["k"]}),
            format!("{keys}Forbidden: must be empty if x-kubernetes-list-type is not map"),
        ),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "x"}),
            "f.x-kubernetes-list-type: Unsupported value: \"x\": supported values: \"atomic\", \"map\", \"set\"".into(),
        ),
        (json!({"type": "string", "allOf": [{"default": 1}]}), format!("f.allOf[0].default: {undefined}")),
        (json!({"type": "string", "anyOf": [{}, {"nullable": true}]}), format!("f.anyOf[1].nullable: {undefined}")),
        (json!({"type": "string", "not": {"description": ""}}), format!("f.not.description: {undefined}")),
        (
            json!({"type": "string", "oneOf": [{"properties": {"a": {"default": 1}}}]}),
            format!("f.oneOf[0].properties[a].default: {undefined}"),
        ),
        (json!({"type": "string", "oneOf": [{"items": {"default": 1}}]}), format!("f.oneOf[0].items.default: {undefined}")),
        (json!({"type": "string", "oneOf": [{"not": {"default": 1}}]}), format!("f.oneOf[0].not.default: {undefined}")),
        (
            json!({"type": "string", "oneOf": [{"anyOf": [{"default": 1}]}]}),
            format!("f.oneOf[0].anyOf[0].default: {undefined}"),
        ),
        (json!({"type": "string", "allOf": [{"type": "string"}]}), "f.allOf[0].type: Forbidden: must be empty to be structural".into()),
        (
            json!({"x-kubernetes-int-or-string": true, "not": {"type": "string"}}),
            "f.not.type: Forbidden: must be empty to be structural".into(),
        ),
    ] {
        assert_eq!(schema_faults(field.clone()), [want], "{field}");
    }
}

#[test]
fn names_that_cannot_be_served_are_refused() {
    let faults = |pointer: &str, value: Value| {
        let mut crd = definition();
        *crd.pointer_mut(pointer).unwrap() = value;
        names::check(&crd).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(faults("/spec/scope", json!("Cluster")), [""; 0]);
    for (pointer, value, want) in [
        ("/spec/group", "", "spec.group: Required value"),
        ("/spec/group", "A.b", "spec.group: Invalid value: \"A.b\": a lowercase RFC 1123 subdomain"),
        (
            "/spec/group",
            "example",
            "spec.group: Invalid value: \"example\": should be a domain with at least one dot",
        ),
        ("/spec/names/plural", "", "spec.names.plural: Required value"),
        ("/spec/names/plural", "a_b", "spec.names.plural: Invalid value: \"a_b\""),
        ("/spec/names/kind", "", "spec.names.kind: Required value"),
        ("/spec/names/kind", "1a", "spec.names.kind: Invalid value: \"1a\""),
        ("/spec/names/shortNames/0", "A", "spec.names.shortNames[0]: Invalid value: \"A\""),
        ("/spec/versions/0/name", "V1", "spec.versions[0].name: Invalid value: \"V1\""),
        ("/spec/versions/0/name", "v1", "spec.versions[1].name: Duplicate value: \"v1\""),
    ] {
        let got = faults(pointer, json!(value));
        assert!(got.iter().any(|fault| fault.starts_with(want)), "{pointer}: {got:?}");
    }
    assert!(faults("/spec/versions/1/storage", json!(false))[0].contains("exactly one version"));
}

#[test]
fn paths_of_a_scale_lead_into_spec_and_status() {
    let faults = |key: &str, value: &str| {
        let mut crd = definition();
        crd["spec"]["versions"][1]["subresources"]["scale"][key] = json!(value);
        Definition::compile(&crd)
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let at = "spec.versions[1].subresources.scale";
    for (key, value, root) in [
        ("specReplicasPath", "", "spec"),
        ("specReplicasPath", ".status.replicas", "spec"),
        ("statusReplicasPath", ".spec.replicas", "status"),
        ("labelSelectorPath", ".spec.selector", "status"),
    ] {
        let want = format!("{at}.{key}: Invalid value: {value:?}: should be a json path under .{root}");
        assert_eq!(faults(key, value), [want]);
    }
    assert_eq!(faults("labelSelectorPath", ".status.selector"), [""; 0]);
    assert_eq!(faults("labelSelectorPath", ""), [""; 0]);
}

#[test]
fn columns_have_paths_that_can_be_read() {
    let mut crd = definition();
    crd["spec"]["versions"][1]["additionalPrinterColumns"][0]["jsonPath"] = json!(".a[");
    let errors = Definition::compile(&crd).unwrap_err();
    assert_eq!(errors[0].field, "spec.versions[1].additionalPrinterColumns[0].jsonPath");
}

#[test]
fn a_version_without_columns_shows_its_age() {
    let definition = Definition::compile(&definition()).unwrap();
    let names: Vec<_> = definition.resources()[0].columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["Name", "Age"]);
}

#[test]
fn only_served_versions_are_resources() {
    let mut crd = definition();
    crd["spec"]["versions"][0]["served"] = json!(false);
    let definition = Definition::compile(&crd).unwrap();
    let versions: Vec<_> = definition.resources().iter().map(|resource| resource.version.as_str()).collect();
    assert_eq!(versions, ["v1"]);
}

#[test]
fn names_that_are_not_given_follow_from_the_kind() {
    let mut crd = definition();
    crd["spec"]["names"]["singular"] = json!("one");
    crd["spec"]["names"]["listKind"] = json!("Many");
    crd["spec"]["scope"] = json!("Cluster");
    let named = Definition::compile(&crd).unwrap().resources()[0].clone();
    assert_eq!((named.singular.as_str(), named.list_kind.as_str(), named.namespaced), ("one", "Many", false));
    let plain = Definition::compile(&definition()).unwrap().resources()[0].clone();
    assert_eq!(
        (plain.short_names.clone(), plain.categories.clone()),
        (vec!["gd".to_owned()], vec!["all".to_owned()])
    );
    assert!(plain.namespaced && plain.subresources.is_empty());
    assert_eq!(plain.storage.version, "v1");
    assert_eq!(plain.schema_name, "example.io.v1alpha1.Gadget");
}

#[test]
fn a_definition_that_is_deleted_keeps_its_condition() {
    let mut crd = definition();
    let going = json!({"type": "Terminating", "status": "True"});
    crd["status"] = json!({"conditions": [going], "storedVersions": ["v0"]});
    let told = status(&crd, None, "now");
    assert_eq!(told["conditions"][2], going);
    assert_eq!(told["conditions"].as_array().unwrap().len(), 3);
    assert_eq!(told["storedVersions"], json!(["v0", "v1"]));
    let refused = status(&crd, Some("why"), "now");
    assert_eq!(refused["acceptedNames"], json!({"plural": "", "kind": ""}));
    assert_eq!(
        (&refused["conditions"][0]["message"], &refused["conditions"][0]["status"]),
        (&json!("why"), &json!("False"))
    );
}

#[test]
fn a_null_that_the_schema_allows_is_not_defaulted() {
    let gadgets = gadgets();
    let made = |spec: Value| {
        let body = json!({"metadata": {"name": "x", "namespace": "ns"}, "spec": spec}).to_string();
        let strict = crate::body::FieldValidation::Strict;
        let decoded =
            crate::body::decode(&gadgets, None, "application/json", body.as_bytes(), strict).unwrap();
        let mut object = decoded.object;
        crate::defaults::apply(&gadgets, &mut object);
        object["spec"].clone()
    };
    assert_eq!(made(json!({"size": 1, "port": 1, "mood": null}))["mood"], Value::Null);
    assert_eq!(made(json!({"size": 1, "port": 1}))["mood"], "calm");
    assert_eq!(made(json!({"size": 1, "port": 1, "mode": null}))["mode"], "Slow");
}
