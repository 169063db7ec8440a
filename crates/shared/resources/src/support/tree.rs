//! Tables as trees, so that an object is judged in one walk.

use std::{collections::BTreeMap, sync::LazyLock};

use super::{Entry, Subject, Support, TABLES, Table};

/// Segment of the items of a list.
pub(super) const ITEMS: &str = "[]";
/// Segment of the values of a map.
pub(super) const VALUES: &str = "{}";

/// A field and what is in it.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The entry for whatever value.
    pub(super) support: Option<Support>,
    /// Entries for single values.
    pub(super) values: Vec<(String, Support)>,
    /// What is below.
    pub(super) below: BTreeMap<String, Node>,
}

impl Node {
    /// What the table says to a value of this field.
    pub(super) fn support_of(&self, value: &str) -> Option<Support> {
        let of_value =
            self.values.iter().find(|(pattern, _)| fits(pattern, value)).map(|(_, support)| *support);
        of_value.or(self.support)
    }

    fn of(table: &Table) -> Self {
        let mut root = Self::default();
        for (path, support) in table.entries() {
            let (path, value) = match path.split_once('=') {
                Some((path, value)) => (path, Some(value)),
                None => (path.as_str(), None),
            };
            let node = segments(path).fold(&mut root, |node, s| node.below.entry(s.to_owned()).or_default());
            match value {
                Some(value) => node.values.push((value.to_owned(), support)),
                None => node.support = Some(support),
            }
        }
        root
    }
}

/// Whether a text is what a pattern says; a star at its end stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => text == pattern,
    }
}

/// What entries that are names say to a name with a value: an entry for the value, else one for the name.
pub(super) fn named(entries: &[Entry], name: &str, value: &str) -> Option<Support> {
    let of_value = entries.iter().find(|entry| {
        entry.path.split_once('=').is_some_and(|(path, pattern)| path == name && fits(pattern, value))
    });
    let of_name = || entries.iter().find(|entry| entry.path == name);
    let of_prefix = || entries.iter().find(|entry| entry.path.ends_with('*') && fits(entry.path, name));
    of_value.or_else(of_name).or_else(of_prefix).map(|entry| entry.support)
}

/// The parts of a path: names, and what stands for items and values.
pub(super) fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').flat_map(|part| {
        let start = part.find(['[', '{']).unwrap_or(part.len());
        let (name, rest) = part.split_at(start);
        let nested = (0..rest.len()).step_by(2).filter_map(move |at| rest.get(at..at + 2));
        std::iter::once(name).chain(nested)
    })
}

/// The tree of a table; nothing for tables of names.
pub(super) fn tree(name: &str) -> Option<&'static Node> {
    static TREES: LazyLock<BTreeMap<&str, Node>> = LazyLock::new(|| {
        let trees = TABLES.iter().filter(|table| table.subject != Subject::Names);
        trees.map(|table| (table.name, Node::of(table))).collect()
    });
    TREES.get(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_parts() {
        let parts: Vec<_> = segments("spec.a[].b{}.c[][]").collect();
        assert_eq!(parts, ["spec", "a", "[]", "b", "{}", "c", "[]", "[]"]);
    }

    #[test]
    fn a_value_has_its_own_entry_or_that_of_the_field() {
        let works = Support::Works { test: "a" };
        let refused = Support::Refused { message: "b" };
        let node = Node {
            support: Some(works),
            values: vec![("X".to_owned(), refused), ("y.*".to_owned(), refused)],
            ..Node::default()
        };
        for (value, expected) in [("X", refused), ("XX", works), ("y.z", refused), ("y", works)] {
            assert_eq!(node.support_of(value), Some(expected), "{value}");
        }
    }
}
