//! From a container of a Pod to what `pod-init` is told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::ResourceExt as _;

use super::Context;
use super::env::{EnvInput, Sources, environment, expand};
use super::fields::Addresses;
use super::volumes::{ACCESS_PATH, ACCESS_VOLUME, needs_access};
use crate::catalogue::{self, DEFAULT_USER, Image};
use crate::plan::CLUSTER_DOMAIN;
use crate::sandbox::{File, InitSpec, Mount};

/// Where programs of the catalogue are in a container.
const PROGRAMS: &str = "/portolan/bin";
/// Image whose program proxies with `PORTOLAN_PROXY=envoy` start.
const ENVOY_IMAGE: &str = "portolan/envoy";
/// What root may do in a container by default: containerd's list without what reaches beyond the Pod, and network administration,
/// which is confined to the Pod's namespace.
const ROOT_CAPABILITIES: [&str; 13] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "NET_ADMIN",
    "SYS_CHROOT",
    "SETFCAP",
];

/// Why a container cannot be started; becomes its waiting reason and an event.
#[derive(Debug)]
pub(crate) struct StartError {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

fn config(message: impl Into<String>) -> StartError {
    StartError { reason: "CreateContainerConfigError", message: message.into() }
}

/// Host name of a Pod.
pub(crate) fn hostname(pod: &Pod) -> String {
    let name = pod.spec.as_ref().and_then(|s| s.hostname.clone()).filter(|h| !h.is_empty());
    let mut name = name.unwrap_or_else(|| pod.name_any());
    name.truncate(63);
    name.trim_end_matches(['-', '.']).to_owned()
}

/// The specification of `container`.
pub(crate) async fn assemble(
    ctx: &Arc<Context>,
    pod: &Arc<Pod>,
    container: &Container,
    addresses: Addresses,
    pod_dir: &Path,
) -> Result<InitSpec, StartError> {
    let namespace = pod.namespace().unwrap_or_default();
    let hostname = hostname(pod);
    let input = EnvInput {
        pod,
        container,
        addresses,
        capacity: ctx.capacity,
        hostname: &hostname,
        kubernetes: (ctx.network.plan().kubernetes_address().to_string(), 443),
    };
    let mut sources = Sources::new(&ctx.client, &namespace);
    let env = environment(&input, &mut sources).await.map_err(|e| config(e.to_string()))?;
    // The rest looks at files.
    let (ctx, pod, container, pod_dir) = (ctx.clone(), pod.clone(), container.clone(), pod_dir.to_owned());
    tokio::task::spawn_blocking(move || specification(&ctx, &pod, &container, addresses, &pod_dir, env))
        .await
        .map_err(|error| config(error.to_string()))?
}

/// [`assemble`] with the environment at hand. Blocks.
fn specification(
    ctx: &Context,
    pod: &Pod,
    container: &Container,
    addresses: Addresses,
    pod_dir: &Path,
    mut env: BTreeMap<String, String>,
) -> Result<InitSpec, StartError> {
    let layers = ctx.catalogue.layers();
    let image_name = container.image.as_deref().unwrap_or_default();
    let image = catalogue::resolve(&layers, image_name);
    let namespace = pod.namespace().unwrap_or_default();
    let hostname = hostname(pod);
    let mut mounts = volume_mounts(pod, container, &env, pod_dir)?;
    let argv = command(ctx, image_name, image, container, &env, &mut mounts)?;
    if let Some(envoy) = catalogue::resolve(&layers, ENVOY_IMAGE)
        && let Some(program) = envoy.command.first()
        && catalogue::short_name(image_name) == "portolan/proxy"
    {
        let path = mount_program(program, image_name, &mut mounts)?;
        env.entry(portolan_names::env::ENVOY_PATH.to_owned()).or_insert(path);
    }
    mounts.sort_by_key(|m| m.target.components().count());

    let user = identity(pod, container, image)?;
    let security = container.security_context.as_ref();
    Ok(InitSpec {
        parent: i32::try_from(std::process::id()).unwrap_or_default(),
        join: None,
        netns: Path::new("/run/netns").join(ctx.network.plan().pod_netns(&pod.uid().unwrap_or_default())),
        hostname: hostname.clone(),
        scratch: pod_dir.join("containers").join(&container.name),
        files: vec![
            File { path: "/etc/hosts".into(), content: hosts_file(pod, &hostname, addresses) },
            File { path: "/etc/hostname".into(), content: format!("{hostname}\n") },
            File { path: "/etc/resolv.conf".into(), content: resolv_conf(pod, ctx, &namespace) },
        ],
        mounts,
        hide: vec![ctx.state_dir.clone()],
        read_only_root: security.and_then(|s| s.read_only_root_filesystem) == Some(true),
        cwd: container.working_dir.as_deref().filter(|d| !d.is_empty()).unwrap_or("/").into(),
        argv,
        env: env.into_iter().collect(),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
        capabilities: capabilities(container, user.uid)?,
        no_new_privileges: user.uid != 0
            || security.and_then(|s| s.allow_privilege_escalation) == Some(false),
        error_file: pod_dir.join("containers").join(format!("{}.error", container.name)),
    })
}

/// Program and arguments; programs of the catalogue are mounted into the container.
fn command(
    ctx: &Context,
    image_name: &str,
    image: Option<&Image>,
    container: &Container,
    env: &BTreeMap<String, String>,
    mounts: &mut Vec<Mount>,
) -> Result<Vec<String>, StartError> {
    let expand_all = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| expand(text, env)).collect()
    };
    let (own, args) = (expand_all(&container.command), expand_all(&container.args));
    let mut argv = match image {
        Some(image) => {
            let mut entry = image.command.clone();
            if let Some(program) = entry.first_mut()
                && program.starts_with('/')
            {
                *program = mount_program(program, image_name, mounts)?;
            }
            if own.is_empty() { entry } else { own }
        }
        None => match own.first() {
            Some(program) if on_this_machine(program, env, mounts) => own,
            _ => {
                return Err(StartError {
                    reason: "ErrImagePull",
                    message: catalogue::missing_message(image_name, &ctx.state_dir),
                });
            }
        },
    };
    let has_command = container.command.as_ref().is_some_and(|c| !c.is_empty());
    match image {
        Some(image) if args.is_empty() && !has_command => argv.extend(image.args.iter().cloned()),
        _ => argv.extend(args),
    }
    Ok(argv)
}

fn mount_program(program: &str, image: &str, mounts: &mut Vec<Mount>) -> Result<String, StartError> {
    let missing = |why: String| StartError {
        reason: "ErrImagePull",
        message: format!(
            "image \"{image}\": its program {program} cannot be used ({why}): install it there, or correct the image catalogue"
        ),
    };
    let source = std::fs::canonicalize(program).map_err(|e| missing(e.to_string()))?;
    let name = Path::new(program)
        .file_name()
        .and_then(|n| n.to_str())
        .ok_or_else(|| missing("no file".to_owned()))?;
    let target = Path::new(PROGRAMS).join(name);
    let path = target.to_string_lossy().into_owned();
    if !mounts.iter().any(|m| m.target == target) {
        mounts.push(Mount { source, target, read_only: true });
    }
    Ok(path)
}

/// Whether a command without catalogue entry names a program that the container will see.
fn on_this_machine(program: &str, env: &BTreeMap<String, String>, mounts: &[Mount]) -> bool {
    if program.starts_with('/') {
        return Path::new(program).exists()
            || mounts.iter().any(|m| Path::new(program).starts_with(&m.target));
    }
    let path = env.get("PATH").map(String::as_str).unwrap_or_default();
    path.split(':').filter(|d| !d.is_empty()).any(|dir| Path::new(dir).join(program).exists())
}

fn volume_mounts(
    pod: &Pod,
    container: &Container,
    env: &BTreeMap<String, String>,
    pod_dir: &Path,
) -> Result<Vec<Mount>, StartError> {
    let root = pod_dir.join("volumes");
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let writable: Vec<&str> = volumes.filter(|v| v.empty_dir.is_some()).map(|v| v.name.as_str()).collect();
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let dir = root.join(&mount.name);
        let is_writable = writable.contains(&mount.name.as_str());
        let sub = match (&mount.sub_path_expr, &mount.sub_path) {
            (Some(text), _) if !text.is_empty() => Some(expand(text, env)),
            (_, Some(text)) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        let source = match sub {
            None => dir,
            Some(sub) => sub_path(&dir, &sub, is_writable)?,
        };
        if !mount.mount_path.starts_with('/') || mount.mount_path.contains("..") {
            return Err(config(format!("mountPath \"{}\" must be absolute, without `..`", mount.mount_path)));
        }
        mounts.push(Mount {
            source: canonical(&source)?,
            target: PathBuf::from(&mount.mount_path),
            read_only: mount.read_only == Some(true) || !is_writable,
        });
    }
    if needs_access(pod) {
        mounts.push(Mount {
            source: canonical(&root.join(ACCESS_VOLUME))?,
            target: ACCESS_PATH.into(),
            read_only: true,
        });
    }
    Ok(mounts)
}

fn canonical(path: &Path) -> Result<PathBuf, StartError> {
    std::fs::canonicalize(path).map_err(|e| config(format!("volume {}: {e}", path.display())))
}

/// A file or directory inside a volume; the result must stay inside, whatever links the volume holds.
fn sub_path(dir: &Path, sub: &str, make: bool) -> Result<PathBuf, StartError> {
    let relative = Path::new(sub);
    if !relative.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(config(format!("subPath \"{sub}\" must be relative, without `..`")));
    }
    let path = dir.join(relative);
    if make && !path.exists() {
        std::fs::create_dir_all(&path).map_err(|e| config(format!("subPath \"{sub}\": {e}")))?;
    }
    let (inside, real) = (canonical(dir)?, canonical(&path)?);
    if real.starts_with(&inside) {
        Ok(real)
    } else {
        Err(config(format!("subPath \"{sub}\" leaves the volume")))
    }
}

struct User {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

fn identity(pod: &Pod, container: &Container, image: Option<&Image>) -> Result<User, StartError> {
    let id = |what: &str, value: i64| {
        u32::try_from(value).map_err(|_| config(format!("{what}: {value} is not a valid id")))
    };
    let own = container.security_context.as_ref();
    let shared = pod.spec.as_ref().and_then(|s| s.security_context.as_ref());
    let uid = match own.and_then(|s| s.run_as_user).or(shared.and_then(|s| s.run_as_user)) {
        Some(uid) => id("runAsUser", uid)?,
        None => image.and_then(|i| i.user).unwrap_or(DEFAULT_USER),
    };
    let gid = match own.and_then(|s| s.run_as_group).or(shared.and_then(|s| s.run_as_group)) {
        Some(gid) => id("runAsGroup", gid)?,
        // Kubernetes would say 0; here root's group has rights on the machine's files.
        None => uid,
    };
    let non_root = own.and_then(|s| s.run_as_non_root).or(shared.and_then(|s| s.run_as_non_root));
    if non_root == Some(true) && uid == 0 {
        return Err(config("container has runAsNonRoot and would run as root: set runAsUser"));
    }
    let mut groups = Vec::new();
    if let Some(shared) = shared {
        for group in shared.supplemental_groups.iter().flatten().chain(shared.fs_group.iter()) {
            groups.push(id("supplementalGroups", *group)?);
        }
    }
    Ok(User { uid, gid, groups })
}

fn capabilities(container: &Container, uid: u32) -> Result<Vec<String>, StartError> {
    let security = container.security_context.as_ref();
    if security.and_then(|s| s.privileged) == Some(true) {
        return Err(config(
            "privileged containers are not allowed in the embedded cluster: ask for the capabilities that are needed, \
             for example NET_ADMIN",
        ));
    }
    let plain = |name: &String| name.to_ascii_uppercase().trim_start_matches("CAP_").to_owned();
    let asked = security.and_then(|s| s.capabilities.as_ref());
    let add: Vec<String> = asked.iter().flat_map(|c| c.add.iter().flatten()).map(plain).collect();
    let drop: Vec<String> = asked.iter().flat_map(|c| c.drop.iter().flatten()).map(plain).collect();
    let mut keep: Vec<String> = Vec::new();
    if uid == 0 && !drop.iter().any(|d| d == "ALL") {
        keep.extend(ROOT_CAPABILITIES.iter().map(|c| (*c).to_owned()).filter(|c| !drop.contains(c)));
    }
    for name in add {
        if name == "ALL" {
            keep.extend(ROOT_CAPABILITIES.iter().map(|c| (*c).to_owned()));
        } else if ROOT_CAPABILITIES.contains(&name.as_str()) {
            keep.push(name);
        } else {
            return Err(config(format!(
                "capability {name} reaches beyond the Pod on a shared machine, it is not given; allowed: {}",
                ROOT_CAPABILITIES.join(", ")
            )));
        }
    }
    keep.sort();
    keep.dedup();
    Ok(keep)
}

fn hosts_file(pod: &Pod, hostname: &str, addresses: Addresses) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let subdomain = pod.spec.as_ref().and_then(|s| s.subdomain.as_deref()).filter(|s| !s.is_empty());
    let _ = match subdomain {
        Some(subdomain) => writeln!(
            text,
            "{}\t{hostname}.{subdomain}.{}.svc.{CLUSTER_DOMAIN}\t{hostname}",
            addresses.pod,
            pod.namespace().unwrap_or_default()
        ),
        None => writeln!(text, "{}\t{hostname}", addresses.pod),
    };
    for alias in pod.spec.iter().flat_map(|s| s.host_aliases.iter().flatten()) {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        let _ = writeln!(text, "{}\t{names}", alias.ip);
    }
    text
}

fn resolv_conf(pod: &Pod, ctx: &Context, namespace: &str) -> String {
    let spec = pod.spec.as_ref();
    let own = spec.and_then(|s| s.dns_config.as_ref());
    let mut servers = Vec::new();
    let mut searches = Vec::new();
    let mut options = Vec::new();
    if spec.and_then(|s| s.dns_policy.as_deref()) != Some("None") {
        servers.push(ctx.network.plan().dns_address().to_string());
        for prefix in [format!("{namespace}.svc."), "svc.".to_owned(), String::new()] {
            searches.push(format!("{prefix}{CLUSTER_DOMAIN}"));
        }
        options.push("ndots:5".to_owned());
    }
    if let Some(own) = own {
        servers.extend(own.nameservers.iter().flatten().cloned());
        searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or_default();
            options.retain(|o| o.split(':').next() != Some(name));
            options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name.to_owned(),
            });
        }
    }
    let mut text = String::new();
    if !searches.is_empty() {
        let _ = writeln!(text, "search {}", searches.join(" "));
    }
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(security: serde_json::Value) -> Container {
        serde_json::from_value(json!({ "name": "c", "securityContext": security })).unwrap()
    }

    #[test]
    fn capability_rules() {
        let check = |security, uid| capabilities(&container(security), uid);
        assert_eq!(check(json!({}), 1000).unwrap(), Vec::<String>::new());
        assert_eq!(check(json!({ "capabilities": { "add": ["NET_ADMIN"] } }), 1000).unwrap(), ["NET_ADMIN"]);
        assert!(check(json!({}), 0).unwrap().contains(&"NET_ADMIN".to_owned()));
        let istio_init = json!({ "capabilities": { "add": ["NET_ADMIN", "CAP_NET_RAW"], "drop": ["ALL"] } });
        assert_eq!(check(istio_init, 0).unwrap(), ["NET_ADMIN", "NET_RAW"]);
        assert!(check(json!({ "capabilities": { "add": ["SYS_ADMIN"] } }), 0).is_err());
        assert!(check(json!({ "privileged": true }), 0).is_err());
    }

    #[test]
    fn users() {
        let pod: Pod = serde_json::from_value(json!({ "spec": { "containers": [],
            "securityContext": { "runAsUser": 7, "fsGroup": 9 } } }))
        .unwrap();
        let user = identity(&pod, &container(json!({})), None).unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (7, 7, vec![9]));
        let user =
            identity(&pod, &container(json!({ "runAsUser": 1337, "runAsGroup": 1337 })), None).unwrap();
        assert_eq!((user.uid, user.gid), (1337, 1337));
        assert!(identity(&pod, &container(json!({ "runAsUser": 0, "runAsNonRoot": true })), None).is_err());
        let image = Image { command: vec!["/x".into()], args: vec![], user: Some(0) };
        assert_eq!(identity(&Pod::default(), &container(json!({})), Some(&image)).unwrap().uid, 0);
        assert_eq!(identity(&Pod::default(), &container(json!({})), None).unwrap().uid, DEFAULT_USER);
    }
}
