//! What we import from a peer (docs/reference/federation.md).

use portolan_resources::federation::{
    ImportedServiceSetSpec, ImportedServiceSetStatus, LocalServiceKey, MeshServiceMapping,
};

use crate::message::ServiceMessage;
use crate::rules::ImportedAs;
use crate::{ImportRules, LocalMesh, Peer};

/// A service that a peer offers, and what it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// What the peer sent.
    pub message: ServiceMessage,
    /// Name and namespace here, and the host; `None` when no rule imports it.
    pub(crate) local: Option<ImportedAs>,
}

impl Import {
    /// Host under which the service is reached here; `None` when it is not imported.
    pub fn host(&self) -> Option<&str> {
        self.local.as_ref().map(|local| local.host.as_str())
    }
}

/// Applies the import rules to what the peer offers.
pub fn imports(
    mesh: &LocalMesh,
    peer: &Peer,
    set: Option<&ImportedServiceSetSpec>,
    offered: &[ServiceMessage],
) -> Vec<Import> {
    let nothing = ImportedServiceSetSpec::default();
    let rules =
        ImportRules { set: set.unwrap_or(&nothing), peer: &peer.name, cluster_domain: &mesh.cluster_domain };
    let one = |message: &ServiceMessage| Import {
        message: message.clone(),
        local: rules.apply(&message.name, &message.namespace),
    };
    offered.iter().map(one).collect()
}

/// Status of the ImportedServiceSet: all that is offered; what is imported has a local host name.
pub fn import_status(imports: &[Import]) -> ImportedServiceSetStatus {
    let mut imported_services: Vec<MeshServiceMapping> = imports
        .iter()
        .map(|import| MeshServiceMapping {
            local_service: import.local.as_ref().map_or_else(LocalServiceKey::default, |local| {
                LocalServiceKey {
                    name: local.name.clone(),
                    namespace: local.namespace.clone(),
                    hostname: local.host.clone(),
                }
            }),
            exported_name: import.message.hostname.clone(),
        })
        .collect();
    imported_services.sort_by(|a, b| a.exported_name.cmp(&b.exported_name));
    ImportedServiceSetStatus { imported_services }
}

#[cfg(test)]
mod tests;
