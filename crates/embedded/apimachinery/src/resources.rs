//! The served resources: one [`Resource`] per group, version and plural name, and the [`ResourceTable`] of all.

mod builtin;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::custom::CustomVersion;
use crate::gvk::{GroupVersion, GroupVersionKind};
use crate::printers::Column;
use crate::schema::Schema;
use crate::status::Named;

/// The verbs of an ordinary resource, in the order discovery lists them.
pub const ALL_VERBS: &[&str] =
    &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// The verbs of a review: it is answered, never stored.
pub const REVIEW_VERBS: &[&str] = &["create"];

/// Everything that is known about one served resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// API group, empty for core.
    pub group: String,
    /// Served version.
    pub version: String,
    /// Kind of one object.
    pub kind: String,
    /// Kind of a list.
    pub list_kind: String,
    /// Plural name, as in paths.
    pub plural: String,
    /// Singular name that kubectl accepts.
    pub singular: String,
    /// Short names that kubectl accepts.
    pub short_names: Vec<String>,
    /// Groups of resources such as `all`.
    pub categories: Vec<String>,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Supported verbs; reviews have only `create`.
    pub verbs: &'static [&'static str],
    /// Sub-resources in the order of discovery.
    pub subresources: Vec<Subresource>,
    /// Group, version and plural under which objects are stored. It differs from the served one when two
    /// resources show the same objects (Event) or a custom resource has several versions.
    pub storage: StorageKey,
    /// Name of the type in the schema table and in OpenAPI, for example `core.v1.Pod`.
    pub schema_name: String,
    /// Types of the fields.
    pub schema: Arc<Schema>,
    /// Columns of the Table form.
    pub columns: Arc<[Column]>,
    /// Rules of a custom resource; `None` for built-in kinds.
    pub custom: Option<Arc<CustomVersion>>,
    /// Whether `metadata.generation` counts spec changes.
    pub counts_generation: bool,
}

/// A sub-resource such as `status` or `scale`.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Path segment.
    pub name: String,
    /// Kind of its body, which may be of another group (`autoscaling/v1 Scale`).
    pub gvk: GroupVersionKind,
    /// Supported verbs.
    pub verbs: &'static [&'static str],
}

/// Where the objects of a resource are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageKey {
    /// API group, empty for core.
    pub group: String,
    /// Version the stored objects are in.
    pub version: String,
    /// Plural name.
    pub plural: String,
}

impl Named for Resource {
    fn group(&self) -> &str {
        &self.group
    }

    fn kind(&self) -> &str {
        &self.kind
    }

    fn plural(&self) -> &str {
        &self.plural
    }
}

impl Resource {
    /// Group and version.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion::new(&self.group, &self.version)
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(&self.group, &self.version, &self.kind)
    }

    /// The text of `apiVersion`.
    pub fn api_version(&self) -> String {
        self.group_version().to_string()
    }

    /// `deployments.apps`, or `pods` in the core group: the form of error texts.
    pub fn group_resource(&self) -> String {
        crate::status::group_resource(&self.group, &self.plural)
    }

    /// Whether `verb` may be used on the resource itself.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// The named sub-resource.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether `/status` exists, so that writes of the main resource leave `status` alone.
    pub fn has_status(&self) -> bool {
        self.subresource("status").is_some()
    }

    /// Whether it is a review: answered on create and never stored.
    pub fn is_review(&self) -> bool {
        self.verbs == REVIEW_VERBS
    }
}

/// All served resources. Cheap to clone; a change of the CRDs makes a new one.
#[derive(Clone, Debug, Default)]
pub struct ResourceTable {
    // In discovery order: kubectl resolves an ambiguous name to the first group that has it.
    resources: Vec<Arc<Resource>>,
    by_path: HashMap<(String, String, String), usize>,
    by_kind: HashMap<GroupVersionKind, usize>,
}

static BUILTIN: LazyLock<ResourceTable> = LazyLock::new(|| ResourceTable::from_list(builtin::all()));

impl ResourceTable {
    /// The built-in kinds only.
    pub fn builtin() -> Self {
        BUILTIN.clone()
    }

    /// The built-in kinds and then `custom`, which [`crate::crd::Definition::resources`] makes.
    /// A custom resource never hides a built-in one of the same name.
    pub fn with_custom(custom: impl IntoIterator<Item = Arc<Resource>>) -> Self {
        let mut table = Self::builtin();
        let mut more: Vec<Arc<Resource>> = custom.into_iter().collect();
        more.sort_by(|a, b| {
            (&a.group, version_rank(&b.version), &a.plural).cmp(&(
                &b.group,
                version_rank(&a.version),
                &b.plural,
            ))
        });
        for resource in more {
            table.push(resource);
        }
        table
    }

    fn from_list(resources: Vec<Resource>) -> Self {
        let mut table = Self::default();
        for resource in resources {
            table.push(Arc::new(resource));
        }
        table
    }

    fn push(&mut self, resource: Arc<Resource>) {
        let path = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
        if self.by_path.contains_key(&path) {
            return;
        }
        let index = self.resources.len();
        self.by_path.insert(path, index);
        self.by_kind.entry(resource.gvk()).or_insert(index);
        self.resources.push(resource);
    }

    /// The resource at `/apis/<group>/<version>/<plural>` (`/api/<version>/<plural>` for the core group).
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.by_path.get(&key).and_then(|i| self.resources.get(*i))
    }

    /// The resource whose objects are of this kind.
    pub fn by_kind(&self, gvk: &GroupVersionKind) -> Option<&Arc<Resource>> {
        self.by_kind.get(gvk).and_then(|i| self.resources.get(*i))
    }

    /// All resources in discovery order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter()
    }

    /// The resources that are stored under their own name, once each: what namespace deletion, garbage collection
    /// and start-up walk over.
    pub fn stored(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter().filter(|r| {
            !r.is_review()
                && r.storage.group == r.group
                && r.storage.version == r.version
                && r.storage.plural == r.plural
        })
    }

    /// Group versions in discovery order, the preferred version of a group first.
    pub fn group_versions(&self) -> Vec<GroupVersion> {
        let mut out: Vec<GroupVersion> = Vec::new();
        for resource in &self.resources {
            let gv = resource.group_version();
            if !out.contains(&gv) {
                out.push(gv);
            }
        }
        out
    }

    /// The resources of one group version.
    pub fn in_group_version<'a>(&'a self, gv: &'a GroupVersion) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.resources.iter().filter(move |r| r.group == gv.group && r.version == gv.version)
    }
}

/// Kubernetes' version order as a sortable key: GA over beta over alpha over anything else, then the numbers.
pub fn version_rank(version: &str) -> (u8, u32, u32, std::cmp::Reverse<String>) {
    let other = (0, 0, 0, std::cmp::Reverse(version.to_owned()));
    let Some(rest) = version.strip_prefix('v') else { return other };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (major, rest) = rest.split_at(digits);
    let Ok(major) = major.parse::<u32>() else { return other };
    let same = std::cmp::Reverse(String::new());
    if rest.is_empty() {
        return (3, major, 0, same);
    }
    for (name, stability) in [("beta", 2), ("alpha", 1)] {
        if let Some(Ok(minor)) = rest.strip_prefix(name).map(str::parse::<u32>) {
            return (stability, major, minor, same);
        }
    }
    other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_stability() {
        let mut versions = vec!["v1alpha1", "foo", "v1", "v2beta1", "v2", "v1beta2", "v10"];
        versions.sort_by_key(|v| std::cmp::Reverse(version_rank(v)));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo"]);
    }

    #[test]
    fn the_table_finds_by_path_and_kind() {
        let table = ResourceTable::builtin();
        let deployments = table.get("apps", "v1", "deployments").unwrap();
        assert_eq!(deployments.kind, "Deployment");
        assert!(deployments.namespaced && deployments.has_status());
        assert_eq!(deployments.group_resource(), "deployments.apps");
        assert_eq!(table.by_kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap().plural, "pods");
        assert!(table.get("apps", "v1", "pods").is_none());
        assert_eq!(table.group_versions()[0], GroupVersion::new("", "v1"));
        assert!(table.get("authentication.k8s.io", "v1", "tokenreviews").unwrap().is_review());
        assert!(!table.stored().any(|r| r.group == "events.k8s.io"));
    }
}
