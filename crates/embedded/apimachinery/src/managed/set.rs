//! Sets of field paths, kept as the tree that `fieldsV1` is.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Nesting of `fieldsV1` that is read; clients may send their own.
const MAX_DEPTH: usize = 64;

/// A set of paths. The keys are path elements in `fieldsV1` form: `f:<field>`, `k:<keys of a list item>`,
/// `v:<value of a set item>`, `i:<index>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) nodes: BTreeMap<String, Node>,
}

/// What is known of one path element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    /// The path itself is in the set, not only something below it.
    pub(super) member: bool,
    pub(super) children: Set,
}

impl Set {
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn insert(&mut self, path: &[String]) {
        if let Some((first, rest)) = path.split_first() {
            let node = self.nodes.entry(first.clone()).or_default();
            if rest.is_empty() {
                node.member = true;
            } else {
                node.children.insert(rest);
            }
        }
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.add(other);
        out
    }

    /// Takes in all of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        for (element, node) in &other.nodes {
            let slot = self.nodes.entry(element.clone()).or_default();
            slot.member |= node.member;
            slot.children.add(&node.children);
        }
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && b)
    }

    /// Without the members of `other`; what lies below them stays.
    pub(super) fn difference(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && !b)
    }

    fn combine(&self, other: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let nothing = Node::default();
        let nodes = self.nodes.iter().filter_map(|(element, node)| {
            let theirs = other.nodes.get(element).unwrap_or(&nothing);
            let member = keep(node.member, theirs.member);
            let children = node.children.combine(&theirs.children, keep);
            (member || !children.is_empty()).then(|| (element.clone(), Node { member, children }))
        });
        Self { nodes: nodes.collect() }
    }

    /// `fieldsV1`.
    pub(super) fn to_value(&self) -> Value {
        let mut out = Map::new();
        for (element, node) in &self.nodes {
            let mut below = node.children.to_value();
            if let (true, false, Some(map)) = (node.member, node.children.is_empty(), below.as_object_mut()) {
                map.shift_insert(0, ".".into(), json!({}));
            }
            out.insert(element.clone(), below);
        }
        Value::Object(out)
    }

    pub(super) fn from_value(value: &Value) -> Self {
        Self::read(value, 0)
    }

    fn read(value: &Value, depth: usize) -> Self {
        let mut out = Self::default();
        if depth > MAX_DEPTH {
            return out;
        }
        for (element, below) in value.as_object().into_iter().flatten().filter(|(e, _)| *e != ".") {
            let children = Self::read(below, depth + 1);
            let member = below.get(".").is_some() || children.is_empty();
            out.nodes.insert(element.clone(), Node { member, children });
        }
        out
    }

    /// The members as people read them: `.spec.containers[name="a"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(String::new(), &mut out);
        out
    }

    fn collect(&self, prefix: String, out: &mut Vec<String>) {
        for (element, node) in &self.nodes {
            let path = format!("{prefix}{}", readable(element));
            if node.member {
                out.push(path.clone());
            }
            node.children.collect(path, out);
        }
    }
}

fn readable(element: &str) -> String {
    let (kind, text) = element.split_at_checked(2).unwrap_or((element, ""));
    match kind {
        "f:" => format!(".{text}"),
        "v:" => format!("[={text}]"),
        "k:" => {
            let keys: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("[{}]", keys.join(","))
        }
        _ => format!("[{text}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_v1_round_trips() {
        let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}, "f:x": {"v:\"y\"": {}}}});
        let set = Set::from_value(&fields);
        assert_eq!(set.to_value(), fields);
        assert_eq!(
            set.paths(),
            [
                ".metadata.labels",
                ".metadata.labels.app",
                ".spec.containers[name=\"a\"]",
                ".spec.containers[name=\"a\"].image",
                ".spec.x[=\"y\"]"
            ]
        );
        assert_eq!(set.difference(&set), Set::default());
        assert_eq!(set.intersection(&set), set);
        assert_eq!(set.union(&set), set);
    }
}
