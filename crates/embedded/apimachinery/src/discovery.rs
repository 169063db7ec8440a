//! Discovery documents: `/api`, `/apis`, `/apis/G`, `/apis/G/V`, plain and aggregated.

use serde_json::{Map, Value, json};

use crate::gvk::{GroupVersion, GroupVersionKind};
use crate::resources::{Resource, ResourceTable, Subresource};

/// The media type of the aggregated form, `version` being `v2` or `v2beta1`.
pub fn aggregated_content_type(version: &str) -> String {
    format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList")
}

/// `GET /api` plain. `server_address` is `host:port` as clients reach us.
pub fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `GET /apis` plain (`APIGroupList`).
pub fn group_list(table: &ResourceTable) -> Value {
    let groups: Vec<Value> = groups(table)
        .iter()
        .filter(|(g, _)| !g.is_empty())
        .map(|(g, versions)| api_group(g, versions))
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `GET /apis/G` (`APIGroup`); `None` when there is no such group.
pub fn group(table: &ResourceTable, group: &str) -> Option<Value> {
    let (name, versions) = groups(table).into_iter().find(|(g, _)| g == group && !g.is_empty())?;
    let mut out = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Some(out), Value::Object(rest)) = (out.as_object_mut(), api_group(&name, &versions)) {
        out.extend(rest);
    }
    Some(out)
}

/// `GET /api/v1` and `GET /apis/G/V` (`APIResourceList`); `None` when there is no such group version.
pub fn resource_list(table: &ResourceTable, gv: &GroupVersion) -> Option<Value> {
    let mut resources = Vec::new();
    for resource in table.in_group_version(gv) {
        let mut entry = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": resource.verbs,
        });
        add_names(&mut entry, resource);
        resources.push(entry);
        for sub in &resource.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", resource.plural, sub.name), "singularName": "",
                "namespaced": resource.namespaced, "kind": sub.gvk.kind, "verbs": sub.verbs,
            });
            if sub.gvk.group_version() != *gv {
                entry["group"] = json!(sub.gvk.group);
                entry["version"] = json!(sub.gvk.version);
            }
            resources.push(entry);
        }
    }
    if resources.is_empty() {
        return None;
    }
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv.to_string(), "resources": resources,
    }))
}

/// `GET /api` (`core` true) or `GET /apis` aggregated: `APIGroupDiscoveryList` of apidiscovery.k8s.io `version`
/// (`v2` or `v2beta1`).
pub fn aggregated(table: &ResourceTable, core: bool, version: &str) -> Value {
    let items: Vec<Value> = groups(table)
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|gv| {
                    let resources: Vec<Value> = table.in_group_version(gv).map(|r| discovered(r)).collect();
                    json!({"version": gv.version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let mut metadata = Map::new();
            if !group.is_empty() {
                metadata.insert("name".into(), json!(group));
            }
            metadata.insert("creationTimestamp".into(), Value::Null);
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
        "metadata": {}, "items": items,
    })
}

/// Groups in discovery order with their versions, the preferred one first.
fn groups(table: &ResourceTable) -> Vec<(String, Vec<GroupVersion>)> {
    let mut out: Vec<(String, Vec<GroupVersion>)> = Vec::new();
    for gv in table.group_versions() {
        match out.iter_mut().find(|(g, _)| *g == gv.group) {
            Some((_, versions)) => versions.push(gv),
            None => out.push((gv.group.clone(), vec![gv])),
        }
    }
    out
}

fn api_group(name: &str, versions: &[GroupVersion]) -> Value {
    let list: Vec<Value> =
        versions.iter().map(|gv| json!({"groupVersion": gv.to_string(), "version": gv.version})).collect();
    let preferred = list.first().cloned();
    json!({"name": name, "versions": list, "preferredVersion": preferred})
}

fn add_names(entry: &mut Value, resource: &Resource) {
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
}

fn kind_value(gvk: &GroupVersionKind) -> Value {
    json!({"group": gvk.group, "version": gvk.version, "kind": gvk.kind})
}

fn discovered(resource: &Resource) -> Value {
    let subresource = |s: &Subresource| json!({"subresource": s.name, "responseKind": kind_value(&s.gvk), "verbs": s.verbs});
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": kind_value(&resource.gvk()),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    add_names(&mut entry, resource);
    if !resource.subresources.is_empty() {
        entry["subresources"] = resource.subresources.iter().map(subresource).collect();
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_documents() {
        let table = ResourceTable::builtin();
        let apps = resource_list(&table, &GroupVersion::new("apps", "v1")).unwrap();
        let names: Vec<&str> =
            apps["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"deployments") && names.contains(&"deployments/scale"), "{names:?}");
        let scale =
            apps["resources"].as_array().unwrap().iter().find(|r| r["name"] == "deployments/scale").unwrap();
        assert_eq!((&scale["group"], &scale["kind"]), (&json!("autoscaling"), &json!("Scale")));
        assert!(resource_list(&table, &GroupVersion::new("apps", "v9")).is_none());
        assert_eq!(group(&table, "apps").unwrap()["preferredVersion"]["groupVersion"], "apps/v1");
        assert!(group(&table, "").is_none());
        assert!(group_list(&table)["groups"].as_array().unwrap().iter().all(|g| g["name"] != ""));
    }

    #[test]
    fn aggregated_documents() {
        let table = ResourceTable::builtin();
        let core = aggregated(&table, true, "v2");
        assert_eq!(core["items"].as_array().unwrap().len(), 1);
        let resources = core["items"][0]["versions"][0]["resources"].as_array().unwrap();
        let pods = resources.iter().find(|r| r["resource"] == "pods").unwrap();
        assert_eq!(pods["responseKind"], json!({"group": "", "version": "v1", "kind": "Pod"}));
        assert_eq!(pods["shortNames"], json!(["po"]));
        let apis = aggregated(&table, false, "v2beta1");
        assert_eq!(apis["apiVersion"], "apidiscovery.k8s.io/v2beta1");
        assert_eq!(apis["items"][0]["metadata"]["name"], "apiregistration.k8s.io");
    }
}
