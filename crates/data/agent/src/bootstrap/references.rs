//! References from configuration to files that hold more of it.

use std::path::PathBuf;

use portolan_envoy_api::pb::envoy::config::core::v3::{ConfigSource, config_source::ConfigSourceSpecifier};
use serde_json::Value;

use portolan_dataplane::config::ResourceKind;

/// Depth of nesting in a resource that is searched for references to files.
const MAX_DEPTH: usize = 64;

/// One file that holds resources.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileSource {
    /// Its path.
    pub path: PathBuf,
}

impl FileSource {
    /// A file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        FileSource { path: path.into() }
    }
}

/// The file that a configuration source names.
pub(super) fn file_of(source: &ConfigSource) -> Option<PathBuf> {
    match source.config_source_specifier.as_ref()? {
        ConfigSourceSpecifier::PathConfigSource(path) => Some(path.path.clone().into()),
        #[expect(deprecated, reason = "files of older Envoy versions use `path`")]
        ConfigSourceSpecifier::Path(path) => Some(path.into()),
        _ => None,
    }
}

/// All files that a resource (as JSON) refers to as configuration sources, found by the fields that hold
/// sources: `eds_config`, `rds.config_source`, `sds_config`.
pub fn file_references(document: &Value) -> Vec<(ResourceKind, FileSource)> {
    let mut found = Vec::new();
    walk(document, &mut found, 0);
    found
}

fn walk(value: &Value, found: &mut Vec<(ResourceKind, FileSource)>, depth: usize) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::Array(list) => list.iter().for_each(|item| walk(item, found, depth + 1)),
        Value::Object(map) => {
            for (key, item) in map {
                let source = match key.as_str() {
                    "eds_config" | "edsConfig" => Some((ResourceKind::Endpoints, item)),
                    "sds_config" | "sdsConfig" => Some((ResourceKind::Secret, item)),
                    "rds" => item
                        .get("config_source")
                        .or_else(|| item.get("configSource"))
                        .map(|source| (ResourceKind::Routes, source)),
                    _ => None,
                };
                match source.and_then(|(kind, source)| Some((kind, path_in(source)?))) {
                    Some((kind, path)) => found.push((kind, FileSource::new(path))),
                    None => walk(item, found, depth + 1),
                }
            }
        }
        _ => {}
    }
}

fn path_in(source: &Value) -> Option<PathBuf> {
    let nested = source.get("path_config_source").or_else(|| source.get("pathConfigSource"));
    nested.and_then(|nested| nested.get("path")).or_else(|| source.get("path"))?.as_str().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_to_files() {
        let found = file_references(&json!({
            "eds_cluster_config": {"eds_config": {"path_config_source": {"path": "/eds.yaml"}}},
            "filter_chains": [{"filters": [{"typed_config": {
                "rds": {"route_config_name": "r", "config_source": {"path": "/rds.yaml"}}}}]}],
            "other": {"sds_config": {"ads": {}}, "path": "/not-a-source"}
        }));
        let paths: Vec<_> = found.iter().map(|(kind, file)| (*kind, file.path.to_str().unwrap())).collect();
        assert_eq!(paths, [(ResourceKind::Endpoints, "/eds.yaml"), (ResourceKind::Routes, "/rds.yaml")]);
    }
}
