//! The store's memory: current objects and a window of recent events, per resource.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch;

use super::error::StoreError;
use super::object::{Event, Object, Window};

type Key = (Arc<str>, Arc<str>);

/// What the database holds at start.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) revision: u64,
    pub(super) objects: Vec<Arc<Object>>,
    /// The last revision that changed each resource: a watch may continue from there after a restart.
    pub(super) last_changes: Vec<(Arc<str>, u64)>,
}

pub(super) struct State {
    revision: u64,
    resources: HashMap<Arc<str>, Shelf>,
    window: Window,
}

/// One resource's objects and recent history.
struct Shelf {
    objects: BTreeMap<Key, Arc<Object>>,
    /// Ordered by revision; complete for every revision above `floor`.
    events: VecDeque<Arc<Event>>,
    event_bytes: usize,
    floor: u64,
    changed: watch::Sender<u64>,
}

impl Shelf {
    fn new(floor: u64) -> Shelf {
        Shelf {
            objects: BTreeMap::new(),
            events: VecDeque::new(),
            event_bytes: 0,
            floor,
            changed: watch::Sender::new(floor),
        }
    }

    fn range(&self, namespace: Option<&str>, after: Option<(&str, &str)>) -> Vec<Arc<Object>> {
        let lower: Bound<Key> = match (after, namespace) {
            (Some((namespace, name)), _) => Bound::Excluded((namespace.into(), name.into())),
            (None, Some(namespace)) => Bound::Included((namespace.into(), "".into())),
            (None, None) => Bound::Unbounded,
        };
        self.objects
            .range((lower, Bound::Unbounded))
            .take_while(|(key, _)| namespace.is_none_or(|namespace| &*key.0 == namespace))
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The index of the first event after `revision`.
    fn first_after(&self, revision: u64) -> usize {
        self.events.partition_point(|event| event.revision <= revision)
    }
}

impl State {
    pub(super) fn new(loaded: Loaded, window: Window) -> State {
        let mut state = State { revision: loaded.revision, resources: HashMap::new(), window };
        for (resource, revision) in loaded.last_changes {
            state.resources.insert(resource, Shelf::new(revision));
        }
        for object in loaded.objects {
            let shelf =
                state.resources.entry(object.resource.clone()).or_insert_with(|| Shelf::new(loaded.revision));
            shelf.objects.insert((object.namespace.clone(), object.name.clone()), object);
        }
        state
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let key: Key = (namespace.into(), name.into());
        self.resources.get(resource)?.objects.get(&key).cloned()
    }

    pub(super) fn count(&self, resource: &str) -> usize {
        self.resources.get(resource).map_or(0, |shelf| shelf.objects.len())
    }

    pub(super) fn changed_at(&self, resource: &str) -> u64 {
        self.resources.get(resource).map_or(0, |shelf| *shelf.changed.borrow())
    }

    pub(super) fn resources(&self) -> Vec<Arc<str>> {
        let filled = self.resources.iter().filter(|(_, shelf)| !shelf.objects.is_empty());
        let mut names: Vec<_> = filled.map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    pub(super) fn list(
        &self,
        resource: &str,
        namespace: Option<&str>,
        after: Option<(&str, &str)>,
    ) -> Vec<Arc<Object>> {
        self.resources.get(resource).map_or_else(Vec::new, |shelf| shelf.range(namespace, after))
    }

    /// The list as it was at revision `at`: today's, with the events since then undone.
    pub(super) fn list_at(
        &self,
        resource: &str,
        namespace: Option<&str>,
        after: Option<(&str, &str)>,
        at: u64,
    ) -> Result<Vec<Arc<Object>>, StoreError> {
        self.check(resource, at)?;
        let Some(shelf) = self.resources.get(resource) else { return Ok(Vec::new()) };
        let mut past: BTreeMap<Key, Arc<Object>> = shelf
            .range(namespace, after)
            .into_iter()
            .map(|object| ((object.namespace.clone(), object.name.clone()), object))
            .collect();
        for event in shelf.events.iter().skip(shelf.first_after(at)).rev() {
            let key = (event.object.namespace.clone(), event.object.name.clone());
            let in_range = namespace.is_none_or(|namespace| &*key.0 == namespace)
                && after.is_none_or(|after| (&*key.0, &*key.1) > after);
            if !in_range {
                continue;
            }
            match &event.previous {
                Some(previous) => past.insert(key, previous.clone()),
                None => past.remove(&key),
            };
        }
        Ok(past.into_values().collect())
    }

    /// Whether the history after `from` is complete.
    pub(super) fn check(&self, resource: &str, from: u64) -> Result<(), StoreError> {
        match self.resources.get(resource) {
            Some(shelf) if from < shelf.floor => {
                Err(StoreError::Expired { wanted: from, oldest: shelf.floor })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn events(&self, resource: &str, after: u64, limit: usize) -> Vec<Arc<Event>> {
        let Some(shelf) = self.resources.get(resource) else { return Vec::new() };
        shelf.events.iter().skip(shelf.first_after(after)).take(limit).cloned().collect()
    }

    pub(super) fn subscribe(&mut self, resource: &str) -> watch::Receiver<u64> {
        // A resource without any object so far has no history at all: complete from zero.
        self.resources.entry(resource.into()).or_insert_with(|| Shelf::new(0)).changed.subscribe()
    }

    /// Publishes a committed batch.
    pub(super) fn publish(&mut self, events: Vec<Arc<Event>>, revision: u64) {
        self.revision = revision;
        let window = self.window;
        let mut touched: Vec<Arc<str>> = Vec::new();
        for event in events {
            let resource = event.object.resource.clone();
            let shelf = self.resources.entry(resource.clone()).or_insert_with(|| Shelf::new(0));
            let key = (event.object.namespace.clone(), event.object.name.clone());
            if event.deleted {
                shelf.objects.remove(&key);
            } else {
                shelf.objects.insert(key, event.object.clone());
            }
            shelf.event_bytes += event.object.json.len();
            shelf.events.push_back(event);
            while shelf.events.len() > window.events || shelf.event_bytes > window.bytes {
                let Some(oldest) = shelf.events.pop_front() else { break };
                shelf.event_bytes -= oldest.object.json.len();
                shelf.floor = oldest.revision;
            }
            if !touched.contains(&resource) {
                touched.push(resource);
            }
        }
        for resource in touched {
            if let Some(shelf) = self.resources.get(&resource) {
                shelf.changed.send_replace(revision);
            }
        }
    }
}
