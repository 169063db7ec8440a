//! The rules at work, in real network namespaces. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread;
use std::time::Duration;

use portolan_redirect::{Backend, Rules, apply, validate};
use rustix::process::{Gid, Uid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_thread_gid, set_thread_uid};
use socket2::SockRef;

const POD: &str = "10.99.0.1";
const PEER: &str = "10.99.0.2";
const POD6: &str = "fd99::1";
const PEER6: &str = "fd99::2";
const APP: u32 = 1000;
const PROXY: u32 = 1337;

/// Two namespaces joined by a veth pair; removed on drop.
struct Bed {
    pod: String,
    peer: String,
}

impl Bed {
    fn new(tag: &str) -> Bed {
        assert!(rustix::process::geteuid().is_root(), "needs root: network namespaces are created");
        let id = std::process::id() % 100_000;
        let bed = Bed { pod: format!("ptl-rd{tag}{id}-a"), peer: format!("ptl-rd{tag}{id}-b") };
        let (a, b) = (&bed.pod, &bed.peer);
        ip(&format!("netns add {a}"));
        ip(&format!("netns add {b}"));
        ip(&format!("-n {a} link add eth0 type veth peer name eth0 netns {b}"));
        for (ns, v4, v6) in [(a, POD, POD6), (b, PEER, PEER6)] {
            ip(&format!("-n {ns} addr add {v4}/24 dev eth0"));
            ip(&format!("-n {ns} addr add {v6}/64 dev eth0 nodad"));
            ip(&format!("-n {ns} link set lo up"));
            ip(&format!("-n {ns} link set eth0 up"));
        }
        bed
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for ns in [&self.pod, &self.peer] {
            let _ = Command::new("ip").args(["netns", "del", ns]).status();
        }
    }
}

fn ip(line: &str) {
    let status = Command::new("ip").args(line.split(' ')).status().unwrap();
    assert!(status.success(), "ip {line}");
}

/// Runs `f` on a thread that is in `ns` and has user and group `id`.
fn within<T: Send + 'static>(ns: &str, id: u32, f: impl FnOnce() -> T + Send + 'static) -> T {
    let file = std::fs::File::open(format!("/run/netns/{ns}")).unwrap();
    thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        if id != 0 {
            set_thread_gid(Gid::from_raw(id)).unwrap();
            set_thread_uid(Uid::from_raw(id)).unwrap();
        }
        f()
    })
    .join()
    .unwrap()
}

/// Answers every connection with `NAME ORIGINAL-DESTINATION`.
fn serve(ns: &str, name: &'static str, addr: &str) {
    let addr: SocketAddr = addr.parse().unwrap();
    let listener = within(ns, 0, move || TcpListener::bind(addr).unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let sock = SockRef::from(&stream);
            let original = if addr.is_ipv4() { sock.original_dst_v4() } else { sock.original_dst_v6() };
            // A tracked connection that was not redirected has its own address as original destination.
            let local = stream.local_addr().ok();
            let original = original.ok().and_then(|a| a.as_socket()).filter(|a| Some(*a) != local);
            let text = original.map_or("direct".to_owned(), |a| a.to_string());
            let _ = write!(stream, "{name} {text}");
        }
    });
}

fn ask(ns: &str, id: u32, addr: &str) -> String {
    let addr: SocketAddr = addr.parse().unwrap();
    within(ns, id, move || {
        let mut stream = match TcpStream::connect_timeout(&addr, Duration::from_secs(2)) {
            Ok(stream) => stream,
            Err(error) => return error.kind().to_string(),
        };
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}

fn capture(tag: &str, backend: Backend) {
    let bed = Bed::new(tag);
    let (pod, peer) = (bed.pod.as_str(), bed.peer.as_str());
    let rules = Rules {
        outbound_exclude: vec![9999],
        networks_exclude: vec!["10.99.0.77/32".parse().unwrap()],
        ..Rules::default()
    };
    {
        let rules = rules.clone();
        // Twice: a restarted init container must leave the same rules.
        within(pod, 0, move || {
            apply(&rules, backend).unwrap();
            apply(&rules, backend).unwrap();
            // The pod has no default route yet; the probe needs one.
            ip("route add default dev eth0");
            assert!(validate(&rules).unwrap());
        });
    }
    for (any, suffix) in [("0.0.0.0", ""), ("[::]", "6")] {
        let leak = |name: String| -> &'static str { Box::leak(name.into_boxed_str()) };
        // One listener per family, so that v6 ones must not take v4 connections.
        let v6only = suffix == "6";
        let addr = |port: u16| format!("{any}:{port}");
        let pod_listeners = [("outbound", 15001), ("inbound", 15006), ("app", 8080), ("health", 15021)];
        for (name, port) in pod_listeners {
            if v6only {
                serve(pod, leak(format!("{name}6")), &format!("[{POD6}]:{port}"));
                serve(pod, leak(format!("{name}6")), &format!("[::1]:{port}"));
            } else {
                serve(pod, leak(name.to_owned()), &addr(port));
            }
        }
        for (name, port) in [("peer", 8080), ("excluded", 9999)] {
            let host = if v6only { format!("[{PEER6}]") } else { any.to_owned() };
            serve(peer, leak(format!("{name}{suffix}")), &format!("{host}:{port}"));
        }
    }
    let cases = [
        ("app to peer", pod, APP, "10.99.0.2:8080", "outbound 10.99.0.2:8080"),
        ("app to nobody", pod, APP, "10.200.0.1:80", "outbound 10.200.0.1:80"),
        ("proxy to peer", pod, PROXY, "10.99.0.2:8080", "peer direct"),
        ("app to excluded port", pod, APP, "10.99.0.2:9999", "excluded direct"),
        ("app to itself by its address", pod, APP, "10.99.0.1:8080", "app direct"),
        ("app to loopback", pod, APP, "127.0.0.1:8080", "app direct"),
        ("proxy to its own address", pod, PROXY, "10.99.0.1:8080", "inbound 10.99.0.1:8080"),
        ("proxy to loopback", pod, PROXY, "127.0.0.1:8080", "app direct"),
        ("peer to pod", peer, APP, "10.99.0.1:8080", "inbound 10.99.0.1:8080"),
        ("peer to excluded inbound port", peer, APP, "10.99.0.1:15021", "health direct"),
        ("app to peer, IPv6", pod, APP, "[fd99::2]:8080", "outbound6 [fd99::2]:8080"),
        ("proxy to peer, IPv6", pod, PROXY, "[fd99::2]:8080", "peer6 direct"),
        ("peer to pod, IPv6", peer, APP, "[fd99::1]:8080", "inbound6 [fd99::1]:8080"),
        ("app to loopback, IPv6", pod, APP, "[::1]:8080", "app6 direct"),
    ];
    for (what, ns, id, addr, expected) in cases {
        assert_eq!(ask(ns, id, addr), expected, "{what}");
    }
}

#[test]
fn nft_captures() {
    capture("n", Backend::Nft);
}

#[test]
fn iptables_captures() {
    capture("i", Backend::Iptables);
}

#[test]
fn validation_fails_without_rules() {
    let bed = Bed::new("v");
    let error = within(&bed.pod, 0, || validate(&Rules::default()).unwrap_err().to_string());
    assert!(error.contains("did not arrive at port 15001"), "{error}");
}
