//! Who owns whom, and what follows from it: a decision without any I/O.

use std::collections::{HashMap, HashSet};

use kube::api::ObjectMeta;

/// Finalizer of an owner that must outlive its dependents.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner whose dependents must outlive it.
pub(crate) const ORPHAN: &str = "orphan";

/// A uid.
pub(crate) type Uid = String;

/// Where an object is found: an index into the list of watched kinds, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) kind: usize,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
}

/// One owner reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: Uid,
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) blocks: bool,
}

#[derive(Debug, Clone)]
struct Node {
    place: Place,
    owners: Vec<Owner>,
    deleting: bool,
    finalizers: Vec<String>,
}

/// What is to be done to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Delete it (in the background: its own dependents follow).
    Delete { uid: Uid, place: Place },
    /// Take these owners off it.
    Disown { uid: Uid, place: Place, owners: Vec<Uid> },
    /// Take this finalizer off it.
    Release { uid: Uid, place: Place, finalizer: &'static str },
    /// Delete it iff none of these owners exists any more; that must be asked of the API, for the graph
    /// may simply not have seen them yet.
    Verify { uid: Uid, place: Place, owners: Vec<Owner> },
}

/// The objects that own or are owned, and those that are on their way out.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: HashMap<Uid, Node>,
    dependents: HashMap<Uid, HashSet<Uid>>,
}

impl Graph {
    /// Takes an object's present state in; the uids to decide about because of it.
    pub(crate) fn set(&mut self, place: Place, meta: &ObjectMeta) -> Vec<Uid> {
        let Some(uid) = meta.uid.clone() else { return Vec::new() };
        let owners: Vec<Owner> = meta
            .owner_references
            .iter()
            .flatten()
            .map(|owner| Owner {
                uid: owner.uid.clone(),
                api_version: owner.api_version.clone(),
                kind: owner.kind.clone(),
                name: owner.name.clone(),
                blocks: owner.block_owner_deletion == Some(true),
            })
            .collect();
        let mut affected = vec![uid.clone()];
        self.unlink(&uid, &mut affected);
        for owner in &owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
            affected.push(owner.uid.clone());
        }
        let node = Node {
            place,
            owners,
            deleting: meta.deletion_timestamp.is_some(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
        };
        self.nodes.insert(uid, node);
        affected
    }

    /// Takes an object out; the uids to decide about because of it.
    pub(crate) fn remove(&mut self, uid: &str) -> Vec<Uid> {
        let mut affected: Vec<Uid> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        self.unlink(uid, &mut affected);
        self.nodes.remove(uid);
        affected
    }

    /// All uids of a kind (to find those that vanished while a watch was broken).
    pub(crate) fn of_kind(&self, kind: usize) -> Vec<Uid> {
        self.nodes.iter().filter(|(_, node)| node.place.kind == kind).map(|(uid, _)| uid.clone()).collect()
    }

    fn unlink(&mut self, uid: &str, affected: &mut Vec<Uid>) {
        let Some(node) = self.nodes.get(uid) else { return };
        for owner in &node.owners {
            affected.push(owner.uid.clone());
            if let Some(set) = self.dependents.get_mut(&owner.uid) {
                set.remove(uid);
                if set.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    fn dependents(&self, uid: &str) -> impl Iterator<Item = (&Uid, &Node)> {
        self.dependents.get(uid).into_iter().flatten().filter_map(|uid| self.nodes.get_key_value(uid))
    }

    /// What follows for one object.
    pub(crate) fn decide(&self, uid: &str) -> Vec<Action> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        let has = |finalizer: &str| node.finalizers.iter().any(|found| found == finalizer);
        if node.deleting && has(ORPHAN) {
            return self.orphan(uid, node);
        }
        if node.deleting && has(FOREGROUND) {
            return self.foreground(uid, node);
        }
        if node.deleting || node.owners.is_empty() {
            return Vec::new();
        }
        let (present, absent): (Vec<&Owner>, Vec<&Owner>) =
            node.owners.iter().partition(|owner| self.nodes.contains_key(&owner.uid));
        if absent.is_empty() {
            return Vec::new();
        }
        if present.is_empty() {
            let owners = absent.into_iter().cloned().collect();
            return vec![Action::Verify { uid: uid.to_owned(), place: node.place.clone(), owners }];
        }
        Vec::new()
    }

    fn orphan(&self, uid: &str, node: &Node) -> Vec<Action> {
        let mut actions: Vec<Action> = self
            .dependents(uid)
            .map(|(dependent, found)| Action::Disown {
                uid: dependent.clone(),
                place: found.place.clone(),
                owners: vec![uid.to_owned()],
            })
            .collect();
        if actions.is_empty() {
            actions.push(Action::Release {
                uid: uid.to_owned(),
                place: node.place.clone(),
                finalizer: ORPHAN,
            });
        }
        actions
    }

    fn foreground(&self, uid: &str, node: &Node) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut blocked = false;
        for (dependent, found) in self.dependents(uid) {
            blocked |= found.owners.iter().any(|owner| owner.uid == uid && owner.blocks);
            let other_owner =
                found.owners.iter().any(|owner| owner.uid != uid && self.nodes.contains_key(&owner.uid));
            if found.deleting {
                continue;
            }
            actions.push(if other_owner {
                let owners = vec![uid.to_owned()];
                Action::Disown { uid: dependent.clone(), place: found.place.clone(), owners }
            } else {
                Action::Delete { uid: dependent.clone(), place: found.place.clone() }
            });
        }
        if !blocked {
            actions.push(Action::Release {
                uid: uid.to_owned(),
                place: node.place.clone(),
                finalizer: FOREGROUND,
            });
        }
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn place(name: &str) -> Place {
        Place { kind: 0, namespace: None, name: name.to_owned() }
    }

    fn meta(uid: &str, owners: &[&str], extra: Value) -> ObjectMeta {
        let owners: Vec<Value> = owners
            .iter()
            .map(|owner| json!({"apiVersion": "v1", "kind": "K", "name": owner, "uid": owner, "blockOwnerDeletion": true}))
            .collect();
        let mut value = json!({"name": uid, "uid": uid, "ownerReferences": owners});
        for (key, field) in extra.as_object().unwrap() {
            value[key] = field.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    fn leaving(finalizer: &str) -> Value {
        json!({"deletionTimestamp": "2024-01-01T00:00:00Z", "finalizers": [finalizer]})
    }

    #[test]
    fn dependents_of_a_vanished_owner_are_verified_then_go() {
        let mut graph = Graph::default();
        graph.set(place("a"), &meta("a", &[], json!({})));
        graph.set(place("b"), &meta("b", &["a"], json!({})));
        assert_eq!(graph.decide("b"), []);
        assert_eq!(graph.remove("a"), ["b"]);
        assert!(
            matches!(&graph.decide("b")[..], [Action::Verify { uid, owners, .. }] if uid == "b" && owners.len() == 1)
        );
    }

    #[test]
    fn one_living_owner_is_enough() {
        let mut graph = Graph::default();
        graph.set(place("a"), &meta("a", &[], json!({})));
        graph.set(place("b"), &meta("b", &["a", "gone"], json!({})));
        assert_eq!(graph.decide("b"), []);
    }

    #[test]
    fn foreground_deletes_the_dependents_first() {
        let mut graph = Graph::default();
        graph.set(place("b"), &meta("b", &["a"], json!({})));
        let affected = graph.set(place("a"), &meta("a", &[], leaving(FOREGROUND)));
        assert_eq!(affected, ["a"]);
        assert_eq!(graph.decide("a"), [Action::Delete { uid: "b".into(), place: place("b") }]);
        // While it is on its way, the owner waits; when it is gone, the owner is asked about again.
        graph.set(place("b"), &meta("b", &["a"], json!({"deletionTimestamp": "2024-01-01T00:00:00Z"})));
        assert_eq!(graph.decide("a"), []);
        assert_eq!(graph.remove("b"), ["a"]);
        assert_eq!(
            graph.decide("a"),
            [Action::Release { uid: "a".into(), place: place("a"), finalizer: FOREGROUND }]
        );
    }

    #[test]
    fn orphans_lose_the_reference_and_stay() {
        let mut graph = Graph::default();
        graph.set(place("a"), &meta("a", &[], leaving(ORPHAN)));
        graph.set(place("b"), &meta("b", &["a"], json!({})));
        assert!(matches!(&graph.decide("a")[..], [Action::Disown { uid, .. }] if uid == "b"));
        graph.set(place("b"), &meta("b", &[], json!({})));
        assert!(matches!(&graph.decide("a")[..], [Action::Release { finalizer: ORPHAN, .. }]));
    }
}
