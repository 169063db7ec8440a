//! `src/schema/builtin.txt` is made here: names, types and required fields from the sources of `k8s-openapi`,
//! protobuf tags and list or merge markers from those of `k8s-pb`.
//!
//! `UPDATE=1 cargo test -p portolan-apimachinery --test type_table` writes it anew; without `UPDATE` the test
//! compares. Only facts of the interface are taken, no texts.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "whoever runs the test says where sources are, and asks for new files"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The crates that are read; the versions are those of the workspace.
const OPENAPI_CRATE: &str = "k8s-openapi-0.29.0";
const PB_CRATE: &str = "k8s-pb-0.9.0";

/// Version module of `k8s-openapi` that is read.
const OPENAPI_MODULE: &str = "v1_35";

/// Types that bodies can have besides the kinds of the resource table.
const EXTRA_ROOTS: &[&str] = &[
    "autoscaling.v1.Scale",
    "authentication.v1.TokenRequest",
    "core.v1.Binding",
    "core.v1.PodTemplateSpec",
    "meta.v1.DeleteOptions",
    "meta.v1.ListMeta",
    "meta.v1.ObjectMeta",
    "meta.v1.Status",
    "policy.v1.Eviction",
];

#[derive(Default, Debug)]
struct PbMessage {
    fields: Vec<PbField>,
    atomic: bool,
}

#[derive(Debug)]
struct PbField {
    key: String,
    tag: u32,
    is_message: bool,
    type_name: String,
    markers: String,
}

#[derive(Default, Debug)]
struct JsonType {
    fields: Vec<(String, String, bool)>,
    is_kind: bool,
}

#[test]
fn the_type_table_is_current() {
    let (openapi, pb) = source_dirs()
        .expect("cargo unpacks the sources of k8s-openapi and k8s-pb, which this test is built with, below CARGO_HOME");
    let text = generate(&openapi, &pb);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/schema/builtin.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == text, "src/schema/builtin.txt is out of date: run this test with UPDATE=1");
}

/// The source folders of the two crates in cargo's registry.
fn source_dirs() -> Option<(PathBuf, PathBuf)> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let find = |package: &str| {
        let registries = std::fs::read_dir(home.join("registry/src")).ok()?;
        registries.flatten().map(|r| r.path().join(package).join("src")).find(|p| p.is_dir())
    };
    Some((find(OPENAPI_CRATE)?.join(OPENAPI_MODULE), find(PB_CRATE)?))
}

fn generate(openapi: &Path, pb: &Path) -> String {
    let messages = read_pb(pb);
    let types = read_openapi(openapi);
    let table = portolan_apimachinery::ResourceTable::builtin();
    let mut queue: Vec<String> = EXTRA_ROOTS.iter().map(|s| (*s).to_owned()).collect();
    queue.extend(table.iter().map(|r| r.schema_name.clone()));
    let mut done = BTreeMap::new();
    while let Some(name) = queue.pop() {
        if done.contains_key(&name) {
            continue;
        }
        let Some(json) = types.get(&name) else { panic!("no type {name} in k8s-openapi") };
        let message = messages.get(&name.to_lowercase());
        let mut out = format!("type {name}");
        if message.is_some_and(|m| m.atomic) {
            out.push_str(" atomic");
        }
        if json.is_kind {
            out.push_str(" kind");
        }
        out.push('\n');
        for (json_name, ty, required) in &json.fields {
            let (tag, markers) = message
                .and_then(|m| find_tag(m, &messages, json_name))
                .unwrap_or(("0".into(), String::new()));
            let required = if *required { " r" } else { "" };
            writeln!(out, " {json_name} {tag} {ty}{required}{markers}").unwrap();
            if let Some(next) = referenced(ty) {
                queue.push(next);
            }
        }
        done.insert(name, out);
    }
    let mut text =
        String::from("# Made by tests/type_table.rs; the format is described in src/schema/builtin.rs.\n");
    text.extend(done.into_values());
    text
}

fn referenced(ty: &str) -> Option<String> {
    let base = ty.trim_start_matches(['[', ']', '{', '}']);
    base.contains('.').then(|| base.to_owned())
}

/// Letters and digits in lower case: the common ground of `clusterIPs`, `cluster_i_ps` and `cluster_ips`.
fn key(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// The tag path and markers of a JSON field; a message without a JSON field of its own is inlined in Go.
fn find_tag(
    message: &PbMessage,
    messages: &BTreeMap<String, PbMessage>,
    json_name: &str,
) -> Option<(String, String)> {
    let wanted = key(json_name.trim_start_matches('$'));
    if let Some(f) = message.fields.iter().find(|f| f.key == wanted) {
        return Some((f.tag.to_string(), f.markers.clone()));
    }
    message.fields.iter().filter(|f| f.is_message && INLINED.contains(&f.key.as_str())).find_map(|f| {
        let (tag, markers) = find_tag(messages.get(&f.type_name.to_lowercase())?, messages, json_name)?;
        Some((format!("{}.{tag}", f.tag), markers))
    })
}

/// Message fields that Go embeds, so that JSON shows their fields in the outer object.
const INLINED: &[&str] = &[
    "volumesource",
    "ephemeralcontainercommon",
    "handler",
    "persistentvolumesource",
    "localobjectreference",
    "rule",
    "ingressrulevalue",
];

fn read_pb(root: &Path) -> BTreeMap<String, PbMessage> {
    let tag = Regex::new(r#"tag = "(\d+)""#).unwrap();
    let mut out = BTreeMap::new();
    for file in files(root) {
        let module = file.strip_prefix(root).unwrap().parent().unwrap().to_string_lossy().replace('/', ".");
        let text = std::fs::read_to_string(&file).unwrap();
        let (mut docs, mut attribute, mut field) = (Vec::new(), String::new(), String::new());
        let mut current: Option<(String, PbMessage)> = None;
        for line in text.lines().map(str::trim) {
            if let Some(doc) = line.strip_prefix("///") {
                docs.push(doc.trim().to_owned());
            } else if line.starts_with("#[prost(") {
                attribute = line.to_owned();
            } else if let Some(name) = line.strip_prefix("pub struct ") {
                let name = name.trim_end_matches(" {}").trim_end_matches(" {");
                let atomic = docs.iter().any(|d| d == "+structType=atomic");
                current = Some((name.to_owned(), PbMessage { fields: Vec::new(), atomic }));
                docs.clear();
            } else if line == "}" {
                if let Some((name, message)) = current.take() {
                    out.insert(format!("{}.{name}", short_module(&module)).to_lowercase(), message);
                }
                docs.clear();
            } else if line.starts_with("pub ") && current.is_some() || !field.is_empty() {
                field.push_str(line);
                if !line.ends_with(',') || field.matches('<').count() != field.matches('>').count() {
                    continue;
                }
                let text = std::mem::take(&mut field);
                let Some((name, ty)) = text.trim_start_matches("pub ").split_once(':') else { continue };
                let Some(number) = tag.captures(&attribute) else { continue };
                if let Some((_, message)) = &mut current {
                    message.fields.push(PbField {
                        key: key(name.trim_start_matches("r#")),
                        tag: number[1].parse().unwrap(),
                        is_message: attribute.contains("message"),
                        type_name: pb_type(ty, &module),
                        markers: markers(&docs),
                    });
                }
                docs.clear();
                attribute.clear();
            }
        }
    }
    out
}

/// The full name of the innermost type of a prost field; only needed for messages of the same or another module.
fn pb_type(ty: &str, module: &str) -> String {
    let inner = ty.rsplit('<').next().unwrap_or(ty).trim_end_matches(['>', ',', ' ']);
    let inner = inner.rsplit(", ").next().unwrap_or(inner);
    let mut path: Vec<&str> = module.split('.').collect();
    let mut rest = inner.trim();
    while let Some(up) = rest.strip_prefix("super::") {
        path.pop();
        rest = up;
    }
    path.extend(rest.split("::"));
    let name = path.pop().unwrap_or_default().to_owned();
    format!("{}.{name}", short_module(&path.join(".")))
}

fn markers(docs: &[String]) -> String {
    let mut out = String::new();
    let value = |name: &str| docs.iter().find_map(|d| d.strip_prefix(name)).map(str::to_owned);
    let keys: Vec<&str> = docs.iter().filter_map(|d| d.strip_prefix("+listMapKey=")).collect();
    if let Some(list_type) = value("+listType=") {
        write!(out, " l={list_type}").unwrap();
        if !keys.is_empty() {
            write!(out, ":{}", keys.join(",")).unwrap();
        }
    }
    if let Some(merge_key) = value("+patchMergeKey=") {
        write!(out, " k={merge_key}").unwrap();
    }
    if let Some(strategy) = value("+patchStrategy=") {
        write!(out, " p={strategy}").unwrap();
    }
    if value("+mapType=").is_some_and(|t| t == "atomic")
        || value("+structType=").is_some_and(|t| t == "atomic")
    {
        out.push_str(" atomic");
    }
    out
}

fn read_openapi(root: &Path) -> BTreeMap<String, JsonType> {
    let key_line = Regex::new(r#"^"([^"]+)" => Field::(Key_\w+),"#).unwrap();
    let field_line = Regex::new(r"^pub (\w+): (.+),$").unwrap();
    let mut out = BTreeMap::new();
    for file in files(root) {
        let module = file.strip_prefix(root).unwrap().parent().unwrap().to_string_lossy().replace('/', ".");
        let text = std::fs::read_to_string(&file).unwrap();
        let Some(name) =
            text.lines().find_map(|l| l.strip_prefix("pub struct ")).map(|l| l.trim_end_matches(" {"))
        else {
            continue;
        };
        let mut types = BTreeMap::new();
        let mut json = JsonType { fields: Vec::new(), is_kind: text.contains("impl crate::Resource for ") };
        let mut seen = BTreeSet::new();
        for line in text.lines().map(str::trim) {
            if let Some(c) = field_line.captures(line) {
                types.entry(format!("Key_{}", &c[1])).or_insert(c[2].to_owned());
            } else if let Some(c) = key_line.captures(line)
                && let Some(ty) = types.get(&c[2])
                && seen.insert(c[1].to_owned())
            {
                let inner =
                    ty.strip_prefix("Option<").map(|t| t.trim_end_matches('>').to_owned() + closing(t));
                let required = inner.is_none() && &c[1] != "metadata";
                json.fields.push((c[1].to_owned(), json_type(&inner.unwrap_or(ty.clone())), required));
            }
        }
        out.insert(format!("{}.{}", short_module(&module), name), json);
    }
    out
}

/// What is left of the closing brackets once the one of `Option<` is gone.
fn closing(text: &str) -> &'static str {
    match text.chars().rev().take_while(|c| *c == '>').count() {
        0 | 1 => "",
        2 => ">",
        3 => ">>",
        _ => ">>>",
    }
}

fn json_type(ty: &str) -> String {
    if let Some(inner) = ty.strip_prefix("std::vec::Vec<") {
        return format!("[]{}", json_type(inner.strip_suffix('>').unwrap_or(inner)));
    }
    if let Some(inner) = ty.strip_prefix("std::collections::BTreeMap<std::string::String, ") {
        return format!("{{}}{}", json_type(inner.strip_suffix('>').unwrap_or(inner)));
    }
    if let Some(inner) = ty.strip_prefix("std::boxed::Box<") {
        return json_type(inner.strip_suffix('>').unwrap_or(inner));
    }
    match ty {
        "std::string::String" => "string".into(),
        "i32" => "int32".into(),
        "i64" => "int64".into(),
        "f64" => "double".into(),
        "bool" => "bool".into(),
        "crate::ByteString" => "bytes".into(),
        _ => {
            let path = ty.trim_start_matches("crate::");
            let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
            match name {
                "Time"
                | "MicroTime"
                | "Quantity"
                | "IntOrString"
                | "RawExtension"
                | "FieldsV1"
                | "JSON"
                | "JSONSchemaPropsOrArray"
                | "CustomResourceSubresourceStatus"
                | "JSONSchemaPropsOrBool"
                | "JSONSchemaPropsOrStringArray" => name.to_lowercase(),
                _ => format!("{}.{name}", short_module(&module.replace("::", "."))),
            }
        }
    }
}

/// `api.core.v1` is `core.v1`, `apimachinery.pkg.apis.meta.v1` is `meta.v1`.
fn short_module(module: &str) -> String {
    let mut parts: Vec<&str> = module.rsplit('.').take(2).collect();
    parts.reverse();
    parts.join(".")
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}
