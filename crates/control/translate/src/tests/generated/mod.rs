//! The two halves agree: whatever admission lets through is translated into what proxies take, ours and Envoy. Objects are
//! random ([`objects`]), and what is refused is traced to the one object that is at fault.

mod merged;
mod objects;
mod values;

use std::{collections::BTreeMap, sync::LazyLock};

use portolan_dataplane_config::{Kind, check};
use portolan_mesh::{Dialect, Inputs, ProxyNode};
use portolan_xds::{Resource, type_url};
use serde_json::{Value, json};

use super::{
    fixture,
    given::{alone, differing},
};
use objects::Objects;

/// Objects that are tried.
const OBJECTS: usize = 20_000;
/// Of each hundred at least so many are to get past admission, or there is nothing to see.
const ADMITTED: usize = 50;
/// Objects that are in a mesh together.
const TOGETHER: usize = 25;

/// What proxies are sent.
const TYPES: [&str; 7] = [
    type_url::CLUSTER,
    type_url::ENDPOINT,
    type_url::LISTENER,
    type_url::ROUTE,
    type_url::VIRTUAL_HOST,
    type_url::SECRET,
    type_url::NAME_TABLE,
];

/// The mesh around the objects.
static BASE: LazyLock<Inputs> = LazyLock::new(|| {
    let mut inputs = Inputs { root_certificates: fixture::ROOT.to_owned(), ..Inputs::default() };
    let objects: Vec<Value> = serde_saphyr::from_multiple(include_str!("base.yaml")).unwrap();
    objects.into_iter().for_each(|object| inputs.insert(object).unwrap());
    inputs
});

fn nodes(dialect: Dialect) -> [ProxyNode; 2] {
    let envoy = dialect == Dialect::Envoy;
    let web = [("app", "web"), ("version", "v1")];
    [
        fixture::node("sidecar", "shop", "web-1", "10.0.0.1", &web, envoy),
        fixture::node("router", "shop", "edge-1", "10.0.0.2", &[("istio", "edge"), ("app", "a")], envoy),
    ]
}

fn mesh(objects: &[Value]) -> portolan_mesh::Mesh {
    let mut inputs = BASE.clone();
    for object in objects {
        inputs.insert(object.clone()).unwrap();
    }
    portolan_mesh::Mesh::from(&inputs)
}

/// What our data plane has against what it would be sent.
fn refused(objects: &[Value]) -> Vec<String> {
    let mesh = mesh(objects);
    let mut refused = Vec::new();
    for node in nodes(Dialect::Portolan) {
        for resource in alone(&mesh, &node) {
            let judge = |resource: &Resource| match Kind::of_type_url(resource.type_url) {
                Some(kind) => check(kind, &resource.body).map(drop).map_err(|error| error.0),
                None => Ok(()),
            };
            // Most are in every mesh, and judged once.
            if let Err(reason) = resource.judged(judge) {
                refused.push(format!("{}: {} {}: {reason}", node.id, resource.type_url, resource.name));
            }
        }
    }
    refused
}

/// Those that alone cause something, each with what it causes. Where none does alone, as few as do together.
fn culprits(objects: &[Value], cause: impl Fn(&[Value]) -> Vec<String>) -> Vec<String> {
    let shown = |objects: &[Value], found: &[String]| {
        let objects: Vec<String> = objects.iter().map(Value::to_string).collect();
        format!("{}\n  {}", found.join("\n"), objects.join("\n  "))
    };
    let alone = objects.iter().map(std::slice::from_ref).filter_map(|object| {
        let found = cause(object);
        (!found.is_empty()).then(|| shown(object, &found))
    });
    let alone: Vec<String> = alone.collect();
    if !alone.is_empty() {
        return alone;
    }
    let mut together = objects.to_vec();
    for at in (0..objects.len()).rev() {
        let one = together.remove(at);
        if cause(&together).is_empty() {
            together.insert(at, one);
        }
    }
    vec![shown(&together, &cause(&together))]
}

/// The objects to try, in meshes of [`TOGETHER`].
fn meshes(seed: u64, objects: usize) -> Vec<Vec<Value>> {
    let mut source = Objects::new(seed);
    let admitted: Vec<Value> = (0..objects).filter_map(|_| source.next_admitted()).collect();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    admitted.iter().for_each(|object| *kinds.entry(object["kind"].as_str().unwrap()).or_default() += 1);
    eprintln!("{} of {objects} admitted: {kinds:?}", admitted.len());
    assert!(admitted.len() * 100 >= objects * ADMITTED, "{} of {objects} admitted", admitted.len());
    admitted.chunks(TOGETHER).map(<[Value]>::to_vec).collect()
}

/// `PORTOLAN_SEED` tries others.
#[expect(clippy::disallowed_methods, reason = "a test is asked to do something else by its environment")]
fn seed() -> u64 {
    std::env::var("PORTOLAN_SEED").ok().map_or(1, |seed| seed.parse().unwrap())
}

/// What proxies of several namespaces share is what one that shares nothing has.
#[test]
fn sharing_does_not_show() {
    let shows = |objects: &[Value]| -> Vec<String> {
        let mesh = mesh(objects);
        let nodes = [Dialect::Portolan, Dialect::Envoy].into_iter().flat_map(nodes);
        let differing = nodes.flat_map(|node| {
            let alone = alone(&mesh, &node);
            let of_type = |url: &&str| differing(&mesh, &node, &alone, url);
            let found: Vec<String> = TYPES.iter().flat_map(of_type).collect();
            found.into_iter().map(move |name| format!("{:?} {}: {name}", node.metadata.dialect, node.id))
        });
        differing.collect()
    };
    let mut found = Vec::new();
    for objects in meshes(seed() + 1, OBJECTS / 5) {
        if !shows(&objects).is_empty() {
            found.extend(culprits(&objects, shows));
        }
        if found.len() > 5 {
            break;
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_is_admitted_is_taken_by_our_proxies() {
    let mut found = Vec::new();
    for objects in meshes(seed(), OBJECTS) {
        if !refused(&objects).is_empty() {
            found.extend(culprits(&objects, refused));
        }
        if found.len() > 20 {
            break;
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// An operator that admission knows is one that our data plane knows.
#[test]
fn operators_of_formats_are_known_to_both() {
    for name in portolan_resources::format::OPERATORS {
        let argument = match *name {
            "REQ" | "RESP" | "TRAILER" | "DYNAMIC_METADATA" => "(a)",
            _ => "",
        };
        let format = format!("%{name}{argument}%");
        assert_eq!(portolan_resources::format::check(&format), Ok(()));
        let objects = [json!({
            "kind": "VirtualService",
            "metadata": {"name": "v", "namespace": "shop"},
            "spec": {"hosts": ["a"], "http": [{"headers": {"request": {"set": {"x-a": format}}},
                "route": [{"destination": {"host": "a"}}]}]},
        })];
        assert_eq!(refused(&objects), [""; 0]);
    }
}

#[test]
fn what_is_admitted_is_taken_by_envoy() {
    let Some(envoy) = portolan_testing::needs::envoy() else { return };
    let refused = merged::refused(&envoy, &meshes(seed(), OBJECTS));
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
