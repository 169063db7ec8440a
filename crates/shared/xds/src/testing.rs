//! Small builders for tests.

use std::sync::Arc;

use crate::{Resource, server::Collected, type_url};

/// A resource whose body spells out name and generation.
pub(crate) fn resource(name: &str, generation: &str) -> Arc<Resource> {
    let body = format!("{name}@{generation}").into_bytes();
    Arc::new(Resource::new(name, type_url::CLUSTER, body.into()))
}

/// The version of such a resource, as a client has it.
pub(crate) fn version(name: &str, generation: &str) -> String {
    resource(name, generation).version.to_string()
}

/// All resources that a client may see: names with their generations.
pub(crate) fn world(resources: &[(&str, &str)]) -> Collected {
    resources.iter().map(|(name, generation)| resource(name, generation)).collect()
}
