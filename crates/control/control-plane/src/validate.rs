//! The validating webhook's judgement of one object (docs/reference/istiod.md).

use portolan_resources::validation::{DecodeError, validate_json};
use serde_json::Value;

/// What the webhook answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why the object is refused; nothing when it is taken.
    pub refused: Option<String>,
    /// Shown to the user either way.
    pub warnings: Vec<String>,
}

/// Longest warning that the API server passes on.
const MAX_WARNING: usize = 256;

/// Judges one object. Unknown kinds pass: the webhook's rules may name more than this version knows.
pub fn validate(object: &Value) -> Verdict {
    match validate_json(object) {
        Ok(report) => {
            let warnings = report
                .warnings
                .iter()
                .map(|finding| finding.to_string().chars().take(MAX_WARNING).collect())
                .collect();
            let refused = (!report.is_valid()).then(|| {
                let findings: Vec<String> = report.errors.iter().map(ToString::to_string).collect();
                format!("configuration is invalid: {}", findings.join("; "))
            });
            Verdict { refused, warnings }
        }
        Err(error @ DecodeError::UnknownKind { .. }) => {
            Verdict { refused: None, warnings: vec![error.to_string()] }
        }
        Err(error) => {
            Verdict { refused: Some(format!("configuration is invalid: {error}")), warnings: Vec::new() }
        }
    }
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
        assert_eq!(validate(&object).refused, None);
        object["spec"]["http"][0]["route"][1]["weight"] = (-1).into();
        let refused = validate(&object).refused.unwrap();
        assert!(refused.contains("route"), "{refused}");
        let unknown = json!({"apiVersion": "x/v1", "kind": "Y"});
        assert_eq!(validate(&unknown).refused, None);
    }
}
