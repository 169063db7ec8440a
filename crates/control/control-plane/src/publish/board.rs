//! What an audience of proxies may have of every type, and which names differ since when.

use std::{
    collections::{BTreeMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use foldhash::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use portolan_translate::Made;
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

/// What stands under a name.
#[derive(Clone, Debug)]
enum Slot {
    /// A resource.
    Here(Arc<Resource>),
    /// None, whatever boards behind this one have.
    Hidden,
}

impl Slot {
    fn resource(&self) -> Option<&Arc<Resource>> {
        match self {
            Self::Here(resource) => Some(resource),
            Self::Hidden => None,
        }
    }
}

#[derive(Debug, Default)]
struct Shelf {
    resources: HashMap<Arc<str>, Slot>,
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
    /// Takes changes in. Nobody is woken yet.
    pub(super) fn apply(&self, changes: Changes) {
        if changes.is_empty() {
            return;
        }
        // Who comes later looks at everything anyway.
        let watched = !self.listeners.lock().is_empty();
        let mut shelves = self.shelves.write();
        shelves.generation += 1;
        let generation = shelves.generation;
        for ((type_url, name), slot) in changes.0 {
            let shelf = shelves.by_type.entry(type_url).or_default();
            match slot {
                Some(slot) => drop(shelf.resources.insert(name.clone(), slot)),
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

    /// What stands under a name; nothing when boards behind this one are to be asked.
    fn slot(&self, type_url: &str, name: &str) -> Option<Slot> {
        self.shelves.read().by_type.get(type_url)?.resources.get(name).cloned()
    }

    /// What stands under all names of a type.
    fn shelf(&self, type_url: &str) -> HashMap<Arc<str>, Slot> {
        let shelves = self.shelves.read();
        shelves.by_type.get(type_url).map(|shelf| shelf.resources.clone()).unwrap_or_default()
    }

    /// A resource.
    pub fn get(&self, type_url: &str, name: &str) -> Option<Arc<Resource>> {
        self.slot(type_url, name)?.resource().cloned()
    }

    /// All resources of a type, in any order.
    pub fn all(&self, type_url: &str) -> Vec<Arc<Resource>> {
        let shelves = self.shelves.read();
        let shelf = shelves.by_type.get(type_url);
        shelf.iter().flat_map(|shelf| shelf.resources.values()).filter_map(Slot::resource).cloned().collect()
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

/// What is about to differ on a board: what stands under names, or that nothing does any more.
#[derive(Debug, Default)]
pub(super) struct Changes(HashMap<(&'static str, Arc<str>), Option<Slot>>);

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that put resources, and the others.
    pub(super) fn split(self) -> (Self, Self) {
        let (put, gone) = self.0.into_iter().partition(|(_, slot)| matches!(slot, Some(Slot::Here(_))));
        (Self(put), Self(gone))
    }

    /// What a piece makes replaces what it made before. What both have in the same version is no change.
    pub(super) fn replace(&mut self, old: &Made, new: &Made) {
        let before: HashMap<_, _> =
            old.resources.iter().map(|r| ((r.type_url, &*r.name), r.version)).collect();
        for resource in new.resources.iter() {
            if before.get(&(resource.type_url, &*resource.name)) != Some(&resource.version) {
                let slot = Slot::Here(resource.clone());
                self.0.insert((resource.type_url, resource.name.clone()), Some(slot));
            }
        }
        for (type_url, name) in new.absent.iter().filter(|absent| !old.absent.contains(absent)) {
            self.clear(old, (*type_url, name.clone()), Some(Slot::Hidden));
        }
        let after: HashSet<_> = new.resources.iter().map(|r| (r.type_url, &*r.name)).collect();
        let is_gone =
            |at: &(&'static str, Arc<str>)| !after.contains(&(at.0, &*at.1)) && !new.absent.contains(at);
        let resources = old.resources.iter().map(|r| (r.type_url, r.name.clone()));
        for at in resources.chain(old.absent.iter().cloned()).filter(is_gone) {
            self.clear(old, at, None);
        }
    }

    /// Takes away what a piece had under a name. What another piece has put there in the same breath stays.
    fn clear(&mut self, old: &Made, at: (&'static str, Arc<str>), slot: Option<Slot>) {
        let is_old = |put: &Arc<Resource>| old.resources.iter().any(|resource| Arc::ptr_eq(resource, put));
        match self.0.entry(at) {
            Entry::Occupied(entry) if matches!(entry.get(), Some(Slot::Here(put)) if !is_old(put)) => {}
            Entry::Occupied(mut entry) => drop(entry.insert(slot)),
            Entry::Vacant(entry) => drop(entry.insert(slot)),
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
        own.or_else(|| {
            let slot = self.boards.iter().find_map(|board| board.slot(self.type_url, name))?;
            slot.resource().cloned()
        })
    }

    fn all(&self, each: &mut dyn FnMut(&Arc<Resource>)) {
        self.own.iter().filter(|r| !(self.hidden)(&r.name)).for_each(&mut *each);
        // One at a time: nobody holds two boards.
        let mut before: Vec<HashMap<Arc<str>, Slot>> = Vec::new();
        for (place, board) in self.boards.iter().enumerate() {
            let shelf = board.shelf(self.type_url);
            for (name, slot) in &shelf {
                let is_first = !before.iter().any(|board| board.contains_key(name));
                if let Some(resource) = slot.resource()
                    && is_first
                    && !(self.hidden)(name)
                {
                    each(resource);
                }
            }
            if place + 1 < self.boards.len() && !shelf.is_empty() {
                before.push(shelf);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use bytes::Bytes;
    use portolan_xds::type_url;

    use super::*;

    fn resource(name: &str, body: &'static str) -> Arc<Resource> {
        Arc::new(Resource::new(name, type_url::CLUSTER, body.into()))
    }

    fn made(resources: &[Arc<Resource>]) -> Made {
        Made { resources: resources.into(), ..Made::default() }
    }

    fn hiding(names: &[&str]) -> Made {
        Made {
            absent: names.iter().map(|name| (type_url::CLUSTER, (*name).into())).collect(),
            ..Made::default()
        }
    }

    fn put(board: &Board, old: &[Arc<Resource>], new: &[Arc<Resource>]) {
        put_made(board, &made(old), &made(new));
    }

    fn put_made(board: &Board, old: &Made, new: &Made) {
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
            let slot = changes.0.get(&(type_url::CLUSTER, name.into()))?;
            Some(slot.as_ref().map(|slot| slot.resource().map(|r| r.body.clone())))
        };
        let (a1, a2) = (made(&[resource("a", "1")]), made(&[resource("a", "2")]));
        let (nothing, hidden) = (Made::default(), hiding(&["a"]));
        let mut changes = Changes::default();
        changes.replace(&a1, &made(&[resource("a", "1")]));
        assert!(changes.is_empty(), "the same content");
        // What moves from one piece to another stays, in whichever order.
        changes.replace(&a1, &nothing);
        changes.replace(&nothing, &a2);
        assert_eq!(of(&changes, "a"), Some(Some(Some("2".into()))));
        changes.replace(&a1, &nothing);
        assert_eq!(of(&changes, "a"), Some(Some(Some("2".into()))));
        changes.replace(&nothing, &hidden);
        assert_eq!(of(&changes, "a"), Some(Some(Some("2".into()))));
        // What one puts there and takes away again is gone.
        changes.replace(&a2, &hidden);
        assert_eq!(of(&changes, "a"), Some(Some(None)));
        changes.replace(&hidden, &nothing);
        assert_eq!(of(&changes, "a"), Some(None));
        // Resources are put before anything goes.
        changes.replace(&nothing, &made(&[resource("b", "1")]));
        changes.replace(&nothing, &hiding(&["c"]));
        let names = |changes: &Changes| {
            let mut names: Vec<String> = changes.0.keys().map(|(_, name)| name.to_string()).collect();
            names.sort();
            names
        };
        let (put, gone) = changes.split();
        assert_eq!((names(&put), names(&gone)), (vec!["b".to_owned()], vec!["a".to_owned(), "c".to_owned()]));
    }

    #[test]
    fn a_stream_sees_several_boards_without_what_is_hidden() {
        let boards = [Arc::new(Board::default()), Arc::new(Board::default())];
        put(&boards[0], &[], &[resource("a", "1"), resource("b", "1")]);
        put(&boards[1], &[], &[resource("b", "2"), resource("hidden", "1"), resource("covered", "1")]);
        put_made(&boards[0], &Made::default(), &hiding(&["covered", "nothing"]));
        let own = [resource("own", "1")];
        let source = Boards {
            boards: &boards,
            type_url: type_url::CLUSTER,
            own: &own,
            hidden: &|name| name == "hidden",
        };
        let all = |source: &Boards<'_>| {
            let mut all = Vec::new();
            source.all(&mut |r| all.push((r.name.to_string(), r.body.clone())));
            all.sort();
            all
        };
        let expected = |all: &[(&str, &'static str)]| -> Vec<(String, Bytes)> {
            all.iter().map(|(name, body)| ((*name).to_owned(), (*body).into())).collect()
        };
        assert_eq!(
            all(&source),
            expected(&[("a", "1"), ("b", "1"), ("own", "1")]),
            "the first that has a name"
        );
        assert_eq!(source.get("covered"), None);
        assert_eq!(source.get("b").map(|r| r.body.clone()), Some("1".into()));
        assert!(source.get("hidden").is_none() && source.get("own").is_some());
        assert_eq!(source.get("c"), None);
        // What is hidden no longer is seen again.
        put_made(&boards[0], &hiding(&["covered", "nothing"]), &Made::default());
        let source = Boards { boards: &boards, type_url: type_url::CLUSTER, own: &own, hidden: &|_| false };
        assert_eq!(source.get("covered").map(|r| r.body.clone()), Some("1".into()));
        assert_eq!(all(&source).len(), 5);
    }
}
