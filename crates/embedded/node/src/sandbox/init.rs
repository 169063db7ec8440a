//! `portolan pod-init`: turns this single-threaded process into a container.

use std::ffi::{CString, OsString};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{Gid, Signal, Uid, getppid, pivot_root, set_parent_process_death_signal, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags, capability_is_in_bounding_set,
    configure_capability_in_ambient_set, move_into_link_name_space, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_no_new_privs, set_thread_gid, set_thread_groups,
    set_thread_uid,
};

use super::spec::{InitSpec, MAX_SPEC_BYTES, Mount, SCRATCH_BYTES, START_FAILED};

/// Where the host's root is while the container's is built.
const OLD_ROOT: &str = "/.host";
/// Devices that every container has.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// A step that failed.
struct InitError {
    what: String,
    source: std::io::Error,
}

trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, InitError>;
}

impl<T, E: Into<std::io::Error>> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, InitError> {
        self.map_err(|source| InitError { what: what(), source: source.into() })
    }
}

/// Entry point of the hidden sub-command `pod-init`; must be called before any thread exists, because a process with threads may not
/// enter a mount namespace. Returns only on failure.
pub fn pod_init_main(_args: &[OsString]) -> ExitCode {
    let mut text = Vec::new();
    if std::io::stdin().take(MAX_SPEC_BYTES).read_to_end(&mut text).is_err() {
        eprintln!("pod-init: cannot read the specification from standard input");
        return ExitCode::from(START_FAILED as u8);
    }
    let spec: InitSpec = match serde_json::from_slice(&text) {
        Ok(spec) => spec,
        Err(error) => {
            eprintln!("pod-init: this command is started by the node runtime, not by people ({error})");
            return ExitCode::from(START_FAILED as u8);
        }
    };
    drop(text);
    // Opened now, because the path is gone once the root is the container's.
    let mut report =
        fs::OpenOptions::new().write(true).create(true).truncate(true).open(&spec.error_file).ok();
    let Err(error) = become_container(&spec);
    let message = format!("{}: {}", error.what, error.source);
    match report.as_mut() {
        Some(file) => drop(file.write_all(message.as_bytes())),
        None => eprintln!("pod-init: {message}"),
    }
    ExitCode::from(START_FAILED as u8)
}

fn become_container(spec: &InitSpec) -> Result<std::convert::Infallible, InitError> {
    match spec.join {
        Some(pid) => join(pid)?,
        None => build(spec)?,
    }
    if spec.join.is_none() {
        fs::create_dir_all(&spec.cwd)
            .context(|| format!("making the working directory {}", spec.cwd.display()))?;
        if spec.read_only_root {
            mount_remount("/", MountFlags::BIND | MountFlags::RDONLY, c"")
                .context(|| "making the root read-only".to_owned())?;
        }
    }
    drop_privileges(spec)?;
    umask(Mode::from_raw_mode(0o022));
    // Credentials are set: changing them clears this signal.
    set_parent_process_death_signal(Some(Signal::KILL))
        .context(|| "setting the parent-death signal".to_owned())?;
    if getppid().map(|p| p.as_raw_nonzero().get()) != Some(spec.parent) {
        return Err(InitError {
            what: "the node runtime has ended".to_owned(),
            source: std::io::ErrorKind::NotConnected.into(),
        });
    }
    std::env::set_current_dir(&spec.cwd).context(|| format!("working directory {}", spec.cwd.display()))?;
    let Some((program, args)) = spec.argv.split_first() else {
        return Err(InitError {
            what: "no command".to_owned(),
            source: std::io::ErrorKind::InvalidInput.into(),
        });
    };
    let source = Command::new(program)
        .args(args)
        .env_clear()
        .envs(spec.env.iter().map(|(k, v)| (k, v)))
        .stdin(Stdio::null())
        .exec();
    Err(InitError { what: format!("exec: \"{program}\""), source })
}

fn open(path: &Path) -> Result<OwnedFd, InitError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("opening {}", path.display()))
}

fn enter(fd: &OwnedFd, kind: LinkNameSpaceType) -> Result<(), InitError> {
    move_into_link_name_space(fd.as_fd(), Some(kind)).context(|| format!("entering the {kind:?} namespace"))
}

/// Enters the namespaces of a running container, its root with the mount namespace.
fn join(pid: i32) -> Result<(), InitError> {
    let ns = PathBuf::from(format!("/proc/{pid}/ns"));
    let net = open(&ns.join("net"))?;
    let uts = open(&ns.join("uts"))?;
    let mnt = open(&ns.join("mnt"))?;
    enter(&net, LinkNameSpaceType::Network)?;
    enter(&uts, LinkNameSpaceType::HostNameAndNISDomainName)?;
    enter(&mnt, LinkNameSpaceType::Mount)
}

/// New mount and host name namespaces, and a root that is an overlay over the machine's.
fn build(spec: &InitSpec) -> Result<(), InitError> {
    enter(&open(&spec.netns)?, LinkNameSpaceType::Network)?;
    // Deprecated because CLONE_FILES can break other threads' descriptors; it is not used here and there are no other threads.
    #[allow(deprecated)]
    rustix::thread::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWUTS)
        .context(|| "making a mount namespace".to_owned())?;
    rustix::system::sethostname(spec.hostname.as_bytes()).context(|| "setting the host name".to_owned())?;
    // Mounts made here must not reach the machine.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .context(|| "making mounts private".to_owned())?;
    sysctls();

    let root = overlay(&spec.scratch)?;
    system_mounts(&root)?;
    let old = root.join(OLD_ROOT.trim_start_matches('/'));
    make_dir(&old)?;
    pivot_root(&root, &old).context(|| "changing the root".to_owned())?;
    std::env::set_current_dir("/").context(|| "entering the root".to_owned())?;

    for dir in &spec.hide {
        if dir.is_dir() {
            tmpfs(dir, "mode=0555,size=4k", MountFlags::RDONLY)?;
        }
    }
    for file in &spec.files {
        write_file(&file.path, &file.content)?;
    }
    for volume in &spec.mounts {
        bind(volume)?;
    }
    unmount(OLD_ROOT, UnmountFlags::DETACH).context(|| "leaving the machine's root".to_owned())?;
    let _ = fs::remove_dir(OLD_ROOT);
    Ok(())
}

/// What container runtimes set for a Pod: programs without privileges may use low ports and ping.
fn sysctls() {
    let _ = fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    let _ = fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
}

fn overlay(scratch: &Path) -> Result<PathBuf, InitError> {
    // The writable layer is in memory: it works whatever file system the state directory is on, and vanishes with the container.
    tmpfs(scratch, &format!("mode=0755,size={SCRATCH_BYTES}"), MountFlags::empty())?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| scratch.join(name));
    for dir in [&upper, &work, &root] {
        make_dir(dir)?;
    }
    let data = format!("lowerdir=/,upperdir={},workdir={}", upper.display(), work.display());
    let data = CString::new(data).context(|| "overlay options".to_owned())?;
    mount("overlay", &root, "overlay", MountFlags::empty(), data.as_c_str())
        .context(|| format!("mounting an overlay over / at {}", root.display()))?;
    Ok(root)
}

/// /proc, /sys, /dev, /run and /tmp of the container.
fn system_mounts(root: &Path) -> Result<(), InitError> {
    let at = |path: &str| root.join(path);
    mount_bind_recursive("/proc", at("proc")).context(|| "mounting /proc".to_owned())?;
    // sysfs shows the network devices of the namespace that it is mounted in.
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if mount("sysfs", at("sys"), "sysfs", flags, None).is_err() {
        mount_bind("/sys", at("sys")).context(|| "mounting /sys".to_owned())?;
    }
    tmpfs(&at("dev"), "mode=0755,size=64k", MountFlags::NOSUID)?;
    for name in DEVICES {
        let target = at("dev").join(name);
        fs::write(&target, "").context(|| format!("making /dev/{name}"))?;
        mount_bind(format!("/dev/{name}"), &target).context(|| format!("mounting /dev/{name}"))?;
    }
    for (link, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")]
    {
        symlink(target, at("dev").join(link)).context(|| format!("making /dev/{link}"))?;
    }
    make_dir(&at("dev/shm"))?;
    tmpfs(&at("dev/shm"), "mode=1777,size=64m", MountFlags::NOSUID | MountFlags::NODEV)?;
    for (dir, options) in [("run", "mode=0755,size=64m"), ("tmp", "mode=1777,size=256m")] {
        make_dir(&at(dir))?;
        tmpfs(&at(dir), options, MountFlags::NOSUID | MountFlags::NODEV)?;
    }
    Ok(())
}

fn tmpfs(target: &Path, options: &str, flags: MountFlags) -> Result<(), InitError> {
    let options = CString::new(options).context(|| "tmpfs options".to_owned())?;
    mount("tmpfs", target, "tmpfs", flags, options.as_c_str())
        .context(|| format!("mounting a tmpfs at {}", target.display()))
}

/// Replaces whatever is at `path`, also a link into a place that is not there.
fn write_file(path: &Path, content: &str) -> Result<(), InitError> {
    if let Some(parent) = path.parent() {
        make_dirs(parent)?;
    }
    let _ = fs::remove_file(path);
    fs::write(path, content).context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        .context(|| format!("mode of {}", path.display()))
}

fn bind(volume: &Mount) -> Result<(), InitError> {
    let source = Path::new(OLD_ROOT).join(volume.source.strip_prefix("/").unwrap_or(&volume.source));
    let target = &volume.target;
    let what = || format!("mounting {} at {}", volume.source.display(), target.display());
    if fs::metadata(&source).context(what)?.is_dir() {
        make_dirs(target)?;
    } else {
        if let Some(parent) = target.parent() {
            make_dirs(parent)?;
        }
        if fs::symlink_metadata(target).is_ok_and(|m| m.is_symlink()) {
            let _ = fs::remove_file(target);
        }
        if !target.exists() {
            fs::write(target, "").context(what)?;
        }
    }
    mount_bind(&source, target).context(what)?;
    if volume.read_only {
        mount_remount(target, MountFlags::BIND | MountFlags::RDONLY, c"").context(what)?;
    }
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), InitError> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).context(|| format!("making {}", path.display())),
    }
}

fn make_dirs(path: &Path) -> Result<(), InitError> {
    fs::create_dir_all(path).context(|| format!("making {}", path.display()))
}

fn drop_privileges(spec: &InitSpec) -> Result<(), InitError> {
    // Programs open /dev/stdout by name (Envoy's access log does): the pipes behind it must be their user's.
    let (uid, gid) = (Some(Uid::from_raw(spec.uid)), Some(Gid::from_raw(spec.gid)));
    for (name, result) in [
        ("output", rustix::fs::fchown(std::io::stdout(), uid, gid)),
        ("error output", rustix::fs::fchown(std::io::stderr(), uid, gid)),
    ] {
        result.context(|| format!("giving {name} to user {}", spec.uid))?;
    }
    let mut keep = CapabilitySet::empty();
    for name in &spec.capabilities {
        keep |=
            CapabilitySet::from_name(name).ok_or(Errno::INVAL).context(|| format!("capability {name}"))?;
    }
    for capability in CapabilitySet::all().iter() {
        if !keep.contains(capability) && capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability).context(|| "dropping capabilities".to_owned())?;
        }
    }
    let groups: Vec<Gid> = spec.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_thread_groups(&groups).context(|| "setting groups".to_owned())?;
    set_thread_gid(Gid::from_raw(spec.gid)).context(|| format!("changing to group {}", spec.gid))?;
    let ambient = spec.uid != 0 && !keep.is_empty();
    if ambient {
        set_keep_capabilities(true).context(|| "keeping capabilities".to_owned())?;
    }
    set_thread_uid(Uid::from_raw(spec.uid)).context(|| format!("changing to user {}", spec.uid))?;
    let inheritable = if ambient { keep } else { CapabilitySet::empty() };
    set_capabilities(None, CapabilitySets { effective: keep, permitted: keep, inheritable })
        .context(|| "setting capabilities".to_owned())?;
    if ambient {
        for capability in keep.iter() {
            configure_capability_in_ambient_set(capability, true)
                .context(|| "keeping capabilities".to_owned())?;
        }
    }
    if spec.no_new_privileges {
        set_no_new_privs(true).context(|| "forbidding new privileges".to_owned())?;
    }
    Ok(())
}
