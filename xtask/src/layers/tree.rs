//! What `cargo tree --prefix depth --format {p}` prints.

use std::collections::{BTreeMap, VecDeque};

/// Who depends on whom. A package is its name and version; of what is printed twice, the second time is a mark only.
pub(super) struct Tree<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Tree<'a> {
    /// A line is the depth, then the package: `2hyper v1.9.0 (*)`.
    pub(super) fn parse(text: &'a str) -> Self {
        let mut graph: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let mut way: Vec<&str> = Vec::new();
        for line in text.lines() {
            let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len());
            let (depth, package) = line.split_at(digits);
            let Ok(depth) = depth.parse::<usize>() else { continue };
            let end = package.find(" (").unwrap_or(package.len());
            let (package, _) = package.split_at(end);
            way.truncate(depth);
            if let Some(parent) = way.last() {
                graph.entry(parent).or_default().push(package);
            }
            graph.entry(package).or_default();
            way.push(package);
        }
        Tree(graph)
    }

    /// The shortest ways from a package to those that match one of the patterns, as names. What is only there through
    /// another match is not said again.
    pub(super) fn ways(&self, root: &str, patterns: &[&str]) -> Vec<Vec<&'a str>> {
        let Some((&root, _)) = self.0.iter().find(|(package, _)| name(package) == root) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        let mut before: BTreeMap<&str, Option<&str>> = BTreeMap::from([(root, None)]);
        let mut queue = VecDeque::from([root]);
        while let Some(package) = queue.pop_front() {
            if package != root && matches(name(package), patterns) {
                let mut way = vec![name(package)];
                let mut at = package;
                while let Some(&Some(previous)) = before.get(at) {
                    way.push(name(previous));
                    at = previous;
                }
                way.reverse();
                found.push(way);
                continue;
            }
            for &next in self.0.get(package).into_iter().flatten() {
                if !before.contains_key(next) {
                    before.insert(next, Some(package));
                    queue.push_back(next);
                }
            }
        }
        found
    }
}

fn name(package: &str) -> &str {
    package.split(' ').next().unwrap_or(package)
}

fn matches(name: &str, patterns: &[&str]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0portolan-xds v0.1.0 (/y)\n1bytes v1.0.0\n0portolan-mesh v0.1.0 (/x)\n1kube v5.0.0\n\
        2kube-core v5.0.0\n2kube-client v5.0.0\n3tower-http v0.7.1\n1serde v1.0.0\n1http v1.5.0\n1kube v5.0.0 (*)\n\
        0portolan-late v0.1.0 (/z)\n1kube v5.0.0 (*)\n";

    fn ways(root: &str, patterns: &[&str]) -> Vec<Vec<&'static str>> {
        Tree::parse(TREE).ways(root, patterns)
    }

    #[test]
    fn says_the_way_to_what_is_forbidden() {
        assert_eq!(ways("portolan-mesh", &["kube-client"]), [["portolan-mesh", "kube", "kube-client"]]);
    }

    #[test]
    fn a_star_stands_for_any_ending() {
        assert_eq!(
            ways("portolan-mesh", &["tower*"]),
            [["portolan-mesh", "kube", "kube-client", "tower-http"]]
        );
        assert!(ways("portolan-mesh", &["tower"]).is_empty());
    }

    #[test]
    fn what_is_there_through_something_wrong_is_not_said_again() {
        assert_eq!(ways("portolan-mesh", &["kube", "kube-client"]), [["portolan-mesh", "kube"]]);
    }

    #[test]
    fn a_package_that_was_printed_before_has_what_was_printed_then() {
        assert_eq!(ways("portolan-late", &["kube-client"]), [["portolan-late", "kube", "kube-client"]]);
    }

    #[test]
    fn every_root_has_its_own_tree() {
        assert!(ways("portolan-xds", &["kube*"]).is_empty());
        assert_eq!(ways("portolan-xds", &["*"]), [["portolan-xds", "bytes"]]);
    }
}
