//! A container's environment, command and arguments.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, Pod, Secret};
use kube::{Api, Client, ResourceExt as _};

use super::fields::{Addresses, Capacity, FieldError, field, resource};

/// PATH of a container that sets none; the first entry holds the programs of the image catalogue.
pub(crate) const DEFAULT_PATH: &str =
    "/portolan/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why an environment cannot be made (`CreateContainerConfigError`).
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnvError {
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    Key { kind: &'static str, namespace: String, name: String, key: String },
    #[error("environment variable {name}: {source}")]
    Field { name: String, source: FieldError },
    #[error("environment variable {0}: this kind of valueFrom is not supported")]
    Unsupported(String),
    #[error("reading {kind} \"{name}\": {source}")]
    Api { kind: &'static str, name: String, source: Box<kube::Error> },
}

/// Reads ConfigMaps and Secrets of one namespace, each once.
pub(crate) struct Sources<'a> {
    client: &'a Client,
    namespace: &'a str,
    config_maps: BTreeMap<String, Option<BTreeMap<String, Vec<u8>>>>,
    secrets: BTreeMap<String, Option<BTreeMap<String, Vec<u8>>>>,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(client: &'a Client, namespace: &'a str) -> Self {
        Sources { client, namespace, config_maps: BTreeMap::new(), secrets: BTreeMap::new() }
    }

    /// The data of a ConfigMap; `None` if there is none.
    pub(crate) async fn config_map(
        &mut self,
        name: &str,
    ) -> Result<Option<&BTreeMap<String, Vec<u8>>>, EnvError> {
        if !self.config_maps.contains_key(name) {
            let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.namespace);
            let data = get(&api, "configmap", name).await?.map(|map: ConfigMap| {
                let text = map.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.into_bytes()));
                text.chain(map.binary_data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0))).collect()
            });
            self.config_maps.insert(name.to_owned(), data);
        }
        Ok(self.config_maps.get(name).and_then(Option::as_ref))
    }

    /// The data of a Secret; `None` if there is none.
    pub(crate) async fn secret(
        &mut self,
        name: &str,
    ) -> Result<Option<&BTreeMap<String, Vec<u8>>>, EnvError> {
        if !self.secrets.contains_key(name) {
            let api: Api<Secret> = Api::namespaced(self.client.clone(), self.namespace);
            let data = get(&api, "secret", name).await?.map(|secret: Secret| {
                secret.data.unwrap_or_default().into_iter().map(|(k, v)| (k, v.0)).collect()
            });
            self.secrets.insert(name.to_owned(), data);
        }
        Ok(self.secrets.get(name).and_then(Option::as_ref))
    }
}

async fn get<K>(api: &Api<K>, kind: &'static str, name: &str) -> Result<Option<K>, EnvError>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let failed = |source| EnvError::Api { kind, name: name.to_owned(), source: Box::new(source) };
    api.get_opt(name).await.map_err(failed)
}

/// Everything that an environment depends on.
pub(crate) struct EnvInput<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) addresses: Addresses,
    pub(crate) capacity: Capacity,
    pub(crate) hostname: &'a str,
    pub(crate) kubernetes: (String, u16),
}

/// The variables in the order in which they are set; later ones win.
pub(crate) async fn environment(
    input: &EnvInput<'_>,
    sources: &mut Sources<'_>,
) -> Result<BTreeMap<String, String>, EnvError> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOSTNAME".to_owned(), input.hostname.to_owned()),
        ("HOME".to_owned(), "/".to_owned()),
        ("KUBERNETES_SERVICE_HOST".to_owned(), input.kubernetes.0.clone()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), input.kubernetes.1.to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), input.kubernetes.1.to_string()),
    ]);
    for source in input.container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (kind, name, optional, data) = if let Some(reference) = &source.config_map_ref {
            let data = sources.config_map(&reference.name).await?;
            ("configmap", &reference.name, reference.optional, data)
        } else if let Some(reference) = &source.secret_ref {
            let data = sources.secret(&reference.name).await?;
            ("secret", &reference.name, reference.optional, data)
        } else {
            continue;
        };
        match data {
            Some(data) => {
                for (key, value) in data {
                    env.insert(format!("{prefix}{key}"), String::from_utf8_lossy(value).into_owned());
                }
            }
            None if optional == Some(true) => {}
            None => return Err(EnvError::Missing { kind, name: name.clone() }),
        }
    }
    for variable in input.container.env.iter().flatten() {
        if let Some(value) = value(input, variable, &env, sources).await? {
            env.insert(variable.name.clone(), value);
        }
    }
    Ok(env)
}

async fn value(
    input: &EnvInput<'_>,
    variable: &EnvVar,
    env: &BTreeMap<String, String>,
    sources: &mut Sources<'_>,
) -> Result<Option<String>, EnvError> {
    let Some(from) = &variable.value_from else {
        return Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), env)));
    };
    let wrap = |source| EnvError::Field { name: variable.name.clone(), source };
    if let Some(reference) = &from.field_ref {
        return field(input.pod, &reference.field_path, Some(input.addresses)).map(Some).map_err(wrap);
    }
    if let Some(reference) = &from.resource_field_ref {
        let value = resource(input.pod, Some(input.container), reference, input.capacity);
        return value.map(Some).map_err(wrap);
    }
    let (kind, name, key, optional, data) = if let Some(r) = &from.config_map_key_ref {
        ("configmap", &r.name, &r.key, r.optional, sources.config_map(&r.name).await?)
    } else if let Some(r) = &from.secret_key_ref {
        ("secret", &r.name, &r.key, r.optional, sources.secret(&r.name).await?)
    } else {
        return Err(EnvError::Unsupported(variable.name.clone()));
    };
    match (data, data.and_then(|d| d.get(key))) {
        (_, Some(value)) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        _ if optional == Some(true) => Ok(None),
        (None, _) => Err(EnvError::Missing { kind, name: name.clone() }),
        (Some(_), None) => Err(EnvError::Key {
            kind,
            namespace: input.pod.namespace().unwrap_or_default(),
            name: name.clone(),
            key: key.clone(),
        }),
    }
}

/// Replaces `$(NAME)` by the variable, if there is one; `$$` is a dollar sign.
pub(crate) fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match env.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    let _ = write!(out, "$({name})");
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands() {
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())]);
        for (text, expected) in [
            ("x$(A)y", "x1y"),
            ("$(NONE)", "$(NONE)"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(A)"),
            ("$", "$"),
            ("$(A", "$(A"),
            ("5$ $(A)", "5$ 1"),
        ] {
            assert_eq!(expand(text, &env), expected, "{text}");
        }
    }
}
