//! What a client lacks: by name, at the cost of the names, or of everything.

use std::{mem, sync::Arc};

use foldhash::HashMap;

use super::{Source, sent::Sent, watch::TypeState};
use crate::{Resource, Version};

/// What a client has to hear. The state takes it for sent.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// New, changed, and wanted again.
    pub(super) upserts: Vec<Arc<Resource>>,
    /// What it has and may see no longer.
    pub(super) gone: Vec<Arc<str>>,
    /// What it asks for by name, and neither has nor may see.
    pub(super) missing: Vec<Arc<str>>,
}

impl TypeState {
    /// Compares what is to be sent again and what has changed; everything when `whole` says so, or when the client has
    /// asked for everything.
    pub(super) fn compare(&mut self, changed: &[Arc<str>], whole: bool, source: &dyn Source) -> Difference {
        if mem::take(&mut self.whole) || whole {
            return self.compare_all(source);
        }
        let mut difference = Difference::default();
        for name in mem::take(&mut self.resend) {
            self.compare_name(&name, true, source, &mut difference);
        }
        for name in changed {
            self.compare_name(name, false, source, &mut difference);
        }
        difference
    }

    fn compare_name(&mut self, name: &Arc<str>, again: bool, source: &dyn Source, found: &mut Difference) {
        let asked = self.watch.names.contains(name);
        if !asked && !self.watch.wildcard {
            return;
        }
        match source.get(name) {
            Some(resource) if again || !self.sent.has(&resource) => {
                self.sent.put(resource.revision());
                found.upserts.push(resource);
            }
            Some(_) => {}
            None if self.sent.remove(name).is_some() => found.gone.push(name.clone()),
            None if asked => found.missing.push(name.clone()),
            None => {}
        }
    }

    fn compare_all(&mut self, source: &dyn Source) -> Difference {
        let again = mem::take(&mut self.resend);
        let stated = mem::take(&mut self.stated);
        // Of the many names that a client states at its start none is kept: those of resources are shared.
        let mut stated: HashMap<&str, Version> = stated.iter().map(|one| (&*one.name, one.version)).collect();
        let mut sent = Sent::with_room(self.sent.len().max(stated.len()));
        let mut before = mem::take(&mut self.sent);
        let mut upserts = Vec::new();
        let mut see = |resource: &Arc<Resource>| {
            if sent.contains(&resource.name) {
                return;
            }
            let stated = stated.remove(&*resource.name);
            let known = before.remove(&resource.name).or(stated) == Some(resource.version);
            sent.put(resource.revision());
            if !known || again.contains(&resource.name) {
                upserts.push(resource.clone());
            }
        };
        if self.watch.wildcard {
            source.all(&mut see);
        } else {
            self.watch.names.iter().filter_map(|name| source.get(name)).for_each(|resource| see(&resource));
        }
        stated.retain(|name, _| !before.contains(name));
        let gone = before.names().cloned().chain(stated.keys().map(|name| Arc::from(*name))).collect();
        let known =
            |name: &Arc<str>| sent.contains(name) || before.contains(name) || stated.contains_key(&**name);
        let missing = self.watch.names.iter().filter(|name| !known(name)).cloned().collect();
        self.watch.share_names(&sent);
        self.sent = sent;
        Difference { upserts, gone, missing }
    }
}
