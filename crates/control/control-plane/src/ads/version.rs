//! Resources that are not made by the generator.

use std::sync::Arc;

use portolan_xds::Resource;
use sha2::{Digest, Sha256};

/// A resource whose version is a hash of its content.
pub(super) fn resource(name: &str, type_url: &'static str, body: bytes::Bytes) -> Arc<Resource> {
    let hash = Sha256::digest(&body);
    let version: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Arc::new(Resource { name: name.into(), version: version.into(), type_url, body })
}
