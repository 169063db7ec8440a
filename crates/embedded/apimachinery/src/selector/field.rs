//! Field selectors: every resource can be selected by name and namespace, some by a few fields more.

use serde_json::Value;

use crate::resources::Resource;
use crate::status::ApiStatus;

/// A field selector: terms that must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

/// Fields of built-in kinds besides `metadata.name` and `metadata.namespace`.
fn selectable(resource: &Resource) -> &'static [&'static str] {
    match resource.kind.as_str() {
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "Namespace" => &["status.phase"],
        "Node" => &["spec.unschedulable"],
        "Secret" => &["type"],
        "Service" => &["spec.clusterIP", "spec.type"],
        "ReplicaSet" | "ReplicationController" => &["status.replicas"],
        "Job" => &["status.successful"],
        _ => &[],
    }
}

impl FieldSelector {
    /// Parses the text of `fieldSelector=` for `resource`: `metadata.name=x,status.phase!=Running`.
    ///
    /// # Errors
    /// 400 for a malformed text or a field that the resource cannot be selected by.
    pub fn parse(resource: &Resource, text: &str) -> Result<Self, ApiStatus> {
        let mut terms = Vec::new();
        for part in split(text) {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            let (field, value, equal) = if let Some((f, v)) = part.split_once("!=") {
                (f, v, false)
            } else if let Some((f, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (f, v, true)
            } else {
                return Err(ApiStatus::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            let known = field == "metadata.name"
                || (field == "metadata.namespace" && resource.namespaced)
                || (resource.custom.is_none() && selectable(resource).contains(&field))
                || resource
                    .custom
                    .as_ref()
                    .is_some_and(|c| c.selectable_fields.iter().any(|f| f.trim_start_matches('.') == field));
            if !known {
                return Err(ApiStatus::bad_request(format!(
                    "Unable to find \"{}, Resource={}\" that match label selector \"\", field selector \"{text}\": field label not supported: {field}",
                    resource.group_version(),
                    resource.plural
                )));
            }
            terms.push(Term { field: field.to_owned(), value: unescape(value), equal });
        }
        Ok(Self { terms })
    }

    /// Whether an object matches.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|t| (read(object, &t.field) == t.value) == t.equal)
    }

    /// The name that it demands, if it demands one (`metadata.name=x`): lets a list become a get.
    pub fn name(&self) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == "metadata.name").map(|t| t.value.as_str())
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

fn read(object: &Value, field: &str) -> String {
    let mut at = Some(object);
    // Both Event forms answer to the core names.
    let field = match (field, object.get("regarding").is_some()) {
        ("source", _) => "source.component",
        ("reportingComponent", true) => "reportingController",
        (f, _) => f,
    };
    for (i, part) in field.split('.').enumerate() {
        let part = if i == 0 && part == "involvedObject" && object.get("regarding").is_some() {
            "regarding"
        } else {
            part
        };
        at = at.and_then(|v| v.get(part));
    }
    match at {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(b)) => b.to_string(),
        Some(Value::Number(n)) => n.to_string(),
        _ if matches!(field, "spec.hostNetwork" | "spec.unschedulable") => "false".into(),
        _ if field == "status.replicas" => "0".into(),
        _ => String::new(),
    }
}

/// Splits at commas that are not escaped.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
        escaped = c == '\\' && !escaped;
    }
    parts
}

fn unescape(value: &str) -> String {
    let mut out = String::new();
    let mut escaped = false;
    for c in value.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResourceTable;
    use serde_json::json;

    #[test]
    fn fields_select() {
        let table = ResourceTable::builtin();
        let pods = table.get("", "v1", "pods").unwrap();
        let pod = json!({"metadata": {"name": "a", "namespace": "n"}, "status": {"phase": "Running"}});
        for (text, want) in [
            ("", true),
            ("metadata.name=a", true),
            ("metadata.name==a,metadata.namespace=n", true),
            ("status.phase!=Running", false),
            ("status.phase!=Pending,spec.nodeName=", true),
            ("spec.hostNetwork=false", true),
        ] {
            assert_eq!(FieldSelector::parse(pods, text).unwrap().matches(&pod), want, "{text}");
        }
        assert_eq!(FieldSelector::parse(pods, "metadata.name=a").unwrap().name(), Some("a"));
        assert!(
            FieldSelector::parse(pods, "spec.x=a").unwrap_err().message.contains("not supported: spec.x")
        );
        assert!(FieldSelector::parse(pods, "nonsense").is_err());
        let events = table.get("events.k8s.io", "v1", "events").unwrap();
        let selector = FieldSelector::parse(events, "involvedObject.name=a,source=kubelet").unwrap();
        assert!(
            selector.matches(&json!({"involvedObject": {"name": "a"}, "source": {"component": "kubelet"}}))
        );
    }

    fn selector(group: &str, plural: &str, text: &str) -> Result<FieldSelector, ApiStatus> {
        let table = ResourceTable::builtin();
        FieldSelector::parse(table.iter().find(|r| r.group == group && r.plural == plural).unwrap(), text)
    }

    #[test]
    fn fields_that_are_absent_have_the_value_of_nothing() {
        for (plural, text) in [
            ("pods", "spec.hostNetwork=false"),
            ("nodes", "spec.unschedulable=false"),
            ("replicationcontrollers", "status.replicas=0"),
            ("services", "spec.clusterIP="),
            ("namespaces", "status.phase="),
            ("secrets", "type="),
        ] {
            assert!(selector("", plural, text).unwrap().matches(&json!({})), "{plural} {text}");
        }
        assert!(
            selector("", "nodes", "spec.unschedulable=true")
                .unwrap()
                .matches(&json!({"spec": {"unschedulable": true}}))
        );
        assert!(
            selector("apps", "replicasets", "status.replicas=3")
                .unwrap()
                .matches(&json!({"status": {"replicas": 3}}))
        );
        assert!(
            selector("batch", "jobs", "status.successful=1")
                .unwrap()
                .matches(&json!({"status": {"successful": 1}}))
        );
    }

    #[test]
    fn both_forms_of_an_event_answer_to_the_core_names() {
        let text = "involvedObject.kind=Pod,reportingComponent=c";
        let old = json!({"involvedObject": {"kind": "Pod"}, "reportingComponent": "c"});
        let new = json!({"regarding": {"kind": "Pod"}, "reportingController": "c"});
        for event in [old, new] {
            assert!(selector("", "events", text).unwrap().matches(&event), "{event}");
        }
        assert!(!selector("", "events", text).unwrap().matches(&json!({"regarding": {"kind": "Node"}})));
    }

    #[test]
    fn a_namespace_selects_only_what_is_in_one() {
        assert!(selector("", "pods", "metadata.namespace=n").is_ok());
        assert!(selector("", "nodes", "metadata.namespace=n").is_err());
    }

    #[test]
    fn values_may_contain_escaped_commas() {
        let found = selector("", "pods", r"metadata.name=a\,b\\,spec.nodeName=n").unwrap();
        assert_eq!(found.name(), Some("a,b\\"));
        assert!(found.matches(&json!({"metadata": {"name": "a,b\\"}, "spec": {"nodeName": "n"}})));
    }

    #[test]
    fn only_a_name_that_is_demanded_is_the_name() {
        assert_eq!(selector("", "pods", "metadata.name!=a").unwrap().name(), None);
        assert_eq!(selector("", "pods", "spec.nodeName=a").unwrap().name(), None);
        assert!(selector("", "pods", " , ").unwrap().is_empty());
        assert!(!selector("", "pods", "metadata.name=a").unwrap().is_empty());
    }
}
