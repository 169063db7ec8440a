//! When which name is resolved next.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

/// How a name is to be resolved: how long an answer is good for, and whether IPv6 addresses only are wanted (`false`:
/// IPv4 only).
pub(super) type Wanted = (Duration, Option<bool>);

/// The names in use. Who waited longest comes first, so that names without an answer hold up nobody; a name that is
/// being resolved is not due.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    names: HashMap<String, (Wanted, Option<Instant>)>,
    queue: BTreeSet<(Instant, String)>,
    running: HashSet<String>,
}

impl Schedule {
    /// Takes over the names in use. New ones are due at once.
    pub(super) fn update(&mut self, names: BTreeMap<String, Wanted>, now: Instant) {
        let queue = &mut self.queue;
        self.names.retain(|name, (_, due)| {
            let keep = names.contains_key(name);
            if let (false, Some(due)) = (keep, due) {
                queue.remove(&(*due, name.clone()));
            }
            keep
        });
        for (name, wanted) in names {
            if let Some((known, _)) = self.names.get_mut(&name) {
                *known = wanted;
                continue;
            }
            // One that left and came back may still be under way.
            let due = (!self.running.contains(&name)).then_some(now);
            self.queue.extend(due.map(|due| (due, name.clone())));
            self.names.insert(name, (wanted, due));
        }
    }

    /// Takes the name that has been due for longest.
    pub(super) fn next(&mut self, now: Instant) -> Option<(String, Option<bool>)> {
        if self.queue.first()?.0 > now {
            return None;
        }
        let (_, name) = self.queue.pop_first()?;
        let ((_, v6), due) = self.names.get_mut(&name)?;
        *due = None;
        self.running.insert(name.clone());
        Some((name, *v6))
    }

    /// A name that was taken has been looked up, with or without success.
    pub(super) fn finished(&mut self, name: &str, now: Instant) {
        if !self.running.remove(name) {
            return;
        }
        if let Some(((refresh, _), due)) = self.names.get_mut(name) {
            let at = now + *refresh;
            *due = Some(at);
            self.queue.insert((at, name.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFRESH: Duration = Duration::from_secs(5);

    fn names(all: &[&str]) -> BTreeMap<String, Wanted> {
        all.iter().map(|name| ((*name).to_owned(), (REFRESH, None))).collect()
    }

    fn take(schedule: &mut Schedule, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| schedule.next(now)).map(|(name, _)| name).collect()
    }

    #[test]
    fn a_name_under_way_is_not_taken_again() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        schedule.update(names(&["a"]), start);
        assert_eq!(take(&mut schedule, start), ["a"]);
        let later = start + 10 * REFRESH;
        schedule.update(names(&["a"]), later);
        assert_eq!(take(&mut schedule, later), [""; 0]);
        schedule.finished("a", later);
        assert_eq!(take(&mut schedule, later), [""; 0]);
        assert_eq!(take(&mut schedule, later + REFRESH), ["a"]);
    }

    #[test]
    fn who_waited_longest_comes_first() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        schedule.update(names(&["a", "b"]), start);
        assert_eq!(schedule.next(start).unwrap().0, "a");
        schedule.finished("a", start);
        // Both are due: `b` since the start, `a` since its refresh.
        let later = start + REFRESH;
        assert_eq!(take(&mut schedule, later), ["b", "a"]);
    }

    #[test]
    fn a_name_that_left_and_came_back_runs_once() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        schedule.update(names(&["a"]), start);
        assert_eq!(take(&mut schedule, start), ["a"]);
        schedule.update(names(&[]), start);
        schedule.update(names(&["a"]), start);
        assert_eq!(take(&mut schedule, start), [""; 0]);
        schedule.finished("a", start);
        assert_eq!(take(&mut schedule, start + REFRESH), ["a"]);
    }

    #[test]
    fn a_name_that_left_is_forgotten() {
        let (mut schedule, start) = (Schedule::default(), Instant::now());
        schedule.update(names(&["a", "b"]), start);
        schedule.update(names(&["b"]), start);
        assert_eq!(take(&mut schedule, start), ["b"]);
    }
}
