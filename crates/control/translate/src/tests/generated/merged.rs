//! What many meshes send to Envoy, in few bootstraps: what is equal is there once, what is not has a name of its own. An
//! Envoy takes half a second to start, whatever it is to look at.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use portolan_envoy_api::pb::envoy::config::bootstrap::v3::Bootstrap;
use portolan_mesh::Dialect;
use prost::Message as _;
use serde_json::Value;

use super::{culprits, mesh, nodes, values::NO_FILES};
use crate::{
    pb::*,
    tests::{envoy::bootstrap, given::alone},
};

/// Resources in one bootstrap.
const TOGETHER: usize = 2000;

/// After so many the rest is not looked at.
const FAULTS: usize = 5;

/// One resource, and the mesh that it comes from.
#[derive(Clone)]
struct One {
    resource: Either,
    mesh: usize,
}

#[derive(Clone)]
enum Either {
    Cluster(Box<cluster::Cluster>),
    Listener(Box<listener::Listener>),
}

/// What Envoy has against the objects.
pub(super) fn refused(envoy: &Path, meshes: &[Vec<Value>]) -> Vec<String> {
    let folder = std::env::temp_dir().join(format!("portolan-generated-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let envoy = Envoy { program: envoy.to_owned(), folder: folder.clone() };
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    for (number, objects) in meshes.iter().enumerate() {
        all.extend(
            resources(objects)
                .into_iter()
                .filter(|one| seen.insert(bytes(one)))
                .map(|resource| One { resource, mesh: number }),
        );
    }
    eprintln!("{} distinct resources", all.len());
    let mut bad = Vec::new();
    for together in all.chunks(TOGETHER) {
        envoy.search(together, &mut bad);
    }
    // Of what a mesh without objects has nothing is at fault.
    let base: HashSet<Vec<u8>> = resources(&[]).iter().map(bytes).collect();
    let guilty: BTreeSet<usize> = bad.iter().map(|one| one.mesh).collect();
    let mut found = Vec::new();
    for mesh in guilty {
        let cause = |objects: &[Value]| -> Vec<String> {
            let own = resources(objects).into_iter().filter(|resource| !base.contains(&bytes(resource)));
            let own: Vec<One> = own.map(|resource| One { resource, mesh }).collect();
            envoy.refusal(&own).into_iter().collect()
        };
        found.extend(culprits(&meshes[mesh], cause));
    }
    let _ = fs::remove_dir_all(&folder);
    found.sort();
    found.dedup();
    found
}

fn bytes(resource: &Either) -> Vec<u8> {
    match resource {
        Either::Cluster(cluster) => cluster.encode_to_vec(),
        Either::Listener(listener) => listener.encode_to_vec(),
    }
}

/// What the proxies of a mesh get.
fn resources(objects: &[Value]) -> Vec<Either> {
    let mesh = mesh(objects);
    let mut out = Vec::new();
    for node in nodes(Dialect::Envoy) {
        let all = bootstrap(&alone(&mesh, &node), &node).static_resources.unwrap_or_default();
        // Envoy looks into files, and there is none. And one that only validates falls over clusters whose certificates
        // are to come by ADS.
        let needs_more = |cluster: &cluster::Cluster| {
            let encoded = cluster.encode_to_vec();
            let names = |text: &str| encoded.windows(text.len()).any(|window| window == text.as_bytes());
            NO_FILES.iter().any(|file| names(file)) || names("kubernetes://")
        };
        out.extend(
            all.clusters
                .into_iter()
                .filter(|cluster| !needs_more(cluster))
                .map(|cluster| Either::Cluster(Box::new(cluster))),
        );
        out.extend(all.listeners.into_iter().map(|listener| Either::Listener(Box::new(listener))));
    }
    out
}

struct Envoy {
    program: PathBuf,
    folder: PathBuf,
}

impl Envoy {
    /// Those among several that are refused.
    fn search(&self, all: &[One], bad: &mut Vec<One>) {
        if bad.len() > FAULTS || self.refusal(all).is_none() {
            return;
        }
        if let [one] = all {
            bad.push(one.clone());
            return;
        }
        let (left, right) = all.split_at(all.len() / 2);
        self.search(left, bad);
        self.search(right, bad);
    }

    /// Why a bootstrap with these is refused.
    fn refusal(&self, all: &[One]) -> Option<String> {
        let mut made = bootstrap(&[], &nodes(Dialect::Envoy)[0]);
        let resources = made.static_resources.get_or_insert_default();
        resources.clusters.retain(|cluster| matches!(cluster.name.as_str(), "sds-grpc" | "xds-grpc"));
        resources.listeners.clear();
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let mut own = |name: &mut String| {
            let before = names.entry(name.clone()).or_default();
            *before += 1;
            if *before > 1 {
                name.push_str(&format!(" {before}"));
            }
        };
        for one in all {
            match one.resource.clone() {
                Either::Cluster(cluster) if matches!(cluster.name.as_str(), "sds-grpc" | "xds-grpc") => {}
                Either::Cluster(mut cluster) => {
                    own(&mut cluster.name);
                    resources.clusters.push(*cluster);
                }
                Either::Listener(mut listener) => {
                    own(&mut listener.name);
                    if let Some(core::address::Address::SocketAddress(socket)) =
                        listener.address.as_mut().and_then(|address| address.address.as_mut())
                    {
                        // No two listeners may have one address.
                        let number = u32::try_from(resources.listeners.len()).unwrap();
                        socket.address = Ipv4Addr::from_bits(0x0a00_0001 + number).to_string();
                    }
                    resources.listeners.push(*listener);
                }
            }
        }
        self.validate(&made)
    }

    fn validate(&self, bootstrap: &Bootstrap) -> Option<String> {
        let path = self.folder.join("bootstrap.pb");
        fs::write(&path, bootstrap.encode_to_vec()).unwrap();
        let mut command = Command::new(&self.program);
        command.args(["--mode", "validate", "-l", "critical", "-c"]).arg(&path);
        let output = command.output().unwrap();
        let said = || String::from_utf8_lossy(&output.stderr).lines().take(4).collect::<Vec<_>>().join(" ");
        (!output.status.success()).then(said)
    }
}
