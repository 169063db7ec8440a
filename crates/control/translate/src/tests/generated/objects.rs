//! Objects of every kind of Istio's that we serve, made from the schemas: random, plausible, with odd values among them.

use portolan_resources::validation::{DecodeError, validate_json};
use serde_json::{Map, Value, json};

use super::values::{Chance, Place};

/// A kind, and the schema of its `spec`.
struct Kind {
    api_version: String,
    kind: String,
    spec: Value,
}

/// Makes objects. The same seed makes the same ones.
pub(super) struct Objects {
    chance: Chance,
    kinds: Vec<Kind>,
    made: usize,
}

/// Of an object no more fields than this are taken out because admission refuses them.
const MOST_REPAIRS: usize = 12;

/// Fields without which admission takes no object; they are there, with something in them.
const REQUIRED: &[&str] =
    &["hosts", "host", "servers", "ports", "address", "destination", "sniHosts", "number"];

/// Fields without which an object says little.
const ESSENTIAL: &[&str] = &[
    "http",
    "route",
    "port",
    "protocol",
    "selector",
    "rules",
    "subsets",
    "trafficPolicy",
    "resolution",
    "egress",
];

/// Kinds of which there are more than of others, and how many times as many.
const COMMON: &[(&str, usize)] = &[
    ("VirtualService", 8),
    ("DestinationRule", 3),
    ("Gateway", 3),
    ("ServiceEntry", 3),
    ("AuthorizationPolicy", 2),
];

/// Of these fields an object has one.
const ONE_OF: &[&[&str]] = &[
    &["exact", "prefix", "regex"],
    &["route", "redirect", "delegate"],
    &["simple", "consistentHash"],
    &["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"],
    &["distribute", "failover"],
];

impl Objects {
    pub(super) fn new(seed: u64) -> Self {
        let mut kinds = Vec::new();
        for crd in portolan_resources::crds() {
            let crd = serde_json::to_value(crd).unwrap()["spec"].take();
            let (group, kind) = (crd["group"].as_str().unwrap(), crd["names"]["kind"].as_str().unwrap());
            if !matches!(group, "networking.istio.io" | "security.istio.io") {
                continue;
            }
            let version = crd["versions"].as_array().unwrap().last().unwrap();
            let times = COMMON.iter().find(|(common, _)| *common == kind).map_or(1, |(_, times)| *times);
            kinds.extend((0..times).map(|_| Kind {
                api_version: format!("{group}/{}", version["name"].as_str().unwrap()),
                kind: kind.to_owned(),
                spec: version["schema"]["openAPIV3Schema"]["properties"]["spec"].clone(),
            }));
        }
        Self { chance: Chance::new(seed), kinds, made: 0 }
    }

    /// The next object as somebody might write it.
    fn next(&mut self) -> Value {
        let kind = &self.kinds[self.chance.below(self.kinds.len())];
        self.made += 1;
        let namespace = self.chance.pick(&["shop", "shop", "bank", "istio-system"]);
        let mut place = Place::new(&kind.kind);
        let spec = any(&mut self.chance, &kind.spec, &mut place);
        json!({
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {
                "name": format!("o{}", self.made),
                "namespace": namespace,
                "creationTimestamp": format!("2021-01-01T00:00:{:02}Z", self.made % 60),
            },
            "spec": spec,
        })
    }

    /// The next object, less the fields that admission has something against: what is left is as odd as it lets through.
    /// Nothing when nothing is left of it.
    pub(super) fn next_admitted(&mut self) -> Option<Value> {
        let mut object = self.next();
        for _ in 0..MOST_REPAIRS {
            let report = match validate_json(&object) {
                Ok(report) => report,
                Err(DecodeError::Malformed { .. }) => return None,
                Err(error) => panic!("{error}: {object}"),
            };
            let Some(error) = report.errors.first() else { return Some(object) };
            if !take_out(&mut object, &error.field) {
                return None;
            }
        }
        None
    }
}

/// A value that a schema allows.
fn any(chance: &mut Chance, schema: &Value, place: &mut Place) -> Value {
    if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<&Value> = choices.iter().filter(|choice| !choice.is_null()).collect();
        return choices[chance.below(choices.len())].clone();
    }
    match schema["type"].as_str().unwrap_or_default() {
        "object" if schema["properties"].is_object() => {
            let fields = schema["properties"].as_object().unwrap();
            structure(chance, fields, &schema["required"], place)
        }
        "object" => {
            let keys = chance.below(3);
            let entry = |chance: &mut Chance| {
                let key = place.key(chance);
                let value = place.below(&key, |place| any(chance, &schema["additionalProperties"], place));
                (key, value)
            };
            let mut entry = entry;
            Value::Object((0..keys).map(|_| entry(chance)).collect())
        }
        "array" => {
            let may_be_empty = !REQUIRED.contains(&place.name());
            let items = if may_be_empty && chance.one_in(12) { 0 } else { 1 + chance.below(2) };
            (0..items).map(|_| any(chance, &schema["items"], place)).collect()
        }
        "boolean" => json!(chance.one_in(2)),
        "integer" | "number" => place.number(chance, schema),
        "string" => json!(place.text(chance)),
        _ => json!(place.text(chance)),
    }
}

fn structure(chance: &mut Chance, fields: &Map<String, Value>, required: &Value, place: &mut Place) -> Value {
    let is_required = |name: &str| required.as_array().is_some_and(|all| all.iter().any(|r| r == name));
    let mut made = Map::new();
    let excluded = one_of_each(chance, fields);
    for (name, schema) in fields.iter().filter(|(name, _)| !excluded.contains(&name.as_str())) {
        let odds = if ESSENTIAL.contains(&name.as_str()) { 85 } else { place.odds() };
        if is_required(name) || REQUIRED.contains(&name.as_str()) || chance.percent(odds) {
            let value = place.below(name, |place| any(chance, schema, place));
            made.insert(name.clone(), value);
        }
    }
    Value::Object(made)
}

/// The fields that are left out, for another one of which an object has but one is there.
fn one_of_each<'a>(chance: &mut Chance, fields: &'a Map<String, Value>) -> Vec<&'a str> {
    let mut out = Vec::new();
    for group in ONE_OF {
        let mut here: Vec<&str> = fields.keys().map(String::as_str).filter(|n| group.contains(n)).collect();
        if here.len() > 1 {
            // The first is what most write.
            here.sort_by_key(|name| group.iter().position(|other| other == name));
            let kept = if chance.one_in(2) { 0 } else { chance.below(here.len()) };
            here.remove(kept);
            out.extend(here);
        }
    }
    out
}

/// Takes a field out, or what is nearest above it and there. Whether there was anything.
fn take_out(object: &mut Value, path: &str) -> bool {
    let mut steps: Vec<String> = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let Some((key, after)) = inner.split_once(']') else { return false };
            steps.push(key.to_owned());
            rest = after;
        } else {
            let start = rest.trim_start_matches('.');
            let end = start.find(['.', '[']).unwrap_or(start.len());
            steps.push(start[..end].to_owned());
            rest = &start[end..];
        }
    }
    // `spec` itself stays.
    while steps.len() > 1 {
        let last = steps.pop().unwrap();
        let above = steps.iter().try_fold(&mut *object, |value, step| match value {
            Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
            Value::Object(fields) => fields.get_mut(step),
            _ => None,
        });
        let taken = match above {
            Some(Value::Array(items)) => {
                last.parse().ok().filter(|at| *at < items.len()).map(|at: usize| items.remove(at))
            }
            Some(Value::Object(fields)) => fields.remove(&last),
            _ => None,
        };
        if taken.is_some() {
            return true;
        }
    }
    false
}
