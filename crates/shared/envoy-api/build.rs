//! Compiles a descriptor set out of the .proto files that the `envoy-types` package ships and the few of Istio's in
//! `proto/`, and generates Rust types for the part of it that the code names.
//!
//! protox binds a relative name to any package that it has seen, protoc only to those that the file imports; so a
//! few roots fail in a shared compiler and are compiled again each in one of its own. What still fails is left out
//! with a warning: its messages then show as base64.

#![expect(clippy::disallowed_methods, reason = "cargo speaks to a build script through its environment")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use prost::{
    DecodeError, Message,
    encoding::{WireType, decode_key, decode_varint},
};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use protox::Compiler;

type Error = Box<dyn std::error::Error>;

/// Include roots inside the package `envoy-types`.
const INCLUDES: &[&str] = &[
    "data-plane-api",
    "xds",
    "googleapis",
    "cel-spec/proto",
    "opentelemetry-proto",
    "client_model",
    "protoc-gen-validate",
    "ratelimit",
];

/// The part of the API that a mesh sees in a proxy's configuration.
const ROOTS: &[&str] = &[
    "envoy/admin/",
    "envoy/config/",
    "envoy/data/",
    "envoy/extensions/access_loggers",
    "envoy/extensions/bootstrap",
    "envoy/extensions/clusters",
    "envoy/extensions/common/",
    "envoy/extensions/compression",
    "envoy/extensions/early_data",
    "envoy/extensions/filters",
    "envoy/extensions/formatter",
    "envoy/extensions/health_check",
    "envoy/extensions/http",
    "envoy/extensions/internal_redirect",
    "envoy/extensions/load_balancing",
    "envoy/extensions/matching",
    "envoy/extensions/network",
    "envoy/extensions/path",
    "envoy/extensions/rbac",
    "envoy/extensions/regex",
    "envoy/extensions/request_id",
    "envoy/extensions/resource_monitors",
    "envoy/extensions/retry",
    "envoy/extensions/router",
    "envoy/extensions/stat_sinks",
    "envoy/extensions/string_matcher",
    "envoy/extensions/tracers",
    "envoy/extensions/transport_sockets",
    "envoy/extensions/upstreams",
    "envoy/extensions/wasm",
    "envoy/extensions/watchdog",
    "envoy/service/accesslog/",
    "envoy/service/auth/",
    "envoy/service/discovery/",
    "envoy/service/ratelimit/",
    "envoy/service/status",
    "envoy/type/",
    "udpa",
    "xds/",
];

/// The files (or folders) that the code names, now or with what is planned next; what they import comes with them.
const TYPES: &[&str] = &[
    "envoy/config/accesslog/v3/",
    "envoy/config/bootstrap/v3/",
    "envoy/config/cluster/v3/",
    "envoy/config/core/v3/",
    "envoy/config/endpoint/v3/",
    "envoy/config/listener/v3/",
    "envoy/config/rbac/v3/",
    "envoy/config/route/v3/",
    "envoy/config/trace/v3/",
    "envoy/extensions/access_loggers/file/v3/",
    "envoy/extensions/access_loggers/grpc/v3/",
    "envoy/extensions/access_loggers/stream/v3/",
    "envoy/extensions/filters/common/fault/v3/",
    "envoy/extensions/filters/http/buffer/v3/",
    "envoy/extensions/filters/http/cors/v3/",
    "envoy/extensions/filters/http/ext_authz/v3/",
    "envoy/extensions/filters/http/fault/v3/",
    "envoy/extensions/filters/http/grpc_stats/v3/",
    "envoy/extensions/filters/http/jwt_authn/v3/",
    "envoy/extensions/filters/http/local_ratelimit/v3/",
    "envoy/extensions/filters/http/lua/v3/",
    "envoy/extensions/filters/http/ratelimit/v3/",
    "envoy/extensions/filters/http/rbac/v3/",
    "envoy/extensions/filters/http/router/v3/",
    "envoy/extensions/filters/http/wasm/v3/",
    "envoy/extensions/filters/listener/http_inspector/v3/",
    "envoy/extensions/filters/listener/original_dst/v3/",
    "envoy/extensions/filters/listener/original_src/v3/",
    "envoy/extensions/filters/listener/proxy_protocol/v3/",
    "envoy/extensions/filters/listener/tls_inspector/v3/",
    "envoy/extensions/filters/network/ext_authz/v3/",
    "envoy/extensions/filters/network/http_connection_manager/v3/",
    "envoy/extensions/filters/network/rbac/v3/",
    "envoy/extensions/filters/network/sni_cluster/v3/",
    "envoy/extensions/filters/network/tcp_proxy/v3/",
    "envoy/extensions/filters/network/wasm/v3/",
    "envoy/extensions/load_balancing_policies/",
    "envoy/extensions/retry/host/previous_hosts/v3/",
    "envoy/extensions/retry/priority/previous_priorities/v3/",
    "envoy/extensions/transport_sockets/raw_buffer/v3/",
    "envoy/extensions/transport_sockets/tls/v3/",
    "envoy/extensions/upstreams/http/v3/",
    "envoy/extensions/wasm/v3/",
    "envoy/service/accesslog/v3/",
    "envoy/service/auth/v3/",
    "envoy/service/discovery/v3/",
    "envoy/service/ratelimit/v3/",
    "envoy/type/",
    "google/protobuf/",
    "google/rpc/status.proto",
];

/// Fails even alone: a relative name in it is bound to its own package's parent.
const UNFIT: &str = "envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster.proto";

fn main() -> Result<(), Error> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto");

    let own = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("proto");
    let shipped = envoy_types_dir()?.join("proto");
    let mut includes: Vec<PathBuf> = INCLUDES.iter().map(|dir| shipped.join(dir)).collect();
    includes.push(own.clone());

    let mut roots = BTreeSet::new();
    for base in &includes[..2] {
        collect(base, base, &mut roots)?;
    }
    roots.remove(UNFIT);
    roots.retain(|name| ROOTS.iter().any(|prefix| name.starts_with(prefix)));
    collect(&own, &own, &mut roots)?;

    let mut shared = compiler(&includes)?;
    let mut apart = Vec::new();
    for root in &roots {
        if shared.open_file(root).is_err() {
            apart.push(root);
        }
    }
    let mut set = shared.encode_file_descriptor_set();
    let mut known: BTreeSet<String> = entries(&set)?.into_iter().map(|(name, _)| name).collect();
    for root in apart {
        let mut alone = compiler(&includes)?;
        match alone.open_file(root) {
            Ok(_) => {
                let bytes = alone.encode_file_descriptor_set();
                for (name, entry) in entries(&bytes)? {
                    if known.insert(name) {
                        set.extend_from_slice(entry);
                    }
                }
            }
            Err(error) => println!("cargo::warning=left out of config_dump's types: {root}: {error}"),
        }
    }

    let out = PathBuf::from(env::var("OUT_DIR")?);
    generate(&set, &out)?;
    fs::write(out.join("descriptors.bin"), set)?;
    Ok(())
}

/// Writes `pb.rs` and what it includes.
fn generate(set: &[u8], out: &Path) -> Result<(), Error> {
    let files: BTreeMap<String, FileDescriptorProto> = entries(set)?
        .into_iter()
        .map(|(_, entry)| Ok((FileDescriptorSet::decode(entry)?.file, ())))
        .collect::<Result<Vec<_>, DecodeError>>()?
        .into_iter()
        .flat_map(|(files, ())| files)
        .map(|file| (file.name().to_owned(), file))
        .collect();
    let mut wanted: Vec<&str> = files
        .keys()
        .map(String::as_str)
        .filter(|name| TYPES.iter().any(|part| name.starts_with(part)))
        .collect();
    let mut chosen = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if chosen.insert(name) {
            let file = files.get(name).ok_or_else(|| format!("{name} is imported, and not there"))?;
            wanted.extend(file.dependency.iter().map(String::as_str));
        }
    }
    let set = FileDescriptorSet {
        file: chosen
            .into_iter()
            .filter_map(|name| files.get(name).cloned())
            .map(|file| FileDescriptorProto { service: Vec::new(), ..file })
            .collect(),
    };
    prost_build::Config::new()
        .out_dir(out)
        .include_file("pb.rs")
        // Sorted maps: equal messages have equal bytes.
        .btree_map(["."])
        .compile_well_known_types()
        .disable_comments(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .compile_fds(set)?;
    Ok(())
}

fn compiler(includes: &[PathBuf]) -> Result<Compiler, Error> {
    let mut compiler = Compiler::new(includes)?;
    compiler.include_imports(true).include_source_info(false);
    Ok(compiler)
}

/// Names of all .proto files below `dir`, relative to `base`.
fn collect(base: &Path, dir: &Path, names: &mut BTreeSet<String>) -> Result<(), Error> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(base, &path, names)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            names.insert(path.strip_prefix(base)?.to_string_lossy().replace('\\', "/"));
        }
    }
    Ok(())
}

/// The files of an encoded `FileDescriptorSet`: name and the whole encoded field, options that we do not know kept.
fn entries(set: &[u8]) -> Result<Vec<(String, &[u8])>, Error> {
    let mut found = Vec::new();
    let mut rest = set;
    while !rest.is_empty() {
        let start = rest;
        let (tag, wire) = decode_key(&mut rest)?;
        if (tag, wire) != (1, WireType::LengthDelimited) {
            return Err(format!("unexpected field {tag} in a FileDescriptorSet").into());
        }
        let length = usize::try_from(decode_varint(&mut rest)?)?;
        let body = rest.get(..length).ok_or("truncated FileDescriptorSet")?;
        rest = &rest[length..];
        let file = FileDescriptorProto::decode(body)?;
        found.push((file.name().to_owned(), &start[..start.len() - rest.len()]));
    }
    Ok(found)
}

/// Where cargo keeps the sources of the resolved `envoy-types`, which it downloads for this cfg only.
///
/// Not `--offline`: metadata wants every package of the lock file, and a build of a part of the workspace on a fresh
/// machine has fetched only its own. Where all are there, nothing is asked of the network.
fn envoy_types_dir() -> Result<PathBuf, Error> {
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &env::var("TARGET")?])
        .current_dir(env::var("CARGO_MANIFEST_DIR")?)
        .env("CARGO_ENCODED_RUSTFLAGS", "--cfg\u{1f}portolan_protos")
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let manifest = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|package| package["name"] == "envoy-types")
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or("cargo metadata lists no package envoy-types")?;
    Ok(Path::new(manifest).parent().ok_or("envoy-types has no folder")?.to_path_buf())
}
