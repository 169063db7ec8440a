//! What a schema takes and what it does not, and the texts that people see.

use serde_json::json;

use super::*;

fn rules(schema: Value) -> Rules {
    let mut errors = Vec::new();
    let rules = Rules::compile(&schema, "schema", &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    rules
}

/// What is wrong with a value of a field `f` that has this schema.
fn faults(schema: Value, value: Value) -> Vec<String> {
    let rules = rules(json!({"properties": {"f": schema}}));
    rules.check(&json!({ "f": value })).iter().map(ToString::to_string).collect()
}

#[track_caller]
fn takes(schema: Value, good: &[Value], bad: &[(Value, &str)]) {
    for value in good {
        assert_eq!(faults(schema.clone(), value.clone()), [""; 0], "{schema} {value}");
    }
    for (value, text) in bad {
        assert_eq!(faults(schema.clone(), value.clone()), [*text], "{schema} {value}");
    }
}

#[test]
fn values_have_a_type() {
    let all = [json!({}), json!([]), json!("a"), json!(1), json!(1.5), json!(true), json!(null), json!(1.0)];
    for (kind, fitting) in [
        ("object", vec![0]),
        ("array", vec![1]),
        ("string", vec![2]),
        ("integer", vec![3, 7]),
        ("number", vec![3, 4, 7]),
        ("boolean", vec![5]),
    ] {
        for (at, value) in all.iter().enumerate() {
            let wrong = faults(json!({ "type": kind }), value.clone());
            assert_eq!(wrong.is_empty(), fitting.contains(&at), "{kind} {value}: {wrong:?}");
        }
    }
    let either = json!({"x-kubernetes-int-or-string": true});
    takes(
        either,
        &[json!("a"), json!(1)],
        &[(
            json!(true),
            "f: Invalid value: \"boolean\": f in body must be of type integer,string: \"boolean\"",
        )],
    );
}

#[test]
fn a_wrong_type_is_named_with_what_was_found() {
    for (value, found) in [
        (json!(null), "null"),
        (json!(true), "boolean"),
        (json!(1.5), "number"),
        (json!(1), "integer"),
        (json!([]), "array"),
        (json!({}), "object"),
    ] {
        let text = format!("f: Invalid value: \"{found}\": f in body must be of type string: \"{found}\"");
        assert_eq!(faults(json!({"type": "string"}), value), [text]);
    }
    for kind in ["object", "array", "integer", "number", "boolean"] {
        let text = format!("f: Invalid value: \"string\": f in body must be of type {kind}: \"string\"");
        assert_eq!(faults(json!({ "type": kind }), json!("x")), [text]);
    }
}

#[test]
fn null_is_taken_where_it_is_allowed() {
    takes(json!({"type": "string", "nullable": true, "minLength": 1}), &[json!(null), json!("a")], &[]);
}

#[test]
fn an_enumeration_lists_what_is_supported() {
    takes(
        json!({"enum": ["a", 1]}),
        &[json!("a"), json!(1)],
        &[(json!("b"), "f: Unsupported value: \"b\": supported values: \"a\", \"1\"")],
    );
}

#[test]
fn texts_have_a_length_in_characters() {
    takes(
        json!({"minLength": 2, "maxLength": 3}),
        &[json!("\u{e9}\u{e9}"), json!("abc")],
        &[
            (json!("a"), "f: Invalid value: \"a\": f in body should be at least 2 chars long"),
            (json!("abcd"), "f: Too long: may not be more than 3 bytes"),
        ],
    );
}

#[test]
fn texts_have_a_pattern() {
    takes(
        json!({"pattern": "^a+$"}),
        &[json!("aa")],
        &[(json!("ab"), "f: Invalid value: \"ab\": f in body should match '^a+$'")],
    );
}

#[test]
fn texts_have_a_format() {
    for (format, good, bad) in [
        ("date-time", "2024-02-29T23:59:59Z", "2024-02-29"),
        ("ipv4", "10.0.0.1", "fd00::1"),
        ("ipv6", "fd00::1", "10.0.0.1"),
        ("byte", "YQ==", "*"),
    ] {
        let text = format!("f: Invalid value: \"{bad}\": f in body must be of type {format}: \"{bad}\"");
        takes(json!({ "format": format }), &[json!(good)], &[(json!(bad), &text)]);
    }
    takes(json!({"format": "other"}), &[json!("anything")], &[]);
}

#[test]
fn numbers_have_bounds() {
    takes(
        json!({"minimum": 1, "maximum": 3}),
        &[json!(1), json!(3)],
        &[
            (json!(0), "f: Invalid value: 0: f in body should be greater than or equal to 1"),
            (json!(4), "f: Invalid value: 4: f in body should be less than or equal to 3"),
        ],
    );
    let exclusive = json!({"minimum": 1, "maximum": 3, "exclusiveMinimum": true, "exclusiveMaximum": true});
    takes(
        exclusive,
        &[json!(2)],
        &[
            (json!(1), "f: Invalid value: 1: f in body should be greater than 1"),
            (json!(0), "f: Invalid value: 0: f in body should be greater than 1"),
            (json!(3), "f: Invalid value: 3: f in body should be less than 3"),
            (json!(4), "f: Invalid value: 4: f in body should be less than 3"),
        ],
    );
    takes(
        json!({"multipleOf": 0.5}),
        &[json!(1), json!(1.5)],
        &[(json!(1.2), "f: Invalid value: 1.2: f in body should be a multiple of 0.5")],
    );
    takes(json!({"multipleOf": 0}), &[json!(1)], &[]);
}

#[test]
fn numbers_have_a_size() {
    let out = |number: i64, format: &str| {
        format!("f: Invalid value: {number}: f in body must be of type {format}: \"{number}\"")
    };
    let (low, high) = (i64::from(i32::MIN), i64::from(i32::MAX));
    takes(
        json!({"format": "int32"}),
        &[json!(low), json!(high)],
        &[(json!(low - 1), &out(low - 1, "int32")), (json!(high + 1), &out(high + 1, "int32"))],
    );
    let high = i64::from(u32::MAX);
    takes(
        json!({"format": "uint32"}),
        &[json!(0), json!(high)],
        &[(json!(-1), &out(-1, "uint32")), (json!(high + 1), &out(high + 1, "uint32"))],
    );
    takes(json!({"format": "int64"}), &[json!(high + 1)], &[]);
}

#[test]
fn lists_have_a_size_and_items() {
    let schema = json!({"minItems": 1, "maxItems": 2, "items": {"type": "string"}});
    takes(
        schema,
        &[json!(["a"]), json!(["a", "b"])],
        &[
            (json!([]), "f: Invalid value: 0: f in body should have at least 1 items"),
            (json!([1, 2, 3]), "f: Too many: 3: must have at most 2 items"),
            (
                json!(["a", 1]),
                "f[1]: Invalid value: \"integer\": f[1] in body must be of type string: \"integer\"",
            ),
        ],
    );
}

#[test]
fn lists_that_are_sets_or_maps_have_no_item_twice() {
    takes(
        json!({"x-kubernetes-list-type": "set"}),
        &[json!(["a", "b"])],
        &[(json!(["a", "b", "a"]), "f[2]: Duplicate value: \"a\"")],
    );
    let map = json!({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "port"]});
    takes(
        map,
        &[json!([{"name": "a"}, {"name": "a", "port": 1}])],
        &[(json!([{"name": "a", "x": 1}, {"name": "a", "x": 2}]), "f[1]: Duplicate value: {\"name\":\"a\"}")],
    );
    takes(json!({"x-kubernetes-list-type": "atomic"}), &[json!(["a", "a"])], &[]);
}

#[test]
fn objects_have_required_fields_and_a_size() {
    let schema = json!({"required": ["a"], "minProperties": 1, "maxProperties": 2});
    takes(
        schema,
        &[json!({"a": 1}), json!({"a": 1, "b": 2})],
        &[
            (json!({"b": 1}), "f.a: Required value"),
            (json!({"a": 1, "b": 2, "c": 3}), "f: Too many: 3: must have at most 2 items"),
        ],
    );
    takes(
        json!({"minProperties": 1}),
        &[json!({"a": 1})],
        &[(json!({}), "f: Invalid value: {}: f in body should have at least 1 properties")],
    );
}

#[test]
fn fields_without_rules_of_their_own_have_those_of_all() {
    let schema =
        json!({"properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}});
    takes(
        schema,
        &[json!({"a": "x", "b": 1})],
        &[
            (
                json!({"b": "x"}),
                "f.b: Invalid value: \"string\": f.b in body must be of type integer: \"string\"",
            ),
            (
                json!({"a": 1}),
                "f.a: Invalid value: \"integer\": f.a in body must be of type string: \"integer\"",
            ),
        ],
    );
}

#[test]
fn schemas_can_be_combined() {
    let branches = json!([{"required": ["a"]}, {"required": ["b"]}]);
    takes(
        json!({ "anyOf": branches }),
        &[json!({"a": 1}), json!({"a": 1, "b": 1})],
        &[(json!({}), "f: Invalid value: {}: f in body must validate at least one schema (anyOf)")],
    );
    takes(
        json!({ "oneOf": branches }),
        &[json!({"a": 1})],
        &[
            (
                json!({}),
                "f: Invalid value: {}: f in body must validate one and only one schema (oneOf). Found none valid",
            ),
            (
                json!({"a": 1, "b": 1}),
                "f: Invalid value: {\"a\":1,\"b\":1}: f in body must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ),
        ],
    );
    takes(
        json!({ "allOf": branches }),
        &[json!({"a": 1, "b": 1})],
        &[(json!({"a": 1}), "f.b: Required value")],
    );
    takes(
        json!({"not": {"required": ["a"]}}),
        &[json!({})],
        &[(json!({"a": 1}), "f: Invalid value: {\"a\":1}: f in body must not validate the schema (not)")],
    );
}

#[test]
fn the_list_of_faults_ends() {
    let many = json!(vec![1; 3 * MAX_ERRORS]);
    assert_eq!(faults(json!({"items": {"type": "string"}}), many).len(), MAX_ERRORS);
}

#[test]
fn faults_of_a_schema_are_named_where_they_are() {
    let bad = json!({"pattern": "("});
    for (schema, path) in [
        (bad.clone(), "s.pattern"),
        (json!({"properties": {"a": bad}}), "s.properties[a].pattern"),
        (json!({"items": bad}), "s.items.pattern"),
        (json!({"additionalProperties": bad}), "s.additionalProperties.pattern"),
        (json!({"not": bad}), "s.not.pattern"),
        (json!({"allOf": [{}, bad]}), "s.allOf[1].pattern"),
        (json!({"anyOf": [bad]}), "s.anyOf[0].pattern"),
        (json!({"oneOf": [bad]}), "s.oneOf[0].pattern"),
        (json!({"pattern": "a{1000}{1000}"}), "s.pattern"),
    ] {
        let mut errors = Vec::new();
        Rules::compile(&schema, "s", &mut errors);
        assert_eq!(errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), [path]);
        assert!(errors[0].detail.starts_with("must be a valid regular expression: "));
    }
}
