//! Validation of custom resources: a structural schema compiled to rules, and the walk that checks an object.
//!
//! Texts are those of the real server, which people and tests match on. CEL rules (`x-kubernetes-validations`) are
//! not evaluated.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use indexmap::IndexMap;
use regex::Regex;
use serde_json::{Map, Value};

use crate::path::Path;
use crate::status::{FieldError, FieldErrorKind};
use crate::time;

/// Errors that one object can have before the walk stops.
const MAX_ERRORS: usize = 100;
/// Memory that one pattern may take when compiled.
const PATTERN_SIZE_LIMIT: usize = 1 << 20;

/// The rules of one schema node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    kind: Option<Kind>,
    nullable: bool,
    allowed: Option<Vec<Value>>,
    minimum: Option<(f64, bool)>,
    maximum: Option<(f64, bool)>,
    multiple_of: Option<f64>,
    length: Range,
    items_count: Range,
    properties_count: Range,
    pattern: Option<Regex>,
    format: String,
    required: Vec<String>,
    properties: IndexMap<String, Rules>,
    values: Option<Box<Rules>>,
    items: Option<Box<Rules>>,
    unique_by: Option<Vec<String>>,
    all_of: Vec<Rules>,
    any_of: Vec<Rules>,
    one_of: Vec<Rules>,
    not: Option<Box<Rules>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Range {
    min: Option<u64>,
    max: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
}

impl Rules {
    /// Compiles a schema; faults (bad patterns, mostly) go to `errors`.
    pub(crate) fn compile(schema: &Value, path: &str, errors: &mut Vec<FieldError>) -> Self {
        let Some(map) = schema.as_object() else { return Self::default() };
        let number = |key: &str| map.get(key).and_then(Value::as_f64);
        let flag = |key: &str| map.get(key) == Some(&Value::Bool(true));
        let range = |min: &str, max: &str| Range {
            min: map.get(min).and_then(Value::as_u64),
            max: map.get(max).and_then(Value::as_u64),
        };
        let mut rules = Self {
            kind: kind(map),
            nullable: flag("nullable"),
            allowed: map.get("enum").and_then(Value::as_array).cloned(),
            minimum: number("minimum").map(|n| (n, flag("exclusiveMinimum"))),
            maximum: number("maximum").map(|n| (n, flag("exclusiveMaximum"))),
            multiple_of: number("multipleOf"),
            length: range("minLength", "maxLength"),
            items_count: range("minItems", "maxItems"),
            properties_count: range("minProperties", "maxProperties"),
            format: map.get("format").and_then(Value::as_str).unwrap_or_default().to_owned(),
            required: strings(map.get("required")),
            ..Self::default()
        };
        if let Some(pattern) = map.get("pattern").and_then(Value::as_str) {
            match regex::RegexBuilder::new(pattern).size_limit(PATTERN_SIZE_LIMIT).build() {
                Ok(regex) => rules.pattern = Some(regex),
                Err(e) => {
                    let why = format!("must be a valid regular expression: {e}");
                    errors.push(FieldError::invalid(format!("{path}.pattern"), pattern, why));
                }
            }
        }
        for (name, child) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let child = Self::compile(child, &format!("{path}.properties[{name}]"), errors);
            rules.properties.insert(name.clone(), child);
        }
        let mut child = |key: &str| {
            let child = map.get(key).filter(|c| c.is_object())?;
            Some(Box::new(Self::compile(child, &format!("{path}.{key}"), errors)))
        };
        rules.values = child("additionalProperties");
        rules.items = child("items");
        rules.not = child("not");
        let mut branches = |key: &str| -> Vec<Self> {
            let list = map.get(key).and_then(Value::as_array);
            list.into_iter()
                .flatten()
                .enumerate()
                .map(|(i, b)| Self::compile(b, &format!("{path}.{key}[{i}]"), errors))
                .collect()
        };
        rules.all_of = branches("allOf");
        rules.any_of = branches("anyOf");
        rules.one_of = branches("oneOf");
        rules.unique_by = match map.get("x-kubernetes-list-type").and_then(Value::as_str) {
            Some("map") => Some(strings(map.get("x-kubernetes-list-map-keys"))),
            Some("set") => Some(Vec::new()),
            _ => None,
        };
        rules
    }

    /// Everything that is wrong with `object`.
    pub(super) fn check(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        self.walk(object, &Path::Root, &mut errors);
        errors.truncate(MAX_ERRORS);
        errors
    }

    fn holds(&self, value: &Value) -> bool {
        let mut errors = Vec::new();
        self.walk(value, &Path::Root, &mut errors);
        errors.is_empty()
    }

    fn walk(&self, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        if errors.len() > MAX_ERRORS || (value.is_null() && self.nullable) {
            return;
        }
        if let Some(kind) = self.kind
            && !kind.fits(value)
        {
            let (want, found) = (kind.name(), type_name(value));
            let why = format!("{path} in body must be of type {want}: \"{found}\"");
            errors.push(FieldError::type_invalid(path, found, why));
            return;
        }
        if let Some(allowed) = &self.allowed
            && !allowed.contains(value)
        {
            let supported: Vec<String> =
                allowed.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
            let supported: Vec<&str> = supported.iter().map(String::as_str).collect();
            errors.push(FieldError::not_supported(path, value.clone(), &supported));
        }
        match value {
            Value::String(text) => self.text(text, path, errors),
            Value::Number(number) => self.number(number.as_f64().unwrap_or(0.0), value, path, errors),
            Value::Array(items) => self.array(items, path, errors),
            Value::Object(map) => self.object(map, value, path, errors),
            _ => {}
        }
        self.junctors(value, path, errors);
    }

    fn text(&self, text: &str, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        let length = text.chars().count() as u64;
        if let Some(min) = self.length.min.filter(|min| length < *min) {
            errors.push(FieldError::invalid(
                path,
                text,
                format!("{path} in body should be at least {min} chars long"),
            ));
        }
        if let Some(max) = self.length.max.filter(|max| length > *max) {
            let detail = format!("may not be more than {max} bytes");
            errors.push(FieldError {
                kind: FieldErrorKind::TooLong,
                ..FieldError::invalid(path, text, detail)
            });
        }
        if let Some(pattern) = &self.pattern
            && !pattern.is_match(text)
        {
            let why = format!("{path} in body should match '{}'", pattern.as_str());
            errors.push(FieldError::invalid(path, text, why));
        }
        let format_ok = match self.format.as_str() {
            "date-time" => time::parse(text).is_some(),
            "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
            "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
            "byte" => {
                use base64::Engine as _;
                base64::engine::general_purpose::STANDARD.decode(text).is_ok()
            }
            _ => true,
        };
        if !format_ok {
            let why = format!("{path} in body must be of type {}: \"{text}\"", self.format);
            errors.push(FieldError::type_invalid(path, text, why));
        }
    }

    fn number(&self, number: f64, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        let mut fail = |why: String| {
            errors.push(FieldError::invalid(path, value.clone(), format!("{path} in body {why}")))
        };
        if let Some((min, exclusive)) = self.minimum
            && (number < min || (exclusive && number == min))
        {
            fail(format!("should be greater than {}{min}", if exclusive { "" } else { "or equal to " }));
        }
        if let Some((max, exclusive)) = self.maximum
            && (number > max || (exclusive && number == max))
        {
            fail(format!("should be less than {}{max}", if exclusive { "" } else { "or equal to " }));
        }
        if let Some(step) = self.multiple_of.filter(|s| *s > 0.0)
            && (number / step).fract() != 0.0
        {
            fail(format!("should be a multiple of {step}"));
        }
        let fits = match self.format.as_str() {
            "int32" => number >= f64::from(i32::MIN) && number <= f64::from(i32::MAX),
            "uint32" => number >= 0.0 && number <= f64::from(u32::MAX),
            _ => true,
        };
        if !fits {
            fail(format!("must be of type {}: \"{number}\"", self.format));
        }
    }

    fn array(&self, items: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
        let count = items.len() as u64;
        if let Some(min) = self.items_count.min.filter(|min| count < *min) {
            let why = format!("{path} in body should have at least {min} items");
            errors.push(FieldError::invalid(path, count, why));
        }
        if let Some(max) = self.items_count.max.filter(|max| count > *max) {
            let detail = format!("must have at most {max} items");
            errors.push(FieldError {
                kind: FieldErrorKind::TooMany,
                ..FieldError::invalid(path, count, detail)
            });
            return;
        }
        if let Some(rules) = &self.items {
            for (i, item) in items.iter().enumerate() {
                rules.walk(item, &path.index(i), errors);
            }
        }
        let Some(keys) = &self.unique_by else { return };
        let mut seen = BTreeSet::new();
        for (i, item) in items.iter().enumerate() {
            let identity = if keys.is_empty() {
                item.clone()
            } else {
                // Defaults of keys are already filled in here.
                let pick = |key: &String| item.get(key).cloned().map(|v| (key.clone(), v));
                Value::Object(keys.iter().filter_map(pick).collect::<Map<_, _>>())
            };
            if !seen.insert(identity.to_string()) {
                errors.push(FieldError::duplicate(format!("{path}[{i}]"), identity));
            }
        }
    }

    fn object(&self, map: &Map<String, Value>, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        for name in self.required.iter().filter(|n| !map.contains_key(*n)) {
            errors.push(FieldError::required(path.key(name).shown(), ""));
        }
        let count = map.len() as u64;
        if let Some(min) = self.properties_count.min.filter(|min| count < *min) {
            let why = format!("{path} in body should have at least {min} properties");
            errors.push(FieldError::invalid(path, value.clone(), why));
        }
        if let Some(max) = self.properties_count.max.filter(|max| count > *max) {
            let detail = format!("must have at most {max} items");
            errors.push(FieldError {
                kind: FieldErrorKind::TooMany,
                ..FieldError::invalid(path, count, detail)
            });
        }
        for (name, child) in map {
            let rules = self.properties.get(name).or(self.values.as_deref());
            if let Some(rules) = rules {
                rules.walk(child, &path.key(name), errors);
            }
        }
    }

    fn junctors(&self, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
        let mut fail = |why: String| {
            errors.push(FieldError::invalid(path, value.clone(), format!("{path} in body {why}")));
        };
        let valid = |branches: &[Self]| branches.iter().filter(|b| b.holds(value)).count();
        if !self.any_of.is_empty() && valid(&self.any_of) == 0 {
            fail("must validate at least one schema (anyOf)".into());
        }
        if !self.one_of.is_empty() {
            match valid(&self.one_of) {
                1 => {}
                0 => fail("must validate one and only one schema (oneOf). Found none valid".into()),
                n => fail(format!(
                    "must validate one and only one schema (oneOf). Found {n} valid alternatives"
                )),
            }
        }
        if self.not.as_ref().is_some_and(|n| n.holds(value)) {
            fail("must not validate the schema (not)".into());
        }
        for branch in &self.all_of {
            branch.walk(value, path, errors);
        }
    }
}

fn kind(map: &Map<String, Value>) -> Option<Kind> {
    if map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        return Some(Kind::IntOrString);
    }
    match map.get("type").and_then(Value::as_str)? {
        "object" => Some(Kind::Object),
        "array" => Some(Kind::Array),
        "string" => Some(Kind::String),
        "integer" => Some(Kind::Integer),
        "number" => Some(Kind::Number),
        "boolean" => Some(Kind::Boolean),
        _ => None,
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::IntOrString => "integer,string",
        }
    }

    fn fits(self, value: &Value) -> bool {
        let whole = || {
            value.as_i64().is_some()
                || value.as_u64().is_some()
                || value.as_f64().is_some_and(|f| f.fract() == 0.0)
        };
        match self {
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
            Self::String => value.is_string(),
            Self::Integer => whole(),
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::IntOrString => value.is_string() || whole(),
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn strings(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}
