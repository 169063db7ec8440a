//! Reading `/config_dump`, whichever proxy wrote it: Envoy writes proto field names (`dynamic_listeners`), other
//! JSON writers may use camel case.

use anyhow::Context;
use serde_json::{Value, json};

/// The answer of `/config_dump`.
pub(super) struct Dump(pub(super) Value);

/// A field by its proto name, in either spelling; `Null` if it is not there.
pub(super) fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).or_else(|| value.get(camel(name))).unwrap_or(&Value::Null)
}

/// A nested field: `path` is dotted.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(value, field)
}

/// A nested text; empty if it is not there.
pub(super) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// A nested list; empty if it is not there.
pub(super) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            out.extend(c.to_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out
}

impl Dump {
    /// The part of one kind, e.g. `ListenersConfigDump`.
    fn section(&self, kind: &str) -> impl Iterator<Item = &Value> {
        let suffix = format!(".{kind}");
        list(&self.0, "configs").iter().filter(move |config| {
            config.get("@type").and_then(Value::as_str).is_some_and(|t| t.ends_with(&suffix))
        })
    }

    /// The bootstrap.
    pub(super) fn bootstrap(&self) -> anyhow::Result<Value> {
        let section = self.section("BootstrapConfigDump").next();
        let bootstrap = section.map(|section| field(section, "bootstrap")).filter(|value| !value.is_null());
        Ok(json!({"bootstrap": bootstrap.context("the proxy shows no bootstrap")?}))
    }

    /// All clusters, static ones first.
    pub(super) fn clusters(&self) -> Vec<&Value> {
        self.collect("ClustersConfigDump", &["static_clusters", "dynamic_active_clusters"], "cluster")
    }

    /// All listeners, static ones first.
    pub(super) fn listeners(&self) -> Vec<&Value> {
        let mut all = self.collect("ListenersConfigDump", &["static_listeners"], "listener");
        all.extend(self.collect("ListenersConfigDump", &["dynamic_listeners"], "active_state.listener"));
        all
    }

    /// All route configurations.
    pub(super) fn routes(&self) -> Vec<&Value> {
        self.collect("RoutesConfigDump", &["static_route_configs", "dynamic_route_configs"], "route_config")
    }

    /// All secrets with their state.
    pub(super) fn secrets(&self) -> Vec<(&'static str, &Value)> {
        let mut out = Vec::new();
        for config in self.section("SecretsConfigDump") {
            for (state, name) in [
                ("ACTIVE", "static_secrets"),
                ("ACTIVE", "dynamic_active_secrets"),
                ("WARMING", "dynamic_warming_secrets"),
            ] {
                out.extend(list(config, name).iter().map(|entry| (state, entry)));
            }
        }
        out
    }

    fn collect(&self, section: &str, groups: &[&str], inner: &str) -> Vec<&Value> {
        self.section(section)
            .flat_map(|config| groups.iter().flat_map(move |group| list(config, group)))
            .map(|entry| at(entry, inner))
            .filter(|value| !value.is_null())
            .collect()
    }
}

/// `name.namespace` of the configuration object that a resource's metadata names
/// (`/apis/networking.istio.io/v1alpha3/namespaces/NS/virtual-service/NAME`).
pub(super) fn origin(resource: &Value) -> String {
    let path = text(resource, "metadata.filter_metadata.istio.config");
    let parts: Vec<&str> = path.rsplit('/').collect();
    match parts.as_slice() {
        [name, _kind, namespace, ..] if !name.is_empty() => format!("{name}.{namespace}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        let snake = json!({"a_b": {"c_d": "x"}});
        let upper = json!({"aB": {"cD": "x"}});
        assert_eq!(text(&snake, "a_b.c_d"), "x");
        assert_eq!(text(&upper, "a_b.c_d"), "x");
        assert_eq!(text(&upper, "a_b.none"), "");
    }

    #[test]
    fn origin_is_the_config_object() {
        let path = "/apis/networking.istio.io/v1alpha3/namespaces/bookinfo/virtual-service/reviews";
        let value = json!({"metadata": {"filter_metadata": {"istio": {"config": path}}}});
        assert_eq!(origin(&value), "reviews.bookinfo");
        assert_eq!(origin(&json!({})), "");
    }

    #[test]
    fn sections_are_found_by_type() {
        let dump = Dump(json!({"configs": [{
            "@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump",
            "dynamic_listeners": [{"name": "l", "active_state": {"listener": {"name": "l"}}}, {"name": "warming"}],
        }]}));
        assert_eq!(dump.listeners().len(), 1);
        assert!(dump.clusters().is_empty());
    }
}
