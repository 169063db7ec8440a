//! What an audience of proxies may have of every type, and which names differ since when.

use std::{
    collections::{BTreeMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use foldhash::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use portolan_xds::{Resource, server::Source};
use tokio::sync::Notify;

/// Names of one type that are remembered as different; whoever is further behind compares everything.
const MAX_LOG: usize = 16_384;

/// Resources by type and name, shared by all proxies of an audience.
#[derive(Debug, Default)]
pub struct Board {
    shelves: RwLock<Shelves>,
    /// Who is woken when something differs, by place in memory.
    listeners: Mutex<HashMap<usize, Arc<Notify>>>,
}

#[derive(Debug, Default)]
struct Shelves {
    /// Counts publications.
    generation: u64,
    by_type: BTreeMap<&'static str, Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    resources: HashMap<Arc<str>, Arc<Resource>>,
    /// Names with the generation that changed them, oldest first.
    log: VecDeque<(u64, Arc<str>)>,
    /// Generation up to which names have fallen out of the log.
    forgotten: u64,
}

/// What differs of one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// These names may have come, changed or gone.
    Names(Vec<Arc<str>>),
    /// It is not known any more.
    Unknown,
}

impl Board {
    /// Takes changes in: resources as they are now, and the names of those that are gone. Nobody is woken yet.
    pub(super) fn apply(&self, changes: Changes) {
        // Who comes later looks at everything anyway.
        let watched = !self.listeners.lock().is_empty();
        let mut shelves = self.shelves.write();
        shelves.generation += 1;
        let generation = shelves.generation;
        for ((type_url, name), resource) in changes.0 {
            let shelf = shelves.by_type.entry(type_url).or_default();
            match resource {
                Some(resource) => drop(shelf.resources.insert(name.clone(), resource)),
                None => drop(shelf.resources.remove(&name)),
            }
            if watched {
                shelf.note(generation, name);
            } else {
                shelf.log = VecDeque::new();
                shelf.forgotten = generation;
            }
        }
    }

    /// Wakes those who listen.
    pub(super) fn wake(&self) {
        self.listeners.lock().values().for_each(|listener| listener.notify_one());
    }

    pub(super) fn listen(&self, listener: &Arc<Notify>) {
        self.listeners.lock().insert(Arc::as_ptr(listener).addr(), listener.clone());
    }

    pub(super) fn leave(&self, listener: &Arc<Notify>) {
        self.listeners.lock().remove(&Arc::as_ptr(listener).addr());
    }

    /// Counts publications; what differs is asked since one of them.
    pub fn generation(&self) -> u64 {
        self.shelves.read().generation
    }

    /// What differs since a generation, by type, and the generation that this is true for.
    pub fn since(&self, generation: u64) -> (u64, BTreeMap<&'static str, Difference>) {
        let shelves = self.shelves.read();
        let mut found = BTreeMap::new();
        if generation == shelves.generation {
            return (generation, found);
        }
        for (type_url, shelf) in &shelves.by_type {
            if generation < shelf.forgotten {
                found.insert(*type_url, Difference::Unknown);
                continue;
            }
            let later = shelf.log.iter().rev().take_while(|(at, _)| *at > generation);
            let names: Vec<Arc<str>> = later.map(|(_, name)| name.clone()).collect();
            if !names.is_empty() {
                found.insert(*type_url, Difference::Names(names));
            }
        }
        (shelves.generation, found)
    }

    /// A resource.
    pub fn get(&self, type_url: &str, name: &str) -> Option<Arc<Resource>> {
        self.shelves.read().by_type.get(type_url)?.resources.get(name).cloned()
    }

    /// All resources of a type, in any order.
    pub fn all(&self, type_url: &str) -> Vec<Arc<Resource>> {
        let shelves = self.shelves.read();
        shelves.by_type.get(type_url).map(|s| s.resources.values().cloned().collect()).unwrap_or_default()
    }
}

impl Shelf {
    fn note(&mut self, generation: u64, name: Arc<str>) {
        self.log.push_back((generation, name));
        while self.log.len() > MAX_LOG {
            if let Some((old, _)) = self.log.pop_front() {
                self.forgotten = old;
            }
        }
    }
}

/// What is about to differ on a board: resources, or that there are none any more.
#[derive(Debug, Default)]
pub(super) struct Changes(HashMap<(&'static str, Arc<str>), Option<Arc<Resource>>>);

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Resources of a piece that replace what it made before. What both have in the same version is no change.
    pub(super) fn replace(&mut self, old: &[Arc<Resource>], new: &[Arc<Resource>]) {
        let before: HashMap<_, _> = old.iter().map(|r| ((r.type_url, &*r.name), r.version)).collect();
        for resource in new {
            if before.get(&(resource.type_url, &*resource.name)) != Some(&resource.version) {
                self.0.insert((resource.type_url, resource.name.clone()), Some(resource.clone()));
            }
        }
        let after: HashSet<_> = new.iter().map(|r| (r.type_url, &*r.name)).collect();
        for resource in old.iter().filter(|r| !after.contains(&(r.type_url, &*r.name))) {
            match self.0.entry((resource.type_url, resource.name.clone())) {
                // What another piece has put there in the same breath stays.
                Entry::Occupied(slot) if slot.get().as_ref().is_some_and(|r| !Arc::ptr_eq(r, resource)) => {}
                Entry::Occupied(mut slot) => drop(slot.insert(None)),
                Entry::Vacant(slot) => drop(slot.insert(None)),
            }
        }
    }
}

/// Several boards as the source of one type for one stream: the first that has a name gives it.
pub struct Boards<'a> {
    /// The boards.
    pub boards: &'a [Arc<Board>],
    /// The type.
    pub type_url: &'a str,
    /// Resources that are this stream's alone.
    pub own: &'a [Arc<Resource>],
    /// What the proxy may not have of what its audience has.
    pub hidden: &'a dyn Fn(&str) -> bool,
}

impl Source for Boards<'_> {
    fn get(&self, name: &str) -> Option<Arc<Resource>> {
        if (self.hidden)(name) {
            return None;
        }
        let own = self.own.iter().find(|resource| &*resource.name == name).cloned();
        own.or_else(|| self.boards.iter().find_map(|board| board.get(self.type_url, name)))
    }

    fn all(&self, each: &mut dyn FnMut(&Arc<Resource>)) {
        self.own.iter().filter(|r| !(self.hidden)(&r.name)).for_each(&mut *each);
        for board in self.boards {
            board.all(self.type_url).iter().filter(|r| !(self.hidden)(&r.name)).for_each(&mut *each);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use portolan_xds::type_url;

    use super::*;

    fn resource(name: &str, body: &'static str) -> Arc<Resource> {
        Arc::new(Resource::new(name, type_url::CLUSTER, body.into()))
    }

    fn put(board: &Board, old: &[Arc<Resource>], new: &[Arc<Resource>]) {
        let mut changes = Changes::default();
        changes.replace(old, new);
        board.apply(changes);
    }

    fn names(board: &Board, since: u64) -> Vec<String> {
        match board.since(since).1.remove(type_url::CLUSTER) {
            Some(Difference::Names(names)) => names.iter().map(ToString::to_string).collect(),
            Some(Difference::Unknown) => vec!["?".to_owned()],
            None => vec![],
        }
    }

    fn listened() -> (Board, Arc<Notify>) {
        let (board, listener) = (Board::default(), Arc::new(Notify::new()));
        board.listen(&listener);
        (board, listener)
    }

    #[test]
    fn the_log_says_what_differs_since_when() {
        let (board, _listener) = listened();
        let (a, b) = (resource("a", "1"), resource("b", "1"));
        put(&board, &[], &[a.clone(), b.clone()]);
        assert_eq!((board.generation(), names(&board, 1)), (1, vec![]));
        let a2 = resource("a", "2");
        put(&board, &[a.clone(), b.clone()], &[a2.clone(), resource("b", "1")]);
        put(&board, &[a2.clone(), b], slice::from_ref(&a2));
        assert_eq!(board.since(1).0, 3);
        assert_eq!(names(&board, 1), ["b", "a"], "newest first");
        assert_eq!(names(&board, 2), ["b"]);
        assert_eq!(names(&board, 3), Vec::<String>::new());
        assert_eq!(board.get(type_url::CLUSTER, "a"), Some(a2.clone()));
        assert_eq!(board.get(type_url::CLUSTER, "b"), None);
        assert_eq!(board.all(type_url::CLUSTER), [a2]);
    }

    #[test]
    fn whoever_is_too_far_behind_is_told_so() {
        let (board, listener) = listened();
        let many =
            |body: &'static str| -> Vec<_> { (0..MAX_LOG).map(|n| resource(&n.to_string(), body)).collect() };
        let (first, second) = (many("1"), many("2"));
        put(&board, &[], &first);
        assert_eq!(names(&board, 0).len(), MAX_LOG);
        put(&board, &first, &second);
        assert_eq!(names(&board, 0), ["?"], "the log holds one of them");
        assert_eq!(names(&board, 1).len(), MAX_LOG);
        // Where nobody listens nothing is written down.
        board.leave(&listener);
        put(&board, &second, &first);
        assert_eq!((names(&board, 2), names(&board, 3)), (vec!["?".to_owned()], vec![]));
    }

    #[test]
    fn changes_add_up() {
        let of = |changes: &Changes, name: &str| {
            changes.0.get(&(type_url::CLUSTER, name.into())).map(|r| r.as_ref().map(|r| r.body.clone()))
        };
        let (a1, a2) = (resource("a", "1"), resource("a", "2"));
        let mut changes = Changes::default();
        let (a1, a2) = (slice::from_ref(&a1), slice::from_ref(&a2));
        changes.replace(a1, &[resource("a", "1")]);
        assert!(changes.is_empty(), "the same content");
        // What moves from one piece to another stays, in whichever order.
        changes.replace(a1, &[]);
        changes.replace(&[], a2);
        assert_eq!(of(&changes, "a"), Some(Some("2".into())));
        changes.replace(a1, &[]);
        assert_eq!(of(&changes, "a"), Some(Some("2".into())));
        // What one puts there and takes away again is gone.
        changes.replace(a2, &[]);
        assert_eq!(of(&changes, "a"), Some(None));
    }

    #[test]
    fn a_stream_sees_several_boards_without_what_is_hidden() {
        let boards = [Arc::new(Board::default()), Arc::new(Board::default())];
        put(&boards[0], &[], &[resource("a", "1"), resource("b", "1")]);
        put(&boards[1], &[], &[resource("b", "2"), resource("hidden", "1")]);
        let own = [resource("own", "1")];
        let source = Boards {
            boards: &boards,
            type_url: type_url::CLUSTER,
            own: &own,
            hidden: &|name| name == "hidden",
        };
        let mut all = Vec::new();
        source.all(&mut |r| all.push(r.name.to_string()));
        all.sort();
        all.dedup();
        assert_eq!(all, ["a", "b", "own"]);
        assert_eq!(source.get("b").map(|r| r.body.clone()), Some("1".into()));
        assert!(source.get("hidden").is_none() && source.get("own").is_some());
        assert_eq!(source.get("c"), None);
    }
}
