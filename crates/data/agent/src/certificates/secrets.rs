//! The agent's secrets by their SDS names, shared by the data path and the SDS server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use portolan_envoy_api::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use portolan_envoy_api::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret,
};
use prost::Message;
use tokio::sync::watch;

use crate::upstream::WorkloadCertificate;
use crate::xds_client::RootsSink;

/// Name of the workload's own certificate and key.
pub const WORKLOAD: &str = "default";
/// Name of the roots that peers are verified with.
pub const ROOT: &str = "ROOTCA";
/// Prefix of certificate and key in files: `file-cert:<chain>~<key>`.
const FILE_CERT: &str = "file-cert:";
/// Prefix of a root certificate in a file.
const FILE_ROOT: &str = "file-root:";
/// Files that one proxy may have watched as secrets.
const MAX_FILE_SECRETS: usize = 256;

/// One secret, encoded once for all its readers.
#[derive(Clone)]
pub struct StoredSecret {
    /// Changes with the content.
    pub version: Arc<str>,
    /// The encoded `Secret` message.
    pub body: Bytes,
}

impl std::fmt::Debug for StoredSecret {
    /// The body holds a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredSecret").field("version", &self.version).finish_non_exhaustive()
    }
}

/// All secrets of the agent. Writers are the certificate task and the file watcher; readers wait on
/// [`SecretHub::changes`] and look up what they need.
#[derive(Debug, Clone)]
pub struct SecretHub {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    secrets: Mutex<BTreeMap<String, StoredSecret>>,
    files: Mutex<BTreeMap<String, FileSecret>>,
    roots: Mutex<RootSources>,
    generation: watch::Sender<u64>,
}

/// The two places that roots may come from.
#[derive(Debug, Default)]
struct RootSources {
    /// Root of the certificate's own chain.
    chain: Option<Secret>,
    /// What the control plane answers for `ROOTCA`: it wins, because only it knows the trust of other meshes.
    control_plane: Option<Secret>,
}

/// A secret that lives in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSecret {
    /// Certificate chain and key.
    Certificate(PathBuf, PathBuf),
    /// Roots.
    Root(PathBuf),
}

impl FileSecret {
    /// Parses an SDS name; `None` when it does not name files.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(rest) = name.strip_prefix(FILE_CERT) {
            let (chain, key) = rest.split_once('~')?;
            Some(FileSecret::Certificate(chain.into(), key.into()))
        } else {
            name.strip_prefix(FILE_ROOT).map(|path| FileSecret::Root(path.into()))
        }
    }
}

/// Whether the agent, not the control plane, supplies the secret called `name`.
pub fn is_own(name: &str) -> bool {
    name == WORKLOAD || name == ROOT || FileSecret::parse(name).is_some()
}

impl Default for SecretHub {
    fn default() -> Self {
        SecretHub {
            inner: Arc::new(Inner {
                secrets: Mutex::default(),
                files: Mutex::default(),
                roots: Mutex::default(),
                generation: watch::channel(0).0,
            }),
        }
    }
}

impl SecretHub {
    /// The secret, if it is there already.
    pub fn get(&self, name: &str) -> Option<StoredSecret> {
        self.inner.secrets.lock().get(name).cloned()
    }

    /// Says when any secret changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.generation.subscribe()
    }

    /// Sets a secret; readers are told if it differs.
    pub fn set(&self, secret: &Secret) {
        let body = Bytes::from(secret.encode_to_vec());
        {
            let mut secrets = self.inner.secrets.lock();
            if secrets.get(&secret.name).is_some_and(|old| old.body == body) {
                return;
            }
            let version = Arc::from(fresh_version());
            secrets.insert(secret.name.clone(), StoredSecret { version, body });
        }
        self.inner.generation.send_modify(|generation| *generation += 1);
    }

    /// The root of our own certificate's chain: `ROOTCA` as long as the control plane says nothing about it.
    pub fn set_chain_root(&self, pem: Vec<u8>) {
        self.update_roots(|roots| roots.chain = Some(root_secret(ROOT, pem)));
    }

    /// The control plane's `ROOTCA`, with the bundles of federated meshes.
    pub fn set_control_plane_root(&self, secret: Secret) {
        self.update_roots(|roots| roots.control_plane = Some(secret));
    }

    /// The control plane has no opinion on `ROOTCA` any more.
    pub fn clear_control_plane_root(&self) {
        self.update_roots(|roots| roots.control_plane = None);
    }

    fn update_roots(&self, change: impl FnOnce(&mut RootSources)) {
        let mut roots = self.inner.roots.lock();
        change(&mut roots);
        if let Some(secret) = roots.control_plane.as_ref().or(roots.chain.as_ref()) {
            self.set(secret);
        }
    }

    /// Asks for a secret in files to be read and watched. False when there are too many.
    pub fn want_file(&self, name: &str) -> bool {
        let Some(file) = FileSecret::parse(name) else { return true };
        let mut files = self.inner.files.lock();
        if files.contains_key(name) {
            return true;
        }
        if files.len() >= MAX_FILE_SECRETS {
            return false;
        }
        files.insert(name.to_owned(), file);
        true
    }

    /// Reads all wanted files again. Called by the watcher, off the data path.
    pub fn refresh_files(&self) {
        let files = self.inner.files.lock().clone();
        for (name, file) in files {
            let secret = match &file {
                FileSecret::Certificate(chain, key) => std::fs::read(chain)
                    .and_then(|chain| Ok(certificate_secret(&name, chain, std::fs::read(key)?))),
                FileSecret::Root(path) => std::fs::read(path).map(|pem| root_secret(&name, pem)),
            };
            match secret {
                Ok(secret) => self.set(&secret),
                Err(error) => tracing::debug!(secret = name, %error, "secret file cannot be read yet"),
            }
        }
    }
}

impl WorkloadCertificate for SecretHub {
    fn workload_certificate(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let secret = Secret::decode(self.get(WORKLOAD)?.body).ok()?;
        let Some(secret::Type::TlsCertificate(certificate)) = secret.r#type else { return None };
        let bytes = |source: Option<DataSource>| match source?.specifier? {
            Specifier::InlineBytes(bytes) => Some(bytes),
            _ => None,
        };
        Some((bytes(certificate.certificate_chain)?, bytes(certificate.private_key)?))
    }
}

impl RootsSink for SecretHub {
    fn name(&self) -> &str {
        ROOT
    }

    fn set_roots(&self, body: &[u8]) -> Result<(), String> {
        let secret = Secret::decode(body).map_err(|error| format!("not a Secret message: {error}"))?;
        if secret.name != ROOT {
            return Err(format!("the message is named {:?}", secret.name));
        }
        self.set_control_plane_root(secret);
        Ok(())
    }

    fn clear_roots(&self) {
        self.clear_control_plane_root();
    }
}

/// A version that never repeats within and across runs.
fn fresh_version() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

/// Certificate chain and key as an SDS secret.
pub fn certificate_secret(name: &str, chain: Vec<u8>, key: Vec<u8>) -> Secret {
    Secret {
        name: name.to_owned(),
        r#type: Some(secret::Type::TlsCertificate(TlsCertificate {
            certificate_chain: Some(inline(chain)),
            private_key: Some(inline(key)),
            ..TlsCertificate::default()
        })),
    }
}

/// Roots as an SDS secret.
pub fn root_secret(name: &str, pem: Vec<u8>) -> Secret {
    Secret {
        name: name.to_owned(),
        r#type: Some(secret::Type::ValidationContext(CertificateValidationContext {
            trusted_ca: Some(inline(pem)),
            ..CertificateValidationContext::default()
        })),
    }
}

fn inline(bytes: Vec<u8>) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(bytes)), ..DataSource::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(
            FileSecret::parse("file-cert:/a/chain.pem~/a/key.pem"),
            Some(FileSecret::Certificate("/a/chain.pem".into(), "/a/key.pem".into()))
        );
        assert!(is_own("default") && is_own("ROOTCA") && is_own("file-root:/ca.pem"));
        assert!(!is_own("kubernetes://bookinfo-cert") && !is_own("file-cert:/only-one"));
    }

    #[test]
    fn only_changes_are_announced() {
        let hub = SecretHub::default();
        let mut changes = hub.changes();
        hub.set(&root_secret(ROOT, b"one".to_vec()));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
        let first = hub.get(ROOT).unwrap().version;
        hub.set(&root_secret(ROOT, b"one".to_vec()));
        assert!(!changes.has_changed().unwrap());
        hub.set(&root_secret(ROOT, b"two".to_vec()));
        assert!(changes.has_changed().unwrap());
        assert_ne!(hub.get(ROOT).unwrap().version, first);
    }

    #[test]
    fn roots_of_the_control_plane_win_until_they_are_withdrawn() {
        let hub = SecretHub::default();
        let root = |hub: &SecretHub| hub.get(ROOT).unwrap().body;
        hub.set_chain_root(b"chain".to_vec());
        let chain = root(&hub);
        hub.set_control_plane_root(root_secret(ROOT, b"bundles".to_vec()));
        let bundles = root(&hub);
        assert_ne!(chain, bundles);
        hub.set_chain_root(b"rotated".to_vec());
        assert_eq!(root(&hub), bundles);
        hub.clear_control_plane_root();
        assert_eq!(root(&hub), Bytes::from(root_secret(ROOT, b"rotated".to_vec()).encode_to_vec()));
    }

    #[test]
    fn files_are_read_when_they_appear() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let name = format!("file-root:{}", path.display());
        let hub = SecretHub::default();
        assert!(hub.want_file(&name));
        hub.refresh_files();
        assert!(hub.get(&name).is_none());
        std::fs::write(&path, "pem").unwrap();
        hub.refresh_files();
        assert!(hub.get(&name).is_some());
    }

    #[test]
    fn debug_output_has_no_key() {
        let hub = SecretHub::default();
        hub.set(&certificate_secret(WORKLOAD, b"CHAIN".to_vec(), b"PRIVATE".to_vec()));
        assert!(!format!("{hub:?}").contains("PRIVATE"));
    }
}
