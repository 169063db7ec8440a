//! Small builders for tests.

use std::sync::Arc;

use crate::{Resource, type_url};

/// A resource whose body spells out name and version.
pub(crate) fn resource(name: &str, version: &str) -> Arc<Resource> {
    Arc::new(Resource {
        name: name.into(),
        version: version.into(),
        type_url: type_url::CLUSTER,
        body: format!("{name}@{version}").into_bytes().into(),
    })
}
