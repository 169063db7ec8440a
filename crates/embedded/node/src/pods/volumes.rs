//! A Pod's volumes: directories below `pods/<uid>/volumes/<name>`, bind-mounted into the containers.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, Pod, ServiceAccount, ServiceAccountTokenProjection, Volume,
};
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};

use super::env::{EnvError, Sources};
use super::fields::{Addresses, Capacity, FieldError, field, resource, service_account};
use super::files::{self, FileData, FileError, Payload};

/// Size limit of one volume's files, the API's limit of an object several times over.
const MAX_VOLUME_BYTES: usize = 16 << 20;
/// Life of a token when the volume does not say.
const DEFAULT_TOKEN_SECONDS: i64 = 3600;
/// A token is replaced when this share of its life is over (the kubelet's rule).
const TOKEN_REFRESH_PERCENT: i64 = 80;
/// Mode of projected files when nothing is said.
const DEFAULT_MODE: i32 = 0o644;
/// Name of the volume that stands for the service account's credentials when the Pod declares none.
pub(crate) const ACCESS_VOLUME: &str = "kube-api-access";
/// Where containers look for them.
pub(crate) const ACCESS_PATH: &str = portolan_names::paths::SERVICE_ACCOUNT_DIR;

/// Why a volume is not there (event `FailedMount`).
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error(transparent)]
    Source(#[from] EnvError),
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error("{kind} \"{name}\" has no key \"{key}\"")]
    Key { kind: &'static str, name: String, key: String },
    #[error("token of service account \"{account}\": {source}")]
    Token { account: String, source: Box<kube::Error> },
    #[error("the API server returned no token for service account \"{0}\"")]
    NoToken(String),
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("larger than {MAX_VOLUME_BYTES} bytes")]
    TooLarge,
    #[error(
        "volume type not supported here: use emptyDir, configMap, secret, projected or downwardAPI \
         (the embedded cluster gives Pods no access to the machine's files)"
    )]
    Unsupported,
    #[error(transparent)]
    File(#[from] FileError),
}

struct Token {
    text: String,
    refresh_at: Timestamp,
}

/// The volumes of one Pod.
pub(crate) struct Volumes {
    root: PathBuf,
    /// Group that owns the files and may read them (`fsGroup`).
    group: Option<u32>,
    /// By volume and path inside it.
    tokens: HashMap<(String, String), Token>,
}

/// What the contents depend on.
pub(crate) struct VolumeInput<'a> {
    pub(crate) client: &'a Client,
    pub(crate) pod: &'a Pod,
    pub(crate) addresses: Addresses,
    pub(crate) capacity: Capacity,
}

impl Volumes {
    pub(crate) fn new(pod: &Pod, pod_dir: &Path) -> Volumes {
        let group = pod.spec.as_ref().and_then(|s| s.security_context.as_ref()).and_then(|s| s.fs_group);
        let group = group.and_then(|g| u32::try_from(g).ok());
        Volumes { root: pod_dir.join("volumes"), group, tokens: HashMap::new() }
    }

    /// The directory of a volume.
    pub(crate) fn path(&self, volume: &str) -> PathBuf {
        self.root.join(volume)
    }

    /// When the next token has to be replaced.
    pub(crate) fn next_refresh(&self) -> Option<Timestamp> {
        self.tokens.values().map(|t| t.refresh_at).min()
    }

    /// Makes all volumes, or brings them up to date. On an error the ones before are done; call again.
    pub(crate) async fn update(&mut self, input: &VolumeInput<'_>) -> Result<(), (String, VolumeError)> {
        let namespace = input.pod.namespace().unwrap_or_default();
        let mut sources = Sources::new(input.client, &namespace);
        let volumes = input.pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        for volume in volumes {
            self.one(input, &mut sources, volume).await.map_err(|e| (volume.name.clone(), e))?;
        }
        if needs_access(input.pod) {
            let volume = access_volume();
            self.one(input, &mut sources, &volume).await.map_err(|e| (volume.name.clone(), e))?;
        }
        Ok(())
    }

    async fn one(
        &mut self,
        input: &VolumeInput<'_>,
        sources: &mut Sources<'_>,
        volume: &Volume,
    ) -> Result<(), VolumeError> {
        let dir = self.path(&volume.name);
        if volume.empty_dir.is_some() {
            return Ok(files::open_to_all(dir).await?);
        }
        let mut payload = Payload::new();
        if let Some(source) = &volume.config_map {
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            let data = sources.config_map(&source.name).await?;
            let keyed = Keyed { kind: "configmap", name: &source.name, optional: source.optional, data };
            keyed.pick(source.items.as_deref(), mode, &mut payload)?;
        } else if let Some(source) = &volume.secret {
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            let name = source.secret_name.as_deref().unwrap_or_default();
            let data = sources.secret(name).await?;
            let keyed = Keyed { kind: "secret", name, optional: source.optional, data };
            keyed.pick(source.items.as_deref(), mode, &mut payload)?;
        } else if let Some(source) = &volume.downward_api {
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            downward(input, source.items.as_deref().unwrap_or_default(), mode, &mut payload)?;
        } else if let Some(source) = &volume.projected {
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            for part in source.sources.iter().flatten() {
                if let Some(s) = &part.config_map {
                    let data = sources.config_map(&s.name).await?;
                    let keyed = Keyed { kind: "configmap", name: &s.name, optional: s.optional, data };
                    keyed.pick(s.items.as_deref(), mode, &mut payload)?;
                }
                if let Some(s) = &part.secret {
                    let data = sources.secret(&s.name).await?;
                    let keyed = Keyed { kind: "secret", name: &s.name, optional: s.optional, data };
                    keyed.pick(s.items.as_deref(), mode, &mut payload)?;
                }
                if let Some(s) = &part.downward_api {
                    downward(input, s.items.as_deref().unwrap_or_default(), mode, &mut payload)?;
                }
                if let Some(s) = &part.service_account_token {
                    let bytes = self.token(input, &volume.name, s).await?.into_bytes();
                    payload.insert(s.path.clone(), FileData { bytes, mode });
                }
            }
        } else {
            return Err(VolumeError::Unsupported);
        }
        if payload.values().map(|f| f.bytes.len()).sum::<usize>() > MAX_VOLUME_BYTES {
            return Err(VolumeError::TooLarge);
        }
        Ok(files::replace(dir, payload, self.group).await?)
    }

    async fn token(
        &mut self,
        input: &VolumeInput<'_>,
        volume: &str,
        source: &ServiceAccountTokenProjection,
    ) -> Result<String, VolumeError> {
        let key = (volume.to_owned(), source.path.clone());
        if let Some(token) = self.tokens.get(&key)
            && Timestamp::now() < token.refresh_at
        {
            return Ok(token.text.clone());
        }
        let account = service_account(input.pod).to_owned();
        let namespace = input.pod.namespace().unwrap_or_default();
        let seconds = source.expiration_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(source.audience.iter().filter(|a| !a.is_empty()).cloned().collect()),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(input.pod.name_any()),
                    uid: input.pod.uid(),
                }),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(input.client.clone(), &namespace);
        let answer = api.create_token_request(&account, &PostParams::default(), &request).await;
        let answer =
            answer.map_err(|e| VolumeError::Token { account: account.clone(), source: Box::new(e) })?;
        let status = answer.status.unwrap_or_default();
        let text = status.token.ok_or_else(|| VolumeError::NoToken(account))?;
        let now = Timestamp::now();
        // The server may give less than was asked for.
        let end = status.expiration_timestamp.map_or(now.as_second() + seconds, |t| t.0.as_second());
        let life = (end - now.as_second()).clamp(1, seconds.max(1));
        let wait = jiff::SignedDuration::from_secs(life * TOKEN_REFRESH_PERCENT / 100);
        let refresh_at = now.checked_add(wait).unwrap_or(now);
        self.tokens.insert(key, Token { text: text.clone(), refresh_at });
        Ok(text)
    }
}

/// Whether the Pod gets its service account's credentials although it declares no volume for them: an API server with the
/// ServiceAccount admission plug-in would have added one.
pub(crate) fn needs_access(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let mounted = spec
        .containers
        .iter()
        .flat_map(|c| c.volume_mounts.iter().flatten())
        .any(|m| m.mount_path.trim_end_matches('/') == ACCESS_PATH);
    !mounted && spec.automount_service_account_token != Some(false)
}

fn access_volume() -> Volume {
    let items = serde_json::json!({ "name": ACCESS_VOLUME, "projected": { "sources": [
        { "serviceAccountToken": { "path": "token", "expirationSeconds": DEFAULT_TOKEN_SECONDS + 7 } },
        { "configMap": { "name": "kube-root-ca.crt", "optional": true, "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
        { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "fieldPath": "metadata.namespace" } }] } },
    ] } });
    serde_json::from_value(items).unwrap_or_default()
}

/// The ConfigMaps and Secrets that a Pod's volumes come from, to know which changes matter.
pub(crate) fn references(pod: &Pod) -> std::collections::HashSet<(Kind, String)> {
    let mut found = std::collections::HashSet::new();
    if needs_access(pod) {
        found.insert((Kind::ConfigMap, "kube-root-ca.crt".to_owned()));
    }
    for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
        if let Some(source) = &volume.config_map {
            found.insert((Kind::ConfigMap, source.name.clone()));
        }
        if let Some(name) = volume.secret.as_ref().and_then(|s| s.secret_name.clone()) {
            found.insert((Kind::Secret, name));
        }
        for part in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
            found.extend(part.config_map.iter().map(|s| (Kind::ConfigMap, s.name.clone())));
            found.extend(part.secret.iter().map(|s| (Kind::Secret, s.name.clone())));
        }
    }
    found
}

/// A kind of object that volumes are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
}

struct Keyed<'a> {
    kind: &'static str,
    name: &'a str,
    optional: Option<bool>,
    data: Option<&'a BTreeMap<String, Vec<u8>>>,
}

impl Keyed<'_> {
    /// All keys, or the listed ones under the paths they ask for.
    fn pick(self, items: Option<&[KeyToPath]>, mode: i32, into: &mut Payload) -> Result<(), VolumeError> {
        let optional = self.optional == Some(true);
        let Some(data) = self.data else {
            let missing = VolumeError::Missing { kind: self.kind, name: self.name.to_owned() };
            return if optional { Ok(()) } else { Err(missing) };
        };
        match items.filter(|i| !i.is_empty()) {
            None => {
                let all = data.iter().map(|(k, v)| (k.clone(), FileData { bytes: v.clone(), mode }));
                into.extend(all);
            }
            Some(items) => {
                for item in items {
                    match data.get(&item.key) {
                        Some(bytes) => {
                            let file = FileData { bytes: bytes.clone(), mode: item.mode.unwrap_or(mode) };
                            into.insert(item.path.clone(), file);
                        }
                        None if optional => {}
                        None => {
                            return Err(VolumeError::Key {
                                kind: self.kind,
                                name: self.name.to_owned(),
                                key: item.key.clone(),
                            });
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn downward(
    input: &VolumeInput<'_>,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
    into: &mut Payload,
) -> Result<(), VolumeError> {
    for item in items {
        let text = if let Some(reference) = &item.field_ref {
            field(input.pod, &reference.field_path, Some(input.addresses))?
        } else if let Some(reference) = &item.resource_field_ref {
            resource(input.pod, None, reference, input.capacity)?
        } else {
            continue;
        };
        into.insert(
            item.path.clone(),
            FileData { bytes: text.into_bytes(), mode: item.mode.unwrap_or(mode) },
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implicit_credentials() {
        let volume = access_volume();
        assert_eq!(volume.projected.unwrap().sources.unwrap().len(), 3);
    }
}
