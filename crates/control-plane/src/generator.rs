//! Stands in until `translate` is there.
use portolan_mesh::{ProxyNode, Snapshot};
use portolan_xds::Resource;
use std::sync::Arc;

/// Stand-in.
#[derive(Default)]
pub struct Generator;

impl Generator {
    /// Nothing.
    pub fn generate(&self, _: &Snapshot, _: &ProxyNode, _: &str, _: Option<&[String]>) -> Vec<Arc<Resource>> {
        Vec::new()
    }
}
