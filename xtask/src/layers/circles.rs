//! Circles in a graph of files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Files that can all reach each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Knot<'a> {
    pub(super) files: BTreeSet<&'a str>,
    /// A shortest way round, its start at both ends.
    pub(super) shortest: Vec<&'a str>,
}

/// All knots of more than one file.
pub(super) fn find<'a>(arrows: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Knot<'a>> {
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in arrows.filter(|(from, to)| from != to) {
        graph.entry(from).or_default().insert(to);
    }
    // Crates have some hundred files at most, so who reaches whom is simply walked.
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|&file| (file, reachable(&graph, file))).collect();
    let mut knots: Vec<Knot<'_>> = Vec::new();
    for (&file, reached) in &reach {
        if !reached.contains(file) || knots.iter().any(|knot| knot.files.contains(file)) {
            continue;
        }
        let back = |other: &&str| reach.get(other).is_some_and(|from| from.contains(file));
        let files: BTreeSet<&str> = reached.iter().copied().filter(back).collect();
        let ways = files.iter().filter_map(|start| round(&graph, start));
        let shortest = ways.min_by_key(Vec::len).unwrap_or_default();
        knots.push(Knot { files, shortest });
    }
    knots
}

fn reachable<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>, start: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut queue = vec![start];
    while let Some(file) = queue.pop() {
        for next in graph.get(file).into_iter().flatten() {
            if seen.insert(*next) {
                queue.push(next);
            }
        }
    }
    seen
}

/// A shortest way from `start` back to it.
fn round<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for &next in graph.get(file).into_iter().flatten() {
            if next == start {
                let mut way = vec![start, file];
                while let Some(&previous) = way.last().and_then(|last| before.get(last)) {
                    way.push(previous);
                }
                way.reverse();
                return Some(way);
            }
            if !before.contains_key(next) {
                before.insert(next, file);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shortest(arrows: &[(&'static str, &'static str)]) -> Vec<Vec<&'static str>> {
        find(arrows.iter().copied()).into_iter().map(|knot| knot.shortest).collect()
    }

    #[test]
    fn arrows_that_only_point_down_are_no_circle() {
        assert!(shortest(&[("a", "b"), ("a", "c"), ("b", "c"), ("c", "d")]).is_empty());
    }

    #[test]
    fn two_files_that_use_each_other_are_one() {
        assert_eq!(shortest(&[("a", "b"), ("b", "a"), ("b", "c")]), [["a", "b", "a"]]);
    }

    #[test]
    fn the_shortest_way_round_is_shown_of_a_larger_knot() {
        let arrows = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a"), ("c", "b")];
        let knots = find(arrows.into_iter());
        assert_eq!(knots.len(), 1);
        assert_eq!(knots[0].files, BTreeSet::from(["a", "b", "c", "d"]));
        assert_eq!(knots[0].shortest, ["b", "c", "b"]);
    }

    #[test]
    fn knots_that_do_not_touch_are_shown_apart() {
        assert_eq!(shortest(&[("a", "b"), ("b", "a"), ("x", "y"), ("y", "x")]).len(), 2);
    }

    #[test]
    fn a_file_that_names_itself_is_no_circle() {
        assert!(shortest(&[("a", "a")]).is_empty());
    }
}
