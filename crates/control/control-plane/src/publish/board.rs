//! What an audience of proxies may have of every type, and which names differ since when.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};
use portolan_xds::{Resource, server::Source};
use tokio::sync::Notify;

/// Names of one type that are remembered as different; whoever is further behind compares everything.
const MAX_LOG: usize = 16_384;

/// Resources by type and name, shared by all proxies of an audience.
#[derive(Debug, Default)]
pub struct Board {
    shelves: RwLock<Shelves>,
    /// Who is woken when something differs.
    listeners: Mutex<Vec<Arc<Notify>>>,
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
    /// Names that differ since the generation before the one given, oldest first.
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
    pub(super) fn apply(&self, changes: &Changes) {
        let mut shelves = self.shelves.write();
        shelves.generation += 1;
        let generation = shelves.generation;
        for ((type_url, name), resource) in &changes.0 {
            let shelf = shelves.by_type.entry(type_url).or_default();
            match resource {
                Some(resource) => drop(shelf.resources.insert(name.clone(), resource.clone())),
                None => drop(shelf.resources.remove(name)),
            }
            shelf.log.push_back((generation, name.clone()));
            while shelf.log.len() > MAX_LOG {
                if let Some((old, _)) = shelf.log.pop_front() {
                    shelf.forgotten = old;
                }
            }
        }
    }

    /// Wakes those who listen.
    pub(super) fn wake(&self) {
        for listener in self.listeners.lock().iter() {
            listener.notify_one();
        }
    }

    pub(super) fn listen(&self, listener: &Arc<Notify>) {
        self.listeners.lock().push(listener.clone());
    }

    pub(super) fn leave(&self, listener: &Arc<Notify>) {
        self.listeners.lock().retain(|other| !Arc::ptr_eq(other, listener));
    }

    /// Counts publications; what differs is asked since one of them.
    pub fn generation(&self) -> u64 {
        self.shelves.read().generation
    }

    /// What differs since a generation, by type, and the generation that this is true for.
    pub fn since(&self, generation: u64) -> (u64, BTreeMap<&'static str, Difference>) {
        let shelves = self.shelves.read();
        let mut found = BTreeMap::new();
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

    /// All resources of a type.
    pub fn all(&self, type_url: &str) -> Vec<Arc<Resource>> {
        let shelves = self.shelves.read();
        shelves.by_type.get(type_url).map(|s| s.resources.values().cloned().collect()).unwrap_or_default()
    }
}

/// What is about to differ on a board: resources, or that there are none any more.
#[derive(Debug, Default)]
pub(super) struct Changes(BTreeMap<(&'static str, Arc<str>), Option<Arc<Resource>>>);

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Resources that replace others. What both have in the same version is no change.
    pub(super) fn replace(&mut self, old: &[Arc<Resource>], new: &[Arc<Resource>]) {
        let before: HashMap<_, _> = old.iter().map(|r| ((r.type_url, &*r.name), r.version)).collect();
        for resource in new {
            if before.get(&(resource.type_url, &*resource.name)) != Some(&resource.version) {
                self.0.insert((resource.type_url, resource.name.clone()), Some(resource.clone()));
            }
        }
        let after: std::collections::HashSet<_> = new.iter().map(|r| (r.type_url, &*r.name)).collect();
        for resource in old.iter().filter(|r| !after.contains(&(r.type_url, &*r.name))) {
            // What another one has put there in the same breath stays.
            self.0.entry((resource.type_url, resource.name.clone())).or_insert(None);
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
    pub hidden: &'a (dyn Fn(&str) -> bool + Sync),
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
        self.own.iter().for_each(&mut *each);
        for board in self.boards {
            board.all(self.type_url).iter().filter(|r| !(self.hidden)(&r.name)).for_each(&mut *each);
        }
    }
}
