//! Network and sandbox on the real machine. Needs root; leaves nothing behind, which the last case checks.
//!
//! No test harness: this program is also the `pod-init` that it starts, and that must run before any thread exists.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use portolan_node::{NetnsHandle, Network, Plan, network};
use portolan_testing::blocking::eventually;
use portolan_testing::in_time;
use serde_json::{Value, json};

const UID_A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const UID_B: &str = "bbbbbbbb-0000-4000-8000-000000000002";

fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|a| a == "pod-init") {
        return portolan_node::pod_init_main(&args[1..]);
    }
    if let Err(error) = network::check_privilege() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let name = format!("t{}", std::process::id() % 100_000);
    let before = leftovers();
    let slot = network::free_slot().unwrap();
    let plan = Plan::new(&name, slot).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let result = std::panic::catch_unwind(|| {
        let net = network::setup(&plan).unwrap();
        println!("set up {name} in slot {slot}");
        runtime.block_on(pods_reach_each_other(&net));
        runtime.block_on(a_slow_program_keeps_nobody_from_connecting(&net));
        runtime.block_on(sandbox(&net));
    });
    network::cleanup(&name).unwrap();
    network::cleanup(&name).expect("nothing to do is no error");
    let passed = result.is_ok() && {
        let after = leftovers();
        if after != before {
            eprintln!("left behind:\n{after}\nbefore:\n{before}");
        }
        after == before
    };
    println!("{}", if passed { "ok" } else { "FAILED" });
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Everything of ours that the machine shows.
fn leftovers() -> String {
    let run = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|l| l.contains("ptl-t")).map(|l| format!("{l}\n")).collect::<String>()
    };
    [run("ip", &["netns"]), run("ip", &["-o", "link"]), run("mount", &[])].concat()
}

async fn pods_reach_each_other(net: &Network) {
    let mut addresses = net.plan().pod_addresses();
    let (a, b) = (addresses.next().unwrap(), addresses.next().unwrap());
    let began = Instant::now();
    net.add_pod(UID_A, a).await.unwrap();
    net.add_pod(UID_B, b).await.unwrap();
    println!("two Pod networks in {:?}", began.elapsed());
    let inside = NetnsHandle::enter(&net.plan().pod_netns(UID_A)).unwrap();
    let listener = inside.listen_tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 8080)).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let target = SocketAddr::new(a.into(), 8080);
    let other = NetnsHandle::enter(&net.plan().pod_netns(UID_B)).unwrap();
    for (who, from, source) in
        [("node", net.handle(), net.plan().node_address()), ("other Pod", &other, b), ("itself", &inside, a)]
    {
        let (_stream, accepted) = tokio::join!(in_time(from.connect(target)), in_time(listener.accept()));
        assert_eq!(accepted.unwrap().1.ip(), source, "{who}");
    }
    // The machine itself has no way in, whatever else answers at that address outside: of two that knock, it is the
    // second who comes in.
    let direct = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    direct.set_nonblocking(true).unwrap();
    let _ = direct.connect(&target.into());
    let (_stream, accepted) = tokio::join!(in_time(other.connect(target)), in_time(listener.accept()));
    assert_eq!(accepted.unwrap().1.ip(), b, "the host reached a Pod directly");
    println!("Pods reach each other");
}

async fn a_slow_program_keeps_nobody_from_connecting(net: &Network) {
    let handle = net.handle().clone();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    // A program that does not end by itself.
    let slow = tokio::spawn(async move { handle.run_program(move || ended.recv()).await });
    let opened = net.handle().run(|| ());
    // Would sockets wait for programs, this would too.
    in_time(opened).await.unwrap();
    end.send(()).unwrap();
    slow.await.unwrap().unwrap().unwrap();
    println!("a slow program keeps nobody from connecting");
}

struct Box_ {
    dir: PathBuf,
    netns: PathBuf,
}

impl Box_ {
    fn spec(&self, argv: &[&str], change: Value) -> Value {
        let mut spec = json!({
            "parent": std::process::id(), "join": null, "netns": self.netns, "hostname": "box-a",
            "scratch": self.dir.join("scratch"),
            "files": [{ "path": "/etc/hosts", "content": "127.0.0.1 localhost\n" },
                      { "path": "/etc/resolv.conf", "content": "nameserver 10.96.0.10\n" }],
            "mounts": [{ "source": self.dir.join("data"), "target": "/var/run/secrets/x/data", "read_only": true },
                       { "source": self.dir.join("rw"), "target": "/cache", "read_only": false }],
            "hide": [self.dir], "read_only_root": false, "cwd": "/work/dir", "argv": argv,
            "env": [["PATH", "/usr/sbin:/usr/bin:/sbin:/bin"], ["A", "b c"]],
            "uid": 65532, "gid": 65532, "groups": [7], "capabilities": [], "no_new_privileges": true,
            "error_file": self.dir.join("error")
        });
        for (key, value) in change.as_object().unwrap() {
            spec[key] = value.clone();
        }
        spec
    }

    fn run(&self, argv: &[&str], change: Value) -> (i32, String) {
        let mut child = start(&self.spec(argv, change));
        let mut output = String::new();
        child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        let code = child.wait().unwrap().code().unwrap_or(-1);
        let error = std::fs::read_to_string(self.dir.join("error")).unwrap_or_default();
        (code, format!("{}{error}", output.trim()))
    }

    fn sh(&self, script: &str) -> String {
        let (code, output) = self.run(&["sh", "-c", script], json!({}));
        assert_eq!(code, 0, "{script}: {output}");
        output
    }
}

fn start(spec: &Value) -> std::process::Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("pod-init")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(spec.to_string().as_bytes()).unwrap();
    child
}

async fn sandbox(net: &Network) {
    let dir = std::env::temp_dir().join(format!("ptl-box-{}", std::process::id()));
    for sub in ["scratch", "data", "rw"] {
        std::fs::create_dir_all(dir.join(sub)).unwrap();
    }
    std::fs::write(dir.join("data/token"), "secret").unwrap();
    std::fs::set_permissions(dir.join("rw"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let dir = std::fs::canonicalize(dir).unwrap();
    let netns = Path::new("/run/netns").join(net.plan().pod_netns(UID_A));
    let sandbox = Box_ { dir: dir.clone(), netns };

    let mounts_before = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert_eq!(
        sandbox.sh("id -u; id -g; id -G; hostname; pwd; echo $A").replace('\n', " "),
        "65532 65532 65532 7 box-a /work/dir b c"
    );
    assert_eq!(
        sandbox.sh("cat /var/run/secrets/x/data/token /etc/resolv.conf"),
        "secretnameserver 10.96.0.10"
    );
    assert_eq!(sandbox.sh("echo hi > /cache/f; cat /cache/f"), "hi");
    assert_eq!(std::fs::read_to_string(dir.join("rw/f")).unwrap(), "hi\n");
    assert_eq!(sandbox.sh("touch /var/run/secrets/x/data/y 2>/dev/null || echo no"), "no");
    assert_eq!(sandbox.sh(&format!("ls {} | wc -l", dir.display())), "0", "the state directory is hidden");
    assert!(sandbox.sh("ip -4 -o addr show dev eth0").contains("/32"), "the Pod's network");
    assert_eq!(sandbox.sh("cat /proc/sys/net/ipv4/ip_unprivileged_port_start"), "0");
    assert_eq!(sandbox.sh("grep -c . /proc/mounts >/dev/null; ls /.host 2>/dev/null | wc -l"), "0");
    assert_eq!(
        sandbox
            .sh("echo x > /tmp/t; echo y > /dev/null; head -c 1 /dev/zero | wc -c; ls /dev | wc -l")
            .split('\n')
            .next(),
        Some("1")
    );
    assert_eq!(
        sandbox.sh("grep -E '^(CapEff|NoNewPrivs)' /proc/self/status | tr -d '\\t\\n'"),
        "CapEff:0000000000000000NoNewPrivs:1"
    );

    // Root with network administration, and a proxy with one capability.
    let root = json!({ "uid": 0, "gid": 0, "groups": [], "capabilities": ["NET_ADMIN", "NET_RAW"], "no_new_privileges": false });
    let (code, text) = sandbox.run(
        &[
            "sh",
            "-c",
            "grep CapBnd /proc/self/status; nft list tables && touch /root-was-here && ls /root-was-here",
        ],
        root.clone(),
    );
    assert!(code == 0 && text.contains("0000000000003000") && text.contains("/root-was-here"), "{text}");
    assert!(!Path::new("/root-was-here").exists());
    let ambient = json!({ "uid": 1337, "gid": 1337, "capabilities": ["NET_ADMIN"] });
    let (_, text) = sandbox.run(&["grep", "CapEff", "/proc/self/status"], ambient);
    assert!(text.contains("0000000000001000"), "{text}");
    let read_only = json!({ "read_only_root": true, "uid": 0, "gid": 0, "capabilities": ["DAC_OVERRIDE"] });
    let (_, text) =
        sandbox.run(&["sh", "-c", "touch /x 2>/dev/null || echo ro; touch /cache/ok && echo rw"], read_only);
    assert_eq!(text, "ro\nrw");

    let (code, text) = sandbox.run(&["/no/such/program"], json!({}));
    assert!(code == 128 && text.contains("/no/such/program"), "{code} {text}");
    let (code, text) = sandbox.run(&["true"], json!({ "parent": 1 }));
    assert!(code == 128 && text.contains("runtime has ended"), "{code} {text}");

    // exec joins a running container.
    let mut long = start(&sandbox.spec(&["sh", "-c", "echo up > /cache/up; exec sleep 60"], json!({})));
    eventually("the container to run", || dir.join("rw/up").exists().then_some(()));
    let (code, text) =
        sandbox.run(&["sh", "-c", "hostname; cat /cache/up; ls -d /work/dir"], json!({ "join": long.id() }));
    assert_eq!((code, text.replace('\n', " ").as_str()), (0, "box-a up /work/dir"));
    long.kill().unwrap();
    long.wait().unwrap();
    assert_eq!(
        std::fs::read_to_string("/proc/self/mounts").unwrap(),
        mounts_before,
        "no mount reached the machine"
    );
    std::fs::remove_dir_all(&dir).unwrap();
    println!("sandbox as specified");
}
