//! Labels and annotations of the Pod, as the kubelet writes them into a downward API volume.

use std::collections::BTreeMap;
use std::path::Path;

/// The Pod's downward API files.
#[derive(Debug, Clone, Default)]
pub struct PodInfo {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

impl PodInfo {
    /// Reads `labels` and `annotations` of `directory`; absent files count as empty.
    pub fn read(directory: &Path) -> Self {
        let read = |name: &str| {
            std::fs::read_to_string(directory.join(name))
                .map(|text| parse_downward_map(&text))
                .unwrap_or_default()
        };
        PodInfo { labels: read("labels"), annotations: read("annotations") }
    }
}

/// Parses the downward API's `key="value"` lines; values are quoted as Go's `%q`.
pub fn parse_downward_map(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once('=')?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.trim_matches('"').to_owned());
            Some((key.to_owned(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downward_files() {
        let map = parse_downward_map("app=\"reviews\"\nnote=\"a=\\\"b\\\"\\nc\"\n");
        assert_eq!(map.get("app").map(String::as_str), Some("reviews"));
        assert_eq!(map.get("note").map(String::as_str), Some("a=\"b\"\nc"));
    }
}
