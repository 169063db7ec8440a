//! Request bodies: JSON, YAML and protobuf into a JSON value, with Kubernetes' field validation.

use serde_json::{Value, json};

use crate::gvk::GroupVersionKind;
use crate::resources::Resource;
use crate::schema::Schema;
use crate::status::ApiStatus;
use crate::{fields, json as json_text, protobuf};

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
    let expected =
        subresource.and_then(|s| resource.subresource(s)).map_or(resource.gvk(), |s| s.gvk.clone());
    let (mut object, duplicates) = parse(content_type, body)?;
    check_kind(&expected, &mut object)?;
    let other;
    let schema = if expected == resource.gvk() {
        &*resource.schema
    } else {
        other = Schema::of_kind(&expected);
        &other
    };
    finish(schema, &mut object, duplicates, validation)
        .map(|warnings| Decoded { object, warnings })
        .map_err(|why| cannot_be_handled(&expected, &why))
}

/// Decodes a body of meta.k8s.io options (`DeleteOptions`, ...), JSON, YAML or protobuf; an empty body is `{}`.
///
/// # Errors
/// As [`decode`].
pub fn decode_options(kind: &str, content_type: &str, body: &[u8]) -> Result<Value, ApiStatus> {
    if body.is_empty() {
        return Ok(json!({}));
    }
    let (mut object, _) = parse(content_type, body)?;
    let schema = Schema::builtin(&format!("meta.v1.{kind}"));
    match fields::fit(&schema, &mut object).error {
        None => Ok(object),
        Some(why) => Err(ApiStatus::bad_request(format!("the body cannot be handled as a {kind}: {why}"))),
    }
}

/// Cleans an object that did not come through [`decode`] (the result of a patch): checks types, removes unknown
/// fields, reports them as [`decode`] does.
///
/// # Errors
/// 400 under `Strict`, or for fields of the wrong type.
pub fn recheck(
    resource: &Resource,
    mut object: Value,
    validation: FieldValidation,
) -> Result<Decoded, ApiStatus> {
    let expected = resource.gvk();
    check_kind(&expected, &mut object)?;
    finish(&resource.schema, &mut object, Vec::new(), validation)
        .map(|warnings| Decoded { object, warnings })
        .map_err(|why| cannot_be_handled(&expected, &why))
}

/// Parses a body by its media type; the second part are duplicate fields.
pub(crate) fn parse(content_type: &str, body: &[u8]) -> Result<(Value, Vec<String>), ApiStatus> {
    match content_type.split(';').next().unwrap_or_default().trim() {
        "" | "application/json" | "text/json" | "*/*" => json_text::parse(body)
            .map_err(|e| ApiStatus::bad_request(format!("the body is not valid JSON: {e}"))),
        "application/yaml" | "application/x-yaml" | "text/yaml" => Ok((parse_yaml(body)?, Vec::new())),
        "application/vnd.kubernetes.protobuf" => match protobuf::decode(body) {
            Ok(object) => Ok((object, Vec::new())),
            Err(e) => Err(ApiStatus::bad_request(format!("the body cannot be decoded: {e}"))),
        },
        _ => Err(ApiStatus::unsupported_media_type(BODY_TYPES)),
    }
}

/// Parses YAML (or JSON, which is YAML too).
pub(crate) fn parse_yaml(body: &[u8]) -> Result<Value, ApiStatus> {
    if let Ok((value, _)) = json_text::parse(body) {
        return Ok(value);
    }
    let text = std::str::from_utf8(body)
        .map_err(|e| ApiStatus::bad_request(format!("the body is not valid YAML: it is not UTF-8: {e}")))?;
    serde_saphyr::from_str(text).map_err(|e| ApiStatus::bad_request(format!("error decoding YAML: {e}")))
}

fn check_kind(expected: &GroupVersionKind, object: &mut Value) -> Result<(), ApiStatus> {
    let Some(map) = object.as_object_mut() else {
        return Err(ApiStatus::bad_request("the body must be an object with apiVersion and kind"));
    };
    let api_version = expected.api_version();
    for (key, want) in [("apiVersion", api_version.as_str()), ("kind", expected.kind.as_str())] {
        match map.get(key) {
            None | Some(Value::Null) => {
                map.shift_insert(0, key.to_owned(), Value::String(want.to_owned()));
            }
            Some(Value::String(text)) if text == want => {}
            Some(Value::String(text)) if text.is_empty() => {
                map.insert(key.to_owned(), Value::String(want.to_owned()));
            }
            Some(other) => {
                let what = if key == "kind" { "kind" } else { "API version" };
                let found = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                return Err(ApiStatus::bad_request(format!(
                    "the {what} in the data ({found}) does not match the expected {what} ({want})"
                )));
            }
        }
    }
    Ok(())
}

fn finish(
    schema: &Schema,
    object: &mut Value,
    duplicates: Vec<String>,
    validation: FieldValidation,
) -> Result<Vec<String>, String> {
    if json_text::is_too_deep(object) {
        return Err(json_text::TOO_DEEP.to_owned());
    }
    let fit = fields::fit(schema, object);
    if let Some(error) = fit.error {
        return Err(error);
    }
    let faults: Vec<String> = fit
        .unknown
        .iter()
        .map(|path| format!("unknown field \"{path}\""))
        .chain(duplicates.iter().map(|path| format!("duplicate field \"{path}\"")))
        .collect();
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(faults),
        FieldValidation::Strict if faults.is_empty() => Ok(faults),
        FieldValidation::Strict => Err(format!("strict decoding error: {}", faults.join(", "))),
    }
}

fn cannot_be_handled(gvk: &GroupVersionKind, why: &str) -> ApiStatus {
    let (kind, version) = (&gvk.kind, &gvk.version);
    ApiStatus::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResourceTable;

    fn check(plural: &str, body: Value, validation: FieldValidation) -> Result<Decoded, String> {
        let table = ResourceTable::builtin();
        let resource = table.iter().find(|r| r.plural == plural).unwrap();
        decode(resource, None, "application/json", body.to_string().as_bytes(), validation)
            .map_err(|e| e.message)
    }

    #[test]
    fn unknown_fields_follow_field_validation() {
        let body = json!({"spec": {"replicas": 1, "foo": 1, "template": {"spec": {"containers": [
            {"name": "a", "bar": true}]}}}, "metadata": {"creationTimestamp": null, "name": "x"}});
        let warned = check("deployments", body.clone(), FieldValidation::Warn).unwrap();
        assert_eq!(
            warned.warnings,
            ["unknown field \"spec.template.spec.containers[0].bar\"", "unknown field \"spec.foo\""]
        );
        assert_eq!(warned.object["apiVersion"], "apps/v1");
        assert_eq!(warned.object["metadata"], json!({"name": "x"}));
        assert_eq!(warned.object["spec"]["template"]["spec"]["containers"], json!([{"name": "a"}]));
        assert_eq!(
            check("deployments", body, FieldValidation::Strict).unwrap_err(),
            "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: \
             unknown field \"spec.template.spec.containers[0].bar\", unknown field \"spec.foo\""
        );
    }

    #[test]
    fn wrong_types_are_refused() {
        let error = |plural: &str, body| check(plural, body, FieldValidation::Ignore).unwrap_err();
        assert_eq!(
            error("deployments", json!({"spec": {"replicas": "1"}})),
            "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into \
             Go struct field DeploymentSpec.spec.replicas of type int32"
        );
        assert!(error("configmaps", json!({"data": {"a": 1}})).contains("cannot unmarshal number"));
        assert!(error("secrets", json!({"data": {"a": "%%"}})).contains("illegal base64"));
        assert!(error("pods", json!({"kind": "Service"})).contains("does not match the expected kind"));
        assert!(error("pods", json!([])).contains("must be an object"));
        let limits = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": 2}}}]}});
        let pod = check("pods", limits, FieldValidation::Strict).unwrap().object;
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["cpu"], "2");
    }

    #[test]
    fn deep_bodies_are_refused() {
        let nested = |n| (0..n).fold(json!({}), |inner, _| json!({"x": inner}));
        assert!(check("configmaps", nested(99), FieldValidation::Warn).is_ok());
        let why = check("configmaps", nested(110), FieldValidation::Warn).unwrap_err();
        assert!(why.contains("nested too deep"), "{why}");
    }

    #[test]
    fn nulls_among_values_are_zero_values() {
        let data = json!({"data": {"a": null, "b": "eA=="}, "stringData": {"c": null}});
        let secret = check("secrets", data, FieldValidation::Strict).unwrap().object;
        assert_eq!(secret["data"], json!({"a": "", "b": "eA=="}));
        assert_eq!(secret["stringData"], json!({"c": ""}));
        let binary =
            check("configmaps", json!({"binaryData": {"a": null}}), FieldValidation::Strict).unwrap();
        assert_eq!(binary.object["binaryData"], json!({"a": ""}));
        let pod = json!({"metadata": {"labels": {"a": null}, "finalizers": [null]},
            "spec": {"containers": [{"args": [null], "resources": {"limits": {"cpu": null}}}]}});
        let pod = check("pods", pod, FieldValidation::Strict).unwrap().object;
        assert_eq!(pod["metadata"], json!({"labels": {"a": ""}, "finalizers": [""]}));
        assert_eq!(pod["spec"]["containers"][0]["args"], json!([""]));
        assert_eq!(pod["spec"]["containers"][0]["resources"]["limits"]["cpu"], "0");
    }

    #[test]
    fn other_media_types() {
        let table = ResourceTable::builtin();
        let resource = table.get("", "v1", "configmaps").unwrap();
        let yaml = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n";
        let decoded = decode(resource, None, "application/yaml", yaml, FieldValidation::Strict).unwrap();
        assert_eq!(decoded.object["data"]["k"], "v");
        let status = decode(resource, None, "text/plain", yaml, FieldValidation::Strict).unwrap_err();
        assert_eq!(status.code, 415);
        let twice = br#"{"data":{"a":"1","a":"2"}}"#;
        let status = decode(resource, None, "application/json", twice, FieldValidation::Strict).unwrap_err();
        assert!(status.message.ends_with("strict decoding error: duplicate field \"data.a\""));
        assert_eq!(decode_options("DeleteOptions", "", b"").unwrap(), json!({}));
    }
}
