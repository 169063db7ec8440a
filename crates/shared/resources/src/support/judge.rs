//! What the table says to something that a user wrote.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};

use super::{
    On, Subject, Support, annotations, environment, labels, mesh_config, proxy_config, table,
    tree::{ITEMS, Node, VALUES, tree},
};
use crate::report::Report;

/// Most unknown fields that are named one by one.
const MAX_UNKNOWN: usize = 8;
/// Longest name of an unknown field in a message, in characters.
const MAX_NAME: usize = 80;

/// What the table says to an object of a kind.
pub fn judge(kind: &str, object: &Value) -> Report {
    let mut walk = Walk::new(kind);
    if let Some(root) = tree(kind) {
        walk.object(root, object, "");
    }
    walk.report()
}

/// What the table says to a MeshConfig; `place` stands before every path.
pub fn judge_settings(mesh_config: &Value, place: &str) -> Report {
    let mut report = document(mesh_config::TABLE.name, mesh_config, place);
    let defaults = &mesh_config[mesh_config::DEFAULT_CONFIG];
    let inside = format!("{place}.{}", mesh_config::DEFAULT_CONFIG);
    report.extend(of_proxies(defaults, &inside));
    report
}

/// What the tables say to the ProxyConfig of a Pod; `place` stands before every path.
pub fn judge_pod_proxy_config(config: &Value, place: &str) -> Report {
    let mut report = of_proxies(config, place);
    report.extend(document(proxy_config::OF_A_POD.name, config, place));
    report
}

fn of_proxies(config: &Value, place: &str) -> Report {
    let mut report = document(proxy_config::TABLE.name, config, place);
    // They become variables of the agent.
    for (name, value) in config[proxy_config::METADATA].as_object().into_iter().flatten() {
        if let Some(support) = environment::of_agent(name, &text(value)) {
            tell(&mut report, format!("{place}.{}[{}]", proxy_config::METADATA, cut(name)), support, 1);
        }
    }
    report
}

fn document(name: &str, value: &Value, place: &str) -> Report {
    let mut walk = Walk::new(name);
    if let Some(root) = tree(name) {
        walk.value(root, value, place);
    }
    walk.report()
}

/// What the tables say to labels and annotations of an object. Names of others are none of our business.
pub fn judge_metadata(metadata: &Value, on: On) -> Report {
    let mut report = Report::default();
    let empty = Map::new();
    let of = |key: &str| metadata[key].as_object().unwrap_or(&empty).iter();
    let mut unknown = 0;
    for (key, known, prefixed) in [
        (
            "annotations",
            annotations::support as fn(&str, &str, On) -> _,
            annotations::is_ours as fn(&str) -> _,
        ),
        ("labels", labels::support, labels::is_ours),
    ] {
        for (name, value) in of(key) {
            let place = format!("metadata.{key}[{}]", cut(name));
            match known(name, value.as_str().unwrap_or_default(), on) {
                Some(support) => tell(&mut report, place, support, 1),
                None if prefixed(name) => {
                    unknown += 1;
                    if unknown <= MAX_UNKNOWN {
                        report.warn(place, "is not known here and has no effect; check its spelling");
                    }
                }
                None => {}
            }
        }
    }
    report
}

/// What the table says to the environment of the control plane.
pub fn judge_variables<'a>(set: impl Iterator<Item = (&'a str, &'a str)>) -> Report {
    let mut report = Report::default();
    for (name, value) in set.filter(|(_, value)| !value.is_empty()) {
        if let Some(support) = environment::support(name, value) {
            tell(&mut report, name.to_owned(), support, 1);
        }
    }
    report
}

/// One walk through an object. What one entry says is reported once, with the first place and the number of others.
struct Walk {
    warns_of_unknown: bool,
    found: BTreeMap<(String, Told), (String, usize)>,
    unknown: Vec<String>,
    unknown_more: usize,
}

/// How an entry is told, and its words; in the order in which they are shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Refused(&'static str),
    Warned(&'static str),
}

impl Walk {
    fn new(name: &str) -> Self {
        Self {
            warns_of_unknown: table(name).is_some_and(|table| table.subject == Subject::Document),
            found: BTreeMap::new(),
            unknown: Vec::new(),
            unknown_more: 0,
        }
    }

    fn value(&mut self, node: &Node, value: &Value, path: &str) {
        if !is_set(value) {
            return;
        }
        if let Some(support) = node.support_of(&text(value)) {
            self.note(support, path);
        }
        match value {
            Value::Array(items) => {
                let Some(below) = node.below.get(ITEMS) else { return };
                for (i, item) in items.iter().enumerate() {
                    self.value(below, item, &format!("{path}[{i}]"));
                }
            }
            Value::Object(_) => self.object(node, value, path),
            _ => {}
        }
    }

    fn object(&mut self, node: &Node, value: &Value, path: &str) {
        let Some(fields) = value.as_object().filter(|_| !node.below.is_empty()) else { return };
        let values = node.below.get(VALUES);
        for (name, field) in fields {
            if let Some(below) = values {
                self.value(below, field, &format!("{path}[{}]", cut(name)));
                continue;
            }
            let place =
                if path.is_empty() { cut(name).into_owned() } else { format!("{path}.{}", cut(name)) };
            match node.below.get(name) {
                Some(below) => self.value(below, field, &place),
                None if !self.warns_of_unknown => {}
                None if self.unknown.len() < MAX_UNKNOWN => self.unknown.push(place),
                None => self.unknown_more += 1,
            }
        }
    }

    fn note(&mut self, support: Support, path: &str) {
        let told = match support {
            Support::Works { .. } => return,
            Support::Refused { message } => Told::Refused(message),
            Support::Warned { text } => Told::Warned(text),
        };
        let place = without_indices(path);
        let found = self.found.entry((place, told)).or_insert_with(|| (path.to_owned(), 0));
        found.1 += 1;
    }

    fn report(self) -> Report {
        let mut report = Report::default();
        for ((_, told), (path, times)) in self.found {
            let support = match told {
                Told::Refused(message) => Support::Refused { message },
                Told::Warned(text) => Support::Warned { text },
            };
            tell(&mut report, path, support, times);
        }
        let more = self.unknown_more;
        let last = self.unknown.len();
        for (i, place) in self.unknown.into_iter().enumerate() {
            let others =
                if more > 0 && i + 1 == last { format!(" (and {more} more)") } else { String::new() };
            let message = "is not a field that is known here, and has no effect; check its spelling";
            report.warn(place, format!("{message}{others}"));
        }
        report
    }
}

fn tell(report: &mut Report, place: String, support: Support, times: usize) {
    let others = if times > 1 { format!(" (and at {} more places)", times - 1) } else { String::new() };
    match support {
        Support::Works { .. } => {}
        Support::Refused { message } => report.error(place, format!("{message}{others}")),
        Support::Warned { text } => report.warn(place, format!("{text}{others}")),
    }
}

/// Whether a value says more than leaving the field out would.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(_) => true,
    }
}

fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Bool(_) | Value::Number(_) => Cow::Owned(value.to_string()),
        _ => Cow::Borrowed(""),
    }
}

/// A path as the table has it, of one that names items and keys.
fn without_indices(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|c| {
            match c {
                '[' => inside = true,
                ']' => inside = false,
                _ => return !inside,
            }
            true
        })
        .collect()
}

/// A name that somebody else chose, for a message.
fn cut(name: &str) -> Cow<'_, str> {
    match name.char_indices().nth(MAX_NAME) {
        Some((end, _)) => Cow::Owned(format!("{}...", &name[..end])),
        None => Cow::Borrowed(name),
    }
}
