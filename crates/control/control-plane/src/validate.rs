//! The validating webhook's judgement of one object (docs/reference/istiod.md).

use portolan_names::names;
use portolan_resources::{
    support::{self, On},
    validation::{DecodeError, Finding, Report, validate_json},
};
use serde_json::Value;

use crate::mesh_settings;

/// What the webhook answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why the object is refused; nothing when it is taken.
    pub refused: Option<String>,
    /// Shown to the user either way.
    pub warnings: Vec<String>,
}

/// Longest warning that the API server passes on, in characters.
const MAX_WARNING: usize = 256;
/// Most findings of one object that are shown.
const MAX_FINDINGS: usize = 16;

/// Judges what a review asks about. Unknown kinds pass: the webhook's rules may name more than this version knows.
pub fn validate(request: &Value) -> Verdict {
    let object = &request["object"];
    let core = object["apiVersion"] == "v1";
    let report = match object["kind"].as_str() {
        Some("Service") if core => support::judge_metadata(&object["metadata"], On::Service),
        Some("ConfigMap") if core => settings(object),
        _ => match validate_json(object) {
            Ok(report) => report,
            Err(error @ DecodeError::UnknownKind { .. }) => {
                return Verdict { refused: None, warnings: vec![error.to_string()] };
            }
            Err(error) => {
                return Verdict {
                    refused: Some(format!("configuration is invalid: {error}")),
                    warnings: Vec::new(),
                };
            }
        },
    };
    let mut warnings = warnings(&report.warnings);
    if report.is_valid() {
        return Verdict { refused: None, warnings };
    }
    // What was taken by an earlier version can still be labelled, and let go of by those who hold a finalizer of it.
    if request["operation"] == "UPDATE"
        && request["oldObject"]["spec"] == object["spec"]
        && !object["spec"].is_null()
    {
        warnings.splice(0..0, self::warnings(&report.errors));
        warnings.truncate(MAX_FINDINGS);
        return Verdict { refused: None, warnings };
    }
    let mut findings: Vec<String> =
        report.errors.iter().take(MAX_FINDINGS).map(ToString::to_string).collect();
    findings.extend(more(report.errors.len()));
    Verdict { refused: Some(format!("configuration is invalid: {}", findings.join("; "))), warnings }
}

/// Warnings as the API server passes them on: few, and short.
pub fn warnings(findings: &[Finding]) -> Vec<String> {
    let shown = findings.iter().take(MAX_FINDINGS);
    let shown = shown.map(|finding| finding.to_string().chars().take(MAX_WARNING).collect());
    shown.chain(more(findings.len())).collect()
}

/// That there is more than is shown.
fn more(findings: usize) -> Option<String> {
    (findings > MAX_FINDINGS).then(|| format!("and {} more", findings - MAX_FINDINGS))
}

/// What there is to say about the mesh's settings; nothing about other ConfigMaps.
fn settings(map: &Value) -> Report {
    if map["metadata"]["name"] != names::MESH_CONFIG_MAP {
        return Report::default();
    }
    let data = map["data"].as_object().into_iter().flatten();
    let data = data.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned()))).collect();
    mesh_settings::judge(&data)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bad_objects_are_refused_with_the_field() {
        let mut object = json!({
            "apiVersion": "networking.istio.io/v1beta1",
            "kind": "VirtualService",
            "metadata": {"name": "reviews", "namespace": "bookinfo"},
            "spec": {
                "hosts": ["reviews"],
                "http": [{"route": [
                    {"destination": {"host": "reviews", "subset": "v1"}, "weight": 60},
                    {"destination": {"host": "reviews", "subset": "v2"}, "weight": 40},
                ]}],
            },
        });
        let judged = |object: &Value| validate(&json!({ "object": object }));
        assert_eq!(judged(&object).refused, None);
        object["spec"]["http"][0]["route"][1]["weight"] = (-1).into();
        let refused = judged(&object).refused.unwrap();
        assert!(refused.contains("route"), "{refused}");
        let unknown = json!({"apiVersion": "x/v1", "kind": "Y"});
        assert_eq!(judged(&unknown).refused, None);
    }

    fn custom(api: &str) -> Value {
        json!({"apiVersion": api, "kind": "AuthorizationPolicy", "metadata": {"name": "ask"},
            "spec": {"action": "CUSTOM", "provider": {"name": "x"}, "rules": [{}]}})
    }

    #[test]
    fn what_does_not_work_is_refused_or_warned_of() {
        let object = custom("security.istio.io/v1beta1");
        let refused = validate(&json!({"operation": "CREATE", "object": object})).refused.unwrap();
        assert!(refused.contains("spec.action: external authorization is not supported"), "{refused}");
        let tokens = json!({"apiVersion": "security.istio.io/v1beta1", "kind": "RequestAuthentication",
            "metadata": {"name": "j"}, "spec": {"jwtRules": [{"issuer": "a"}]}});
        assert!(validate(&json!({ "object": tokens })).refused.unwrap().contains("spec.jwtRules[0]"));
        let audit = json!({"apiVersion": "security.istio.io/v1beta1", "kind": "AuthorizationPolicy",
            "metadata": {"name": "a", "annotations": {"networking.istio.io/exportTo": "."}},
            "spec": {"action": "AUDIT", "rules": [{}]}});
        let verdict = validate(&json!({ "object": audit }));
        assert_eq!((verdict.refused, verdict.warnings.len()), (None, 2), "{:?}", verdict.warnings);
    }

    /// An object that is there already can be labelled, and deleted by whoever has a finalizer on it.
    #[test]
    fn a_change_that_leaves_the_spec_alone_is_warned_of_only() {
        let old = custom("security.istio.io/v1beta1");
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({"a": "b"});
        let update = |new: &Value| validate(&json!({"operation": "UPDATE", "object": new, "oldObject": old}));
        let verdict = update(&new);
        assert_eq!(verdict.refused, None);
        assert!(verdict.warnings[0].contains("external authorization"), "{:?}", verdict.warnings);
        new["spec"]["rules"] = json!([]);
        assert!(update(&new).refused.is_some());
    }

    #[test]
    fn services_and_settings_are_looked_at() {
        let object = |kind: &str, name: &str, more: Value| {
            let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
            object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            validate(&json!({"operation": "CREATE", "object": object}))
        };
        let misspelt = json!({"metadata": {"annotations": {"networking.istio.io/exportto": "."}}});
        assert_eq!(object("Service", "a", misspelt).warnings.len(), 1);
        let data = |text: &str| json!({"data": {"mesh": text}});
        assert_eq!(object("ConfigMap", "istio", data("accessLogFile: /dev/stdout")), Verdict::default());
        assert_eq!(object("ConfigMap", "istio", data("accesLogFile: x")).warnings.len(), 1);
        assert_eq!(object("ConfigMap", "other", data("a: [")), Verdict::default());
        assert!(object("ConfigMap", "istio", data("a: [")).refused.is_some());
        assert!(object("ConfigMap", "istio", data("verifyCertificateAtClient: true")).refused.is_some());
    }

    #[test]
    fn findings_are_few_and_short() {
        let many: Vec<Finding> =
            (0..100).map(|n| Finding { field: format!("f{n}"), message: "x".repeat(1000) }).collect();
        let shown = warnings(&many);
        assert_eq!(shown.len(), MAX_FINDINGS + 1);
        assert!(shown.iter().all(|text| text.chars().count() <= MAX_WARNING));
        assert_eq!(shown.last().unwrap(), "and 84 more");
    }

    /// What the book has people apply is taken, and nobody is warned of it.
    #[test]
    fn samples_are_taken_without_a_word() {
        let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../samples/bookinfo");
        let files = [samples.clone(), samples.join("federation")];
        let files = files.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().flatten());
        let mut looked_at = 0;
        for file in files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        {
            for text in std::fs::read_to_string(&file).unwrap().split("\n---") {
                let object: Value = serde_saphyr::from_str(text).unwrap();
                let group = object["apiVersion"].as_str().unwrap_or_default();
                if group.contains("istio.io/") || group.contains("maistra.io/") || object["kind"] == "Service"
                {
                    looked_at += 1;
                    assert_eq!(
                        validate(&json!({ "object": object })),
                        Verdict::default(),
                        "{}",
                        file.display()
                    );
                }
            }
        }
        assert!(looked_at > 20, "{looked_at}");
    }
}
