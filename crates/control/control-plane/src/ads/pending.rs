//! What a stream has not been sent yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portolan_xds::server::{Watch, sort_by_push_order};

use crate::publish::Difference;

/// Names of one type that wait; of more everything is compared.
const MAX_NAMES: usize = 16_384;

/// What is to be compared of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// These names.
    Names(BTreeSet<Arc<str>>),
    /// Whatever the proxy watches.
    Everything,
}

/// What is to be compared, by type.
#[derive(Debug, Default)]
pub(super) struct Pending(BTreeMap<Arc<str>, Due>);

impl Pending {
    /// Adds what differs of a type, as far as the proxy watches it.
    pub(super) fn add(&mut self, type_url: &str, watch: &Watch, difference: Difference) {
        let Difference::Names(names) = difference else { return self.add_everything(type_url.into()) };
        let mut watched =
            names.into_iter().filter(|name| watch.wildcard || watch.names.contains(name)).peekable();
        if watched.peek().is_none() {
            return;
        }
        let due = self.0.entry(type_url.into()).or_insert_with(|| Due::Names(BTreeSet::new()));
        if let Due::Names(names) = due {
            names.extend(watched);
            if names.len() > MAX_NAMES {
                *due = Due::Everything;
            }
        }
    }

    /// All of a type is to be compared.
    pub(super) fn add_everything(&mut self, type_url: Arc<str>) {
        self.0.insert(type_url, Due::Everything);
    }

    pub(super) fn take(&mut self, type_url: &str) -> Option<Due> {
        self.0.remove(type_url)
    }

    pub(super) fn contains(&self, type_url: &str) -> bool {
        self.0.contains_key(type_url)
    }

    /// The types with something to compare, in the order in which they are sent.
    pub(super) fn types(&self) -> Vec<Arc<str>> {
        let mut types: Vec<Arc<str>> = self.0.keys().cloned().collect();
        sort_by_push_order(&mut types);
        types
    }
}

#[cfg(test)]
mod tests {
    use portolan_xds::type_url;

    use super::*;

    fn names(names: impl IntoIterator<Item = String>) -> Difference {
        Difference::Names(names.into_iter().map(Into::into).collect())
    }

    fn some(list: &[&str]) -> Difference {
        names(list.iter().map(ToString::to_string))
    }

    #[test]
    fn what_is_not_watched_does_not_wait() {
        let mut pending = Pending::default();
        let watch = Watch { wildcard: false, names: Arc::new(["a".into(), "b".into()].into()) };
        pending.add(type_url::ENDPOINT, &watch, some(&["c", "d"]));
        assert!(!pending.contains(type_url::ENDPOINT));
        pending.add(type_url::ENDPOINT, &watch, some(&["a", "c"]));
        pending.add(type_url::ENDPOINT, &watch, some(&["b"]));
        let due = pending.take(type_url::ENDPOINT);
        assert_eq!(due, Some(Due::Names(["a".into(), "b".into()].into())));
        assert_eq!(pending.take(type_url::ENDPOINT), None);
    }

    #[test]
    fn too_many_names_are_everything() {
        let mut pending = Pending::default();
        let all = Watch { wildcard: true, ..Watch::default() };
        pending.add(type_url::CLUSTER, &all, names((0..MAX_NAMES).map(|n| n.to_string())));
        assert!(matches!(pending.0[type_url::CLUSTER], Due::Names(_)));
        pending.add(type_url::CLUSTER, &all, some(&["one more"]));
        assert_eq!(pending.0[type_url::CLUSTER], Due::Everything);
        pending.add(type_url::CLUSTER, &all, some(&["x"]));
        assert_eq!(pending.0[type_url::CLUSTER], Due::Everything);
    }

    #[test]
    fn types_are_sent_so_that_nothing_is_named_before_it_is_there() {
        let mut pending = Pending::default();
        let all = Watch { wildcard: true, ..Watch::default() };
        for of in [type_url::NAME_TABLE, type_url::VIRTUAL_HOST, type_url::ROUTE, type_url::CLUSTER] {
            pending.add(of, &all, Difference::Unknown);
        }
        let types = pending.types();
        let types: Vec<&str> = types.iter().map(|t| &**t).collect();
        assert_eq!(types, [type_url::CLUSTER, type_url::ROUTE, type_url::VIRTUAL_HOST, type_url::NAME_TABLE]);
    }
}
