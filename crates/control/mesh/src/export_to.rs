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

#[cfg(test)]
mod tests {
    use super::*;

    /// Who of `own`, `other` and `third` sees an object in `own`.
    fn seen_by(export_to: &[&str], default: &[&str]) -> Vec<&'static str> {
        let default: Vec<String> = default.iter().map(|d| (*d).to_owned()).collect();
        let visibility = Visibility::parse(export_to, "own", &default);
        ["own", "other", "third"].into_iter().filter(|ns| visibility.includes(ns)).collect()
    }

    #[test]
    fn what_an_object_says_decides_who_sees_it() {
        let all = vec!["own", "other", "third"];
        for (export_to, expected) in [
            (vec!["*"], all.clone()),
            (vec!["."], vec!["own"]),
            (vec!["~"], vec![]),
            (vec!["other"], vec!["other"]),
            (vec![".", "other"], vec!["own", "other"]),
            (vec![" . ", "~"], vec!["own"]),
            (vec!["~", "*"], all.clone()),
            (vec![""], vec![]),
        ] {
            assert_eq!(seen_by(&export_to, &["third"]), expected, "{export_to:?}");
        }
    }

    #[test]
    fn the_mesh_decides_for_objects_that_say_nothing() {
        assert_eq!(seen_by(&[], &[]), ["own", "other", "third"]);
        assert_eq!(seen_by(&[], &["."]), ["own"]);
        assert_eq!(seen_by(&[], &["other"]), ["other"]);
        assert!(seen_by(&[], &["~"]).is_empty());
    }

    #[test]
    fn only_is_one_namespace() {
        assert!(Visibility::only("own").includes("own") && !Visibility::only("own").includes("other"));
    }
}
