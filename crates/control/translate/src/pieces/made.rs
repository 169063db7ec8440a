//! What a piece makes.

use std::sync::Arc;

use portolan_mesh::Asked;
use portolan_xds::Resource;

/// What a piece makes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Made {
    /// The resources.
    pub resources: Arc<[Arc<Resource>]>,
    /// Types and names of what an audience that shares with others does not have of what these have.
    pub absent: Arc<[(&'static str, Arc<str>)]>,
    /// What was asked to make them, where others share them.
    pub asked: Option<Arc<Asked>>,
}

impl Made {
    /// Hides what those have with whom its audience shares, and it has not.
    pub(super) fn instead_of(mut self, shared: &Self) -> Self {
        let is_here = |other: &Resource| {
            self.resources.iter().any(|own| own.type_url == other.type_url && own.name == other.name)
        };
        let gone = shared.resources.iter().filter(|resource| !is_here(resource));
        self.absent = gone.map(|resource| (resource.type_url, resource.name.clone())).collect();
        self
    }
}
