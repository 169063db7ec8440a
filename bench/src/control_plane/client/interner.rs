//! Names and versions of resources, kept once for all proxies, with what each version means to a proxy.

use bytes::Bytes;
use hashbrown::HashMap;
use prost::DecodeError;

use super::kind::Kind;
use super::wire::{Needs, Resource};

/// A resource's number, over all kinds.
pub(crate) type ResourceId = u32;
/// The number of a version of a resource.
pub(crate) type VersionId = u32;

/// What is known of a version.
#[derive(Debug)]
pub(crate) struct Version {
    /// As the control plane calls it.
    text: Box<[u8]>,
    /// Resources that it makes a proxy ask for.
    pub(crate) needs: Vec<(Kind, ResourceId)>,
    /// Its virtual hosts are resources of their own.
    pub(crate) virtual_hosts: bool,
    /// Changes whose marker is in it, as they were looked for when it was first seen.
    pub(crate) changes: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    name: Box<[u8]>,
    /// The latest is the last: that is the one that is looked for.
    versions: Vec<VersionId>,
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    by_name: [HashMap<Box<[u8]>, ResourceId>; Kind::ALL.len()],
    entries: Vec<Entry>,
    versions: Vec<Version>,
}

impl Interner {
    /// The number of a name.
    pub(crate) fn resource(&mut self, kind: Kind, name: &[u8]) -> ResourceId {
        if let Some(id) = self.by_name[kind as usize].get(name) {
            return *id;
        }
        let id = self.entries.len() as ResourceId;
        self.entries.push(Entry { name: name.into(), versions: Vec::new() });
        self.by_name[kind as usize].insert(name.into(), id);
        id
    }

    /// The numbers of a resource and its version. `find` is asked for the changes whose marker is in a body when that is
    /// seen for the first time.
    pub(crate) fn version(
        &mut self,
        kind: Kind,
        resource: &Resource,
        find: impl FnOnce(&Bytes) -> Vec<usize>,
    ) -> Result<(ResourceId, VersionId), DecodeError> {
        let id = self.resource(kind, &resource.name);
        let known = self.entries[id as usize].versions.iter().rev();
        if let Some(version) = known.copied().find(|v| *self.versions[*v as usize].text == *resource.version)
        {
            return Ok((id, version));
        }
        let body = resource.body.as_ref().map(|body| body.value.clone()).unwrap_or_default();
        let changes = find(&body);
        let needs = Needs::of(kind, &resource.name, body)?;
        let names =
            needs.names.iter().map(|(kind, name)| (*kind, self.resource(*kind, name.as_bytes()))).collect();
        let version = self.versions.len() as VersionId;
        self.versions.push(Version {
            text: Box::from(&resource.version[..]),
            needs: names,
            virtual_hosts: needs.virtual_hosts,
            changes,
        });
        self.entries[id as usize].versions.push(version);
        Ok((id, version))
    }

    /// What is known of a version.
    pub(crate) fn get(&self, version: VersionId) -> &Version {
        &self.versions[version as usize]
    }

    /// The name of a resource.
    pub(crate) fn name(&self, id: ResourceId) -> String {
        String::from_utf8_lossy(&self.entries[id as usize].name).into_owned()
    }

    /// The text of a version.
    pub(crate) fn version_text(&self, version: VersionId) -> String {
        String::from_utf8_lossy(&self.get(version).text).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control_plane::client::wire::Any;

    fn resource(name: &'static str, version: &'static str) -> Resource {
        Resource {
            name: Bytes::from_static(name.as_bytes()),
            version: Bytes::from_static(version.as_bytes()),
            body: Some(Any::default()),
        }
    }

    #[test]
    fn a_version_is_read_once() {
        let mut interner = Interner::default();
        let first = interner.version(Kind::Endpoint, &resource("a", "1"), |_| vec![7]).unwrap();
        let again = interner.version(Kind::Endpoint, &resource("a", "1"), |_| panic!("read again")).unwrap();
        assert_eq!(first, again);
        assert_eq!(interner.get(first.1).changes, [7]);
        let next = interner.version(Kind::Endpoint, &resource("a", "2"), |_| Vec::new()).unwrap();
        assert_eq!(next.0, first.0);
        assert_ne!(next.1, first.1);
        assert_eq!((interner.name(next.0), interner.version_text(next.1)), ("a".to_owned(), "2".to_owned()));
    }

    #[test]
    fn kinds_have_names_of_their_own() {
        let mut interner = Interner::default();
        assert_ne!(interner.resource(Kind::Cluster, b"a"), interner.resource(Kind::Endpoint, b"a"));
    }
}
