//! The simple JSONPaths that CRDs use in printer columns and scale: fields, indices, `[*]` and equality filters.

use std::fmt;

use serde_json::Value;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// `[?(@.a.b=="c")]`
    Filter(Vec<String>, Value),
}

/// What is wrong with a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a JSONPath of fields, indices and equality filters: {0:?}")]
pub struct PathError(String);

impl JsonPath {
    /// Parses `.spec.replicas`, `.metadata.labels['a/b']`, `.status.conditions[?(@.type=="Ready")].status`.
    ///
    /// # Errors
    /// When the text uses anything else.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let error = || PathError(text.to_owned());
        let mut steps = Vec::new();
        let mut rest = text.trim();
        rest = rest.strip_prefix('{').and_then(|r| r.strip_suffix('}')).unwrap_or(rest);
        rest = rest.strip_prefix('$').unwrap_or(rest);
        if !rest.starts_with(['.', '[']) {
            return Err(error());
        }
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let (name, after) = field(after);
                match name.as_str() {
                    "" if after.starts_with('[') || (after.is_empty() && steps.is_empty()) => {}
                    "" => return Err(error()),
                    "*" => steps.push(Step::All),
                    _ => steps.push(Step::Field(name)),
                }
                rest = after;
            } else if let Some(after) = rest.strip_prefix("[?(") {
                let end = after.find(")]").ok_or_else(error)?;
                let (condition, after) = after.split_at(end);
                steps.push(filter(condition).ok_or_else(error)?);
                rest = after.get(2..).unwrap_or_default();
            } else if let Some(after) = rest.strip_prefix('[') {
                let (inner, after) = after.split_once(']').ok_or_else(error)?;
                let quoted = inner.strip_prefix(['\'', '"']).and_then(|i| i.strip_suffix(['\'', '"']));
                steps.push(match (quoted, inner) {
                    (Some(name), _) => Step::Field(name.to_owned()),
                    (None, "*") => Step::All,
                    (None, number) => Step::Index(number.parse().map_err(|_| error())?),
                });
                rest = after;
            } else {
                return Err(error());
            }
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    /// The first value that the path leads to.
    pub fn first<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        walk(&self.steps, object)
    }

    /// The names of a path that is made of fields only, as scale's paths must be.
    pub fn fields(&self) -> Option<Vec<&str>> {
        self.steps
            .iter()
            .map(|s| match s {
                Step::Field(name) => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A field name up to the next dot or bracket; a backslash takes the next character as it is.
fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '.' | '[' => return (name, text.get(i..).unwrap_or_default()),
            '\\' => name.extend(chars.next().map(|(_, c)| c)),
            c => name.push(c),
        }
    }
    (name, "")
}

fn filter(condition: &str) -> Option<Step> {
    let (left, right) = condition.split_once("==")?;
    let path = left.trim().strip_prefix("@.")?;
    let right = right.trim();
    let quoted = right.strip_prefix(['\'', '"']).and_then(|r| r.strip_suffix(['\'', '"']));
    let value = match quoted {
        Some(text) => Value::String(text.to_owned()),
        None => serde_json::from_str(right).ok()?,
    };
    Some(Step::Filter(path.split('.').map(str::to_owned).collect(), value))
}

fn walk<'a>(steps: &[Step], value: &'a Value) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else { return Some(value) };
    match step {
        Step::Field(name) => walk(rest, value.get(name)?),
        Step::Index(index) => {
            let items = value.as_array()?;
            let index = if *index < 0 { i64::try_from(items.len()).ok()? + index } else { *index };
            walk(rest, items.get(usize::try_from(index).ok()?)?)
        }
        Step::All => match value {
            Value::Array(items) => items.iter().find_map(|i| walk(rest, i)),
            Value::Object(map) => map.values().find_map(|v| walk(rest, v)),
            _ => None,
        },
        Step::Filter(path, want) => value
            .as_array()?
            .iter()
            .filter(|item| path.iter().try_fold(*item, |at, name| at.get(name)) == Some(want))
            .find_map(|item| walk(rest, item)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({"spec": {"hosts": ["a", "b"], "n": 3}, "metadata": {"labels": {"a.b/c": "x"}},
            "status": {"conditions": [{"type": "Synced", "status": "False"}, {"type": "Ready", "status": "True"}]}});
        for (path, want) in [
            (".spec.n", json!(3)),
            (".spec.hosts", json!(["a", "b"])),
            (".spec.hosts[1]", json!("b")),
            (".spec.hosts[-1]", json!("b")),
            (".spec.hosts[*]", json!("a")),
            (".metadata.labels['a.b/c']", json!("x")),
            (".metadata.labels.a\\.b/c", json!("x")),
            (".status.conditions[?(@.type==\"Ready\")].status", json!("True")),
            ("{.status.conditions[?(@.type=='Synced')].status}", json!("False")),
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().first(&object), Some(&want), "{path}");
        }
        assert_eq!(JsonPath::parse(".spec.none.deep").unwrap().first(&object), None);
        for bad in ["", "spec", ".a..b", ".a[", ".a[x]", ".a[?(b==1)]"] {
            assert!(JsonPath::parse(bad).is_err(), "{bad}");
        }
    }
}
