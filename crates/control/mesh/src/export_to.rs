//! Who sees an object: `exportTo`.

use std::collections::BTreeSet;

/// Namespaces that see an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// All.
    #[default]
    Public,
    /// These. Empty means nobody (`~`).
    Namespaces(BTreeSet<String>),
}

impl Visibility {
    /// Only the given namespace.
    pub fn only(namespace: &str) -> Self {
        Self::Namespaces(BTreeSet::from([namespace.to_owned()]))
    }

    /// Reads `exportTo` of an object in `own`; `default` is the mesh's setting for objects that say nothing.
    pub fn parse<S: AsRef<str>>(export_to: &[S], own: &str, default: &[String]) -> Self {
        if export_to.is_empty() {
            if default.is_empty() {
                return Self::Public;
            }
            return Self::of(default.iter().map(String::as_str), own);
        }
        Self::of(export_to.iter().map(AsRef::as_ref), own)
    }

    fn of<'a>(values: impl Iterator<Item = &'a str>, own: &str) -> Self {
        let mut namespaces = BTreeSet::new();
        for value in values.map(str::trim) {
            match value {
                "*" => return Self::Public,
                "." => {
                    namespaces.insert(own.to_owned());
                }
                "~" | "" => {}
                name => {
                    namespaces.insert(name.to_owned());
                }
            }
        }
        Self::Namespaces(namespaces)
    }

    /// Whether `namespace` sees the object.
    pub fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::Public => true,
            Self::Namespaces(set) => set.contains(namespace),
        }
    }
}
