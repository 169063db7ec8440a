//! Configuration documents in files: JSON or YAML, and the bootstrap message in them.

use std::path::{Path, PathBuf};

use portolan_envoy_api::pb::envoy::config::bootstrap::v3::Bootstrap;
use portolan_xds::json::JsonError;
use prost::Message;
use serde_json::Value;

use crate::yaml;

/// Largest bootstrap or resource file that is read.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Full name of the message.
pub const MESSAGE: &str = "envoy.config.bootstrap.v3.Bootstrap";

/// A bootstrap in both its forms.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The message.
    pub message: Bootstrap,
    /// What the file says, for looking up references to other files.
    pub document: Value,
}

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than allowed.
    #[error("{path} has {size} bytes; at most {MAX_FILE} are read")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// Neither YAML nor JSON.
    #[error("{path} is neither valid YAML nor JSON: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        reason: String,
    },
    /// Not the expected message.
    #[error("{path}: {source}")]
    Schema {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        #[source]
        source: JsonError,
    },
    /// The encoded form does not decode: the descriptor set and the messages differ.
    #[error("{path}: {reason}")]
    Decode {
        /// The file.
        path: PathBuf,
        /// The decoder's words.
        reason: String,
    },
}

/// Reads a JSON or YAML file. JSON is a subset of YAML as far as such files go, but its own parser is exact
/// and much faster on large files.
pub fn read_document(path: &Path) -> Result<Value, FileError> {
    let read = |source| FileError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(read)?.len();
    if size > MAX_FILE {
        return Err(FileError::TooLarge { path: path.to_owned(), size });
    }
    let text = std::fs::read_to_string(path).map_err(read)?;
    parse_document(path, &text)
}

fn parse_document(path: &Path, text: &str) -> Result<Value, FileError> {
    let is_json =
        path.extension().is_some_and(|extension| extension == "json") || text.trim_start().starts_with('{');
    let parsed = if is_json {
        serde_json::from_str(text).map_err(|error| error.to_string())
    } else {
        yaml::parse(text)
    };
    parsed.map_err(|reason| FileError::Syntax { path: path.to_owned(), reason })
}

/// Loads a bootstrap file.
pub fn load(path: &Path) -> Result<Loaded, FileError> {
    from_document(path, read_document(path)?)
}

/// Loads a bootstrap from text; `path` is for errors.
pub fn parse(path: &Path, text: &str) -> Result<Loaded, FileError> {
    from_document(path, parse_document(path, text)?)
}

/// Loads a bootstrap from a document that is in memory; `path` is for errors.
pub fn from_document(path: &Path, document: Value) -> Result<Loaded, FileError> {
    let bytes = portolan_xds::json::from_json(MESSAGE, &document)
        .map_err(|source| FileError::Schema { path: path.to_owned(), source })?;
    let message = Bootstrap::decode(bytes)
        .map_err(|error| FileError::Decode { path: path.to_owned(), reason: error.to_string() })?;
    Ok(Loaded { message, document })
}

#[cfg(test)]
mod tests {
    use super::super::address::admin_address;
    use super::*;

    const YAML: &str = r#"
node: {id: n, cluster: c}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  clusters:
  - name: backend
    type: STATIC
    connect_timeout: 0.25s
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}
"#;

    #[test]
    fn yaml_and_json_say_the_same() {
        let yaml =
            from_document(Path::new("b.yaml"), parse_document(Path::new("b.yaml"), YAML).unwrap()).unwrap();
        let text = serde_json::to_string(&yaml.document).unwrap();
        let json =
            from_document(Path::new("b.json"), parse_document(Path::new("b.json"), &text).unwrap()).unwrap();
        assert_eq!(yaml.message, json.message);
        assert_eq!(admin_address(&yaml.message), Some("127.0.0.1:9901".parse().unwrap()));
        assert_eq!(yaml.message.static_resources.unwrap().clusters[0].name, "backend");
    }

    #[test]
    fn errors_name_the_file() {
        let path = Path::new("b.yaml");
        let syntax = parse_document(path, "a: [").unwrap_err().to_string();
        assert!(syntax.starts_with("b.yaml is neither valid YAML nor JSON"), "{syntax}");
        let schema = from_document(path, serde_json::json!({"nodes": {}})).unwrap_err().to_string();
        assert!(schema.starts_with("b.yaml: ") && schema.contains("nodes"), "{schema}");
    }
}
