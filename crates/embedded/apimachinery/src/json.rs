//! JSON text to a value, noting keys that an object has twice: serde_json would keep the last one in silence,
//! Kubernetes reports them.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::path::Path;

/// Duplicates that are remembered; more are not worth reporting.
const MAX_DUPLICATES: usize = 100;
/// Values that one body may hold, keys and items of all levels. A value takes some thirty times the memory of its
/// shortest text; the largest bundles of definitions have a tenth of this.
pub(crate) const MAX_VALUES: usize = 400_000;

/// Levels of lists and maps in an object. What is stored must be read again, in answers, reviews and field owners
/// around it, by parsers that take 128.
pub(crate) const MAX_DEPTH: usize = 100;
/// What is said of an object with more.
pub(crate) const TOO_DEEP: &str = "the object is nested too deep: at most 100 levels";

/// Whether `value` has more than [`MAX_DEPTH`] levels.
pub(crate) fn is_too_deep(value: &Value) -> bool {
    let mut left = vec![(value, 0)];
    while let Some((value, depth)) = left.pop() {
        if depth > MAX_DEPTH {
            return true;
        }
        match value {
            Value::Array(items) => left.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(fields) => left.extend(fields.values().map(|field| (field, depth + 1))),
            _ => {}
        }
    }
    false
}

/// Parses `text`; the second part are the paths of duplicate keys.
pub(crate) fn parse(text: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let seen = Seen::default();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Node { path: Path::Root, seen: &seen }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, seen.duplicates.into_inner()))
}

/// What the walk has met.
#[derive(Default)]
struct Seen {
    duplicates: RefCell<Vec<String>>,
    values: Cell<usize>,
}

impl Seen {
    fn count<E: Error>(&self) -> Result<(), E> {
        let values = self.values.get() + 1;
        self.values.set(values);
        if values > MAX_VALUES {
            return Err(E::custom(format!("more than {MAX_VALUES} values: use several objects")));
        }
        Ok(())
    }
}

struct Node<'a> {
    path: Path<'a>,
    seen: &'a Seen,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) =
            seq.next_element_seed(Node { path: self.path.index(items.len()), seen: self.seen })?
        {
            self.seen.count()?;
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.seen.count()?;
            let path = self.path.key(&key);
            let value = map.next_value_seed(Node { path, seen: self.seen })?;
            if object.contains_key(&key) {
                let mut duplicates = self.seen.duplicates.borrow_mut();
                if duplicates.len() < MAX_DUPLICATES {
                    duplicates.push(path.shown());
                }
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_reported_with_their_path() {
        let (value, duplicates) = parse(br#"{"a":1,"b":[{"c":1,"c":2.5}],"a":-3}"#).unwrap();
        assert_eq!(value, json!({"a": -3, "b": [{"c": 2.5}]}));
        assert_eq!(duplicates, ["b[0].c", "a"]);
        assert!(parse(b"{} x").is_err());
        assert!(parse(&b"[".repeat(1000)).is_err());
    }
}
