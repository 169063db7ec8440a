//! Names of API types: group, version, kind, as they stand in `apiVersion` and `kind`.

use std::fmt;

use serde_json::Value;

/// A group and version; the core group is the empty string.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersion {
    /// API group, empty for core.
    pub group: String,
    /// Version inside the group, for example `v1`.
    pub version: String,
}

/// A group, version and kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// API group, empty for core.
    pub group: String,
    /// Version inside the group.
    pub version: String,
    /// Kind in CamelCase.
    pub kind: String,
}

impl GroupVersion {
    /// Makes one from its two parts.
    pub fn new(group: &str, version: &str) -> Self {
        Self { group: group.to_owned(), version: version.to_owned() }
    }

    /// Parses `v1` or `apps/v1`; anything without exactly one version part is refused.
    pub fn parse(api_version: &str) -> Option<Self> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        if version.is_empty() || version.contains('/') || (group.is_empty() && api_version.contains('/')) {
            return None;
        }
        Some(Self::new(group, version))
    }

    /// The `GroupVersionKind` of `kind` in this version.
    pub fn with_kind(&self, kind: &str) -> GroupVersionKind {
        GroupVersionKind { group: self.group.clone(), version: self.version.clone(), kind: kind.to_owned() }
    }
}

impl fmt::Display for GroupVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.version)
        } else {
            write!(f, "{}/{}", self.group, self.version)
        }
    }
}

impl GroupVersionKind {
    /// Makes one from its three parts.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        GroupVersion::new(group, version).with_kind(kind)
    }

    /// Reads `apiVersion` and `kind` of an object; `None` when one of them is missing or malformed.
    pub fn of(object: &Value) -> Option<Self> {
        let api_version = object.get("apiVersion")?.as_str()?;
        let kind = object.get("kind")?.as_str()?;
        if kind.is_empty() {
            return None;
        }
        Some(GroupVersion::parse(api_version)?.with_kind(kind))
    }

    /// The group and version alone.
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion { group: self.group.clone(), version: self.version.clone() }
    }

    /// The text of `apiVersion`.
    pub fn api_version(&self) -> String {
        self.group_version().to_string()
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, Kind={}", self.group_version(), self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_versions_parse() {
        for (text, want) in [
            ("v1", Some(("", "v1"))),
            ("apps/v1", Some(("apps", "v1"))),
            ("", None),
            ("/v1", None),
            ("a/b/c", None),
            ("apps/", None),
        ] {
            let got = GroupVersion::parse(text);
            assert_eq!(got, want.map(|(g, v)| GroupVersion::new(g, v)), "{text}");
        }
        assert_eq!(GroupVersion::new("apps", "v1").to_string(), "apps/v1");
        assert_eq!(GroupVersion::new("", "v1").to_string(), "v1");
    }
}
