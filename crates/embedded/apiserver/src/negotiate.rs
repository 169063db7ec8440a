//! The form of an answer, by `Accept`.

use portolan_apimachinery::ApiStatus;

/// How objects are to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are, in JSON.
    Object,
    /// As `meta.k8s.io/v1 Table`.
    Table,
    /// Only `metadata`.
    Metadata,
}

/// What we can produce, for the error text.
const PRODUCED: &[&str] = &["application/json"];

/// The first form of the list that we have. No `Accept` means JSON.
///
/// # Errors
/// 406 when the client takes none of ours (protobuf alone, for instance).
pub(crate) fn form(accept: Option<&str>) -> Result<Form, ApiStatus> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Ok(Form::Object) };
    accept.split(',').find_map(range_form).ok_or_else(|| ApiStatus::not_acceptable(PRODUCED))
}

fn range_form(range: &str) -> Option<Form> {
    let mut parts = range.split(';').map(str::trim);
    if !matches!(parts.next()?, "application/json" | "application/*" | "*/*") {
        return None;
    }
    let mut form = Form::Object;
    for parameter in parts {
        match parameter.split_once('=')? {
            ("as", "Table") => form = Form::Table,
            ("as", "PartialObjectMetadata" | "PartialObjectMetadataList") => form = Form::Metadata,
            ("as", _) => return None,
            ("g", group) if group != "meta.k8s.io" => return None,
            ("v", version) if version != "v1" => return None,
            _ => {}
        }
    }
    Some(form)
}

/// The version of aggregated discovery (`v2`, `v2beta1`) that the client prefers over the plain form.
pub(crate) fn aggregated_discovery(accept: Option<&str>) -> Option<&'static str> {
    for range in accept?.split(',') {
        let parts: Vec<&str> = range.split(';').map(str::trim).collect();
        if parts.first() != Some(&"application/json") && parts.first() != Some(&"*/*") {
            continue;
        }
        if !parts.contains(&"as=APIGroupDiscoveryList") {
            return None;
        }
        if parts.contains(&"v=v2") {
            return Some("v2");
        }
        if parts.contains(&"v=v2beta1") {
            return Some("v2beta1");
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (accept, want) in [
            (None, Some(Form::Object)),
            (Some("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), Some(Form::Table)),
            (Some("application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json"), Some(Form::Object)),
            (Some("application/vnd.kubernetes.protobuf,application/json"), Some(Form::Object)),
            (Some("application/vnd.kubernetes.protobuf"), None),
            (Some("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"), Some(Form::Metadata)),
            (Some("*/*"), Some(Form::Object)),
        ] {
            assert_eq!(form(accept).ok(), want, "{accept:?}");
        }
    }

    #[test]
    fn discovery_forms() {
        let header = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(aggregated_discovery(Some(header)), Some("v2"));
        assert_eq!(aggregated_discovery(Some("application/json")), None);
        assert_eq!(aggregated_discovery(Some("*/*")), None);
    }
}
