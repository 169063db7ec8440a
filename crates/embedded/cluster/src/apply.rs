//! Server-side apply of objects of any kind, as `kubectl apply --server-side` does it.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::discovery::Scope;
use kube::{Api, Client};
use serde_json::Value;

/// Who owns the fields that are applied here.
pub const FIELD_MANAGER: &str = "portolan";
/// A kind whose CRD was applied a moment ago takes a little until it is served.
const KIND_WAIT: Duration = Duration::from_secs(10);
const KIND_POLL: Duration = Duration::from_millis(100);

/// Why an object could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The object has no kind or name.
    #[error("an object without {0}: every manifest needs apiVersion, kind and metadata.name")]
    Incomplete(&'static str),
    /// The text is not YAML.
    #[error("not YAML: {0}")]
    Yaml(String),
    /// The API server does not know the kind.
    #[error("{api_version} {kind} is unknown to the cluster: is its CRD installed?")]
    UnknownKind {
        /// As in the manifest.
        api_version: String,
        /// As in the manifest.
        kind: String,
    },
    /// The API server refused.
    #[error("{what}: {source}")]
    Refused {
        /// Kind and name.
        what: String,
        /// Its answer.
        #[source]
        source: kube::Error,
    },
}

/// Splits YAML text into its documents; empty ones are left out.
pub fn documents(text: &str) -> Result<Vec<Value>, ApplyError> {
    let all: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| ApplyError::Yaml(error.to_string()))?;
    Ok(all.into_iter().filter(|document| !document.is_null()).collect())
}

fn text<'a>(object: &'a Value, pointer: &str, what: &'static str) -> Result<&'a str, ApplyError> {
    object.pointer(pointer).and_then(Value::as_str).ok_or(ApplyError::Incomplete(what))
}

/// Applies one object; `namespace` is used where a namespaced object names none.
pub async fn apply(client: &Client, object: &Value, namespace: &str) -> Result<DynamicObject, ApplyError> {
    let (api, name, what) = locate(client, object, namespace).await?;
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(object))
        .await
        .map_err(|source| ApplyError::Refused { what, source })
}

/// Deletes the object that a manifest describes; one that is not there is no error.
pub async fn delete(client: &Client, object: &Value, namespace: &str) -> Result<(), ApplyError> {
    let (api, name, what) = locate(client, object, namespace).await?;
    match api.delete(&name, &kube::api::DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => Err(ApplyError::Refused { what, source }),
    }
}

async fn locate(
    client: &Client,
    object: &Value,
    namespace: &str,
) -> Result<(Api<DynamicObject>, String, String), ApplyError> {
    let api_version = text(object, "/apiVersion", "apiVersion")?;
    let kind = text(object, "/kind", "kind")?;
    let name = text(object, "/metadata/name", "metadata.name")?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let (resource, scope) = find(client, &gvk).await?;
    let api = match scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace =
                object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or(namespace);
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    };
    Ok((api, name.to_owned(), format!("{kind} {name}")))
}

async fn find(client: &Client, gvk: &GroupVersionKind) -> Result<(ApiResource, Scope), ApplyError> {
    let deadline = tokio::time::Instant::now() + KIND_WAIT;
    loop {
        match kube::discovery::pinned_kind(client, gvk).await {
            Ok((resource, capabilities)) => return Ok((resource, capabilities.scope)),
            Err(error) => {
                let missing = matches!(&error, kube::Error::Api(status) if status.is_not_found())
                    || matches!(error, kube::Error::Discovery(_));
                let what = format!("{} {}", gvk.api_version(), gvk.kind);
                if !missing {
                    return Err(ApplyError::Refused { what, source: error });
                }
                if tokio::time::Instant::now() > deadline {
                    return Err(ApplyError::UnknownKind {
                        api_version: gvk.api_version(),
                        kind: gvk.kind.clone(),
                    });
                }
            }
        }
        tokio::time::sleep(KIND_POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_split_and_empty_ones_dropped() {
        let all = documents("# comment\na: 1\n---\n---\nb: [x]\n").unwrap();
        assert_eq!(all, [serde_json::json!({"a": 1}), serde_json::json!({"b": ["x"]})]);
        assert!(documents("a: [").is_err());
    }
}
