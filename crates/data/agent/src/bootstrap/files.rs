//! Configuration in files (`path_config_source`): `DiscoveryResponse` documents, read again when they change.
//!
//! Changes are noticed by looking at the files' identity, size and modification time twice a second. That
//! works on every file system and with every way of replacing a file, unlike inotify on the file itself
//! (Envoy sees only moves, which surprises people who edit in place).

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use portolan_envoy_api::pb::envoy::config::bootstrap::v3::Bootstrap;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::document::{FileError, read_document};
use super::references::{FileSource, file_of, file_references};
use portolan_dataplane::config::{ConfigStore, ConfigUpdate, ResourceKind};

/// How often files are looked at.
const POLL: Duration = Duration::from_millis(500);
/// Files that one configuration may refer to.
const MAX_FILES: usize = 4096;

/// What a file looked like: device, inode, size, modification time.
type Stamp = (u64, u64, u64, i64, i64);

#[derive(Debug, Default)]
struct Watched {
    stamp: Option<Stamp>,
    /// Resources that this file supplied last: name -> content.
    supplied: BTreeMap<String, Bytes>,
}

/// Names that files supply, for whoever else could ask for them.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<BTreeSet<(ResourceKind, String)>>>);

impl Claims {
    /// Whether a file supplies this resource.
    pub fn has(&self, kind: ResourceKind, name: &str) -> bool {
        self.0.lock().contains(&(kind, name.to_owned()))
    }
}

/// Reads the files of a bootstrap and keeps watching them.
#[derive(Debug)]
pub struct FileWatcher {
    store: ConfigStore,
    files: BTreeMap<(ResourceKind, PathBuf), Watched>,
    claims: Claims,
    /// Whether there is a control plane that virtual hosts can come from.
    vhds: bool,
}

impl FileWatcher {
    /// A watcher of everything that `bootstrap` (and its document) refers to.
    pub fn new(bootstrap: &Bootstrap, document: &Value, store: ConfigStore) -> Self {
        let ads = bootstrap.dynamic_resources.as_ref().and_then(|dynamic| dynamic.ads_config.as_ref());
        let mut watcher =
            FileWatcher { store, files: BTreeMap::new(), claims: Claims::default(), vhds: ads.is_some() };
        if let Some(dynamic) = &bootstrap.dynamic_resources {
            for (kind, source) in
                [(ResourceKind::Cluster, &dynamic.cds_config), (ResourceKind::Listener, &dynamic.lds_config)]
            {
                if let Some(path) = source.as_ref().and_then(file_of) {
                    watcher.add(kind, path);
                }
            }
        }
        if let Some(resources) = document.get("static_resources").or_else(|| document.get("staticResources"))
        {
            for (kind, file) in file_references(resources) {
                watcher.add(kind, file.path);
            }
        }
        watcher
    }

    /// The names that files supply.
    pub fn claims(&self) -> Claims {
        self.claims.clone()
    }

    /// Whether there is nothing to watch.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn add(&mut self, kind: ResourceKind, path: PathBuf) {
        if self.files.len() < MAX_FILES {
            self.files.entry((kind, path)).or_default();
        } else {
            tracing::warn!(path = %path.display(), "more than {MAX_FILES} configuration files; this one is ignored");
        }
    }

    /// Watches until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL) => self.poll(),
            }
        }
    }

    /// Reads what changed. New references of what was read are followed at once.
    pub fn poll(&mut self) {
        loop {
            let before = self.files.len();
            // Clusters before endpoints before routes before listeners: nothing warms longer than it must.
            for kind in ResourceKind::ALL {
                let paths: Vec<PathBuf> =
                    self.files.keys().filter(|(k, _)| *k == kind).map(|(_, path)| path.clone()).collect();
                for path in paths {
                    self.check(kind, &path);
                }
            }
            if self.files.len() == before {
                return;
            }
        }
    }

    fn check(&mut self, kind: ResourceKind, path: &Path) {
        let stamp =
            std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec()));
        let key = (kind, path.to_owned());
        let Some(watched) = self.files.get_mut(&key) else { return };
        if stamp.is_none() || watched.stamp == stamp {
            return;
        }
        watched.stamp = stamp;
        match read_resources(kind, path) {
            Ok(resources) => self.take(&key, resources),
            Err(error) => {
                tracing::warn!(kind = ?kind, %error, "configuration file is not usable; its last good content stays in force");
            }
        }
    }

    fn take(&mut self, key: &(ResourceKind, PathBuf), resources: Resources) {
        let Some(watched) = self.files.get_mut(key) else { return };
        let kind = key.0;
        let mut update = ConfigUpdate::new(kind);
        if !self.vhds {
            update = update.without_vhds();
        }
        for (name, body) in &resources.bodies {
            if watched.supplied.get(name) != Some(body) {
                update = update.upsert(name.clone(), resources.version.clone(), body.clone());
            }
        }
        update.removed =
            watched.supplied.keys().filter(|name| !resources.bodies.contains_key(*name)).cloned().collect();
        {
            let mut claims = self.claims.0.lock();
            for name in &update.removed {
                claims.remove(&(kind, name.clone()));
            }
            claims.extend(resources.bodies.keys().map(|name| (kind, name.clone())));
        }
        let (changed, removed) = (update.upserts.len(), update.removed.len());
        watched.supplied = resources.bodies;
        if changed + removed > 0 {
            match self.store.apply(update) {
                Ok(()) => {
                    tracing::info!(path = %key.1.display(), changed, removed, "configuration file read")
                }
                Err(reasons) => {
                    for rejection in &reasons {
                        tracing::warn!(path = %key.1.display(), %rejection, "resource rejected; its predecessor stays in force");
                    }
                    // A rejected resource is tried again when the file changes, whatever its content.
                    for rejection in reasons {
                        watched.supplied.remove(&rejection.name);
                    }
                }
            }
        }
        for (kind, file) in resources.references {
            self.add(kind, file.path);
        }
    }
}

struct Resources {
    version: String,
    bodies: BTreeMap<String, Bytes>,
    references: Vec<(ResourceKind, FileSource)>,
}

fn read_resources(kind: ResourceKind, path: &Path) -> Result<Resources, FileError> {
    let document = read_document(path)?;
    let bad = |reason: String| FileError::Decode { path: path.to_owned(), reason };
    let list = match document.get("resources") {
        Some(Value::Array(list)) => list.as_slice(),
        None | Some(Value::Null) => &[],
        Some(_) => return Err(bad("`resources` must be a list".into())),
    };
    let version = document.get("version_info").or_else(|| document.get("versionInfo"));
    let mut resources = Resources {
        version: version.and_then(Value::as_str).unwrap_or_default().to_owned(),
        bodies: BTreeMap::new(),
        references: file_references(&document),
    };
    for (index, item) in list.iter().enumerate() {
        // Resources may be wrapped in `envoy.service.discovery.v3.Resource`.
        let item = match item.get("resource") {
            Some(inner) if type_of(item).is_none_or(|t| t.ends_with(".Resource")) => inner,
            _ => item,
        };
        let url = type_of(item).ok_or_else(|| bad(format!("resources[{index}] has no @type")))?;
        if url != kind.type_url() {
            return Err(bad(format!("resources[{index}] is of type {url}, expected {}", kind.type_url())));
        }
        let mut fields = item.clone();
        if let Some(map) = fields.as_object_mut() {
            map.remove("@type");
        }
        let body = portolan_xds::json::from_json(url, &fields)
            .map_err(|source| FileError::Schema { path: path.to_owned(), source })?;
        let name_fields: &[&str] = match kind {
            ResourceKind::Endpoints => &["cluster_name", "clusterName"],
            _ => &["name"],
        };
        let name =
            name_fields.iter().find_map(|field| item.get(field)).and_then(Value::as_str).unwrap_or_default();
        resources.bodies.insert(name.to_owned(), body);
    }
    Ok(resources)
}

fn type_of(item: &Value) -> Option<&str> {
    item.get("@type").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cds.yaml");
        std::fs::write(
            &path,
            r#"
version_info: "3"
resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: a
  type: EDS
  eds_cluster_config: {eds_config: {path_config_source: {path: /eds.yaml}}}
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: b
"#,
        )
        .unwrap();
        let resources = read_resources(ResourceKind::Cluster, &path).unwrap();
        assert_eq!(resources.version, "3");
        assert_eq!(resources.bodies.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(resources.references, [(ResourceKind::Endpoints, FileSource::new("/eds.yaml"))]);

        let Err(error) = read_resources(ResourceKind::Listener, &path) else { panic!("wrong type accepted") };
        assert!(error.to_string().contains("resources[0] is of type"), "{error}");
    }

    /// What becomes of a route configuration that lies in a file and has `vhds`.
    fn dump_of_routes(dynamic_resources: Value) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rds.yaml");
        std::fs::write(
            &path,
            r#"
resources:
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: r
  vhds: {config_source: {ads: {}, resource_api_version: V3}}
"#,
        )
        .unwrap();
        let document = serde_json::json!({
            "dynamic_resources": dynamic_resources,
            "static_resources": {"listeners": [{"filter_chains": [{"filters": [{"typed_config": {
                "rds": {"config_source": {"path": path}}}}]}]}]},
        });
        let bootstrap = serde_json::json!({"dynamic_resources": dynamic_resources});
        let bootstrap =
            super::super::document::from_document(Path::new("b.json"), bootstrap).unwrap().message;
        let options = portolan_dataplane::DataPlaneOptions { concurrency: 1, ..Default::default() };
        let data_plane = portolan_dataplane::DataPlane::start(options).unwrap();
        FileWatcher::new(&bootstrap, &document, data_plane.config()).poll();
        let names = data_plane.config().dump().into_iter().map(|entry| entry.name).collect();
        data_plane.shutdown();
        names
    }

    #[test]
    fn a_file_may_leave_virtual_hosts_to_a_control_plane_only_where_there_is_one() {
        assert_eq!(dump_of_routes(serde_json::json!({})), [""; 0]);
        let service =
            serde_json::json!([{"google_grpc": {"target_uri": "istiod:15010", "stat_prefix": "x"}}]);
        let ads = serde_json::json!({"api_type": "DELTA_GRPC", "grpc_services": service});
        assert_eq!(dump_of_routes(serde_json::json!({"ads_config": ads})), ["r"]);
    }
}
