//! Traffic that packet rules lead to the proxy: where it was meant for is found again. In network namespaces of its
//! own, so it needs root; without, it says so and passes.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;

use portolan_names::names::PROXY_UID;
use portolan_redirect::{Backend, Rules, apply};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

use crate::support::config::*;
use crate::support::{Config, Program, Proxy, http, on_each};

const POD: &str = "10.98.0.1";
const PEER: &str = "10.98.0.2";

/// A Pod and a peer, joined by a pair of links; removed on drop.
struct Bed {
    pod: String,
    peer: String,
}

impl Bed {
    fn new(tag: &str) -> Bed {
        let id = std::process::id() % 100_000;
        let bed = Bed { pod: format!("ptl-cp{tag}{id}-a"), peer: format!("ptl-cp{tag}{id}-b") };
        let (a, b) = (&bed.pod, &bed.peer);
        ip(&format!("netns add {a}"));
        ip(&format!("netns add {b}"));
        ip(&format!("-n {a} link add eth0 type veth peer name eth0 netns {b}"));
        for (ns, address) in [(a, POD), (b, PEER)] {
            ip(&format!("-n {ns} addr add {address}/24 dev eth0"));
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

/// Runs `f` on a thread of its own in `ns`.
fn within<T: Send + 'static>(ns: &str, f: impl FnOnce() -> T + Send + 'static) -> T {
    let file = std::fs::File::open(format!("/run/netns/{ns}")).unwrap();
    let thread = std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        f()
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Answers every connection with its name and where the connection came from.
fn serve(ns: &str, name: &'static str, address: &str) {
    let address: SocketAddr = address.parse().unwrap();
    let listener = within(ns, move || TcpListener::bind(address).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let from = stream.peer_addr().map(|from| from.ip().to_string()).unwrap_or_default();
            let _ = write!(stream, "{name} {from}");
        }
    });
}

fn ask(ns: &str, to: &str) -> String {
    let to: SocketAddr = to.parse().unwrap();
    within(ns, move || {
        let mut stream = TcpStream::connect_timeout(&to, crate::support::PATIENCE).unwrap();
        stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        text
    })
}

fn ask_http(ns: &str, to: &str) -> (u16, String) {
    let to: SocketAddr = to.parse().unwrap();
    within(ns, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(http(to, "GET", "/", "")).unwrap()
    })
}

fn at(port: u16) -> Value {
    json!({"address": {"socket_address": {"address": "0.0.0.0", "port_value": port}}})
}

fn original_dst(name: &str) -> Value {
    json!({
        "name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "2s",
    })
}

/// The listeners of a sidecar, as our control plane names them.
fn sidecar() -> Config {
    let log = access_log(
        "log",
        &["UPSTREAM_CLUSTER", "UPSTREAM_HOST", "DOWNSTREAM_LOCAL_ADDRESS", "RESPONSE_FLAGS"],
    );
    let passthrough = |cluster: &str| tcp_proxy(cluster, json!({"cluster": cluster, "access_log": log}));
    let on_port = |port: u16, filter: Value| {
        with(chain(filter), json!({"filter_chain_match": {"destination_port": port}}))
    };
    let original = json!({"listener_filters": [{
        "name": "envoy.filters.listener.original_dst",
        "typed_config": any("extensions.filters.listener.original_dst.v3.OriginalDst", json!({})),
    }]});
    let unbound = |name: &str, port: u16| {
        with(
            with(listener(name, vec![chain(answering(name, name))]), at(port)),
            json!({"bind_to_port": false, "traffic_direction": "OUTBOUND"}),
        )
    };
    let exact = {
        let mut listener = unbound("10.98.0.2_9091", 9091);
        listener["address"]["socket_address"]["address"] = json!(PEER);
        listener
    };
    Config {
        listeners: vec![
            with(
                with(listener("virtualOutbound", vec![chain(passthrough("PassthroughCluster"))]), at(15001)),
                json!({"use_original_dst": true, "traffic_direction": "OUTBOUND"}),
            ),
            unbound("0.0.0.0_9090", 9090),
            unbound("0.0.0.0_9091", 9091),
            exact,
            with(
                with(
                    listener(
                        "virtualInbound",
                        vec![
                            on_port(8080, answering("inbound", "inbound 8080")),
                            chain(passthrough("InboundPassthroughClusterIpv4")),
                        ],
                    ),
                    at(15006),
                ),
                with(original, json!({"traffic_direction": "INBOUND"})),
            ),
        ],
        clusters: vec![
            original_dst("PassthroughCluster"),
            with(
                original_dst("InboundPassthroughClusterIpv4"),
                json!({"upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}}}),
            ),
        ],
        ..Config::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn captured_connections_go_where_they_were_meant_for() {
    if !portolan_testing::needs::root() {
        return;
    }
    on_each(async |program| {
        let bed = Bed::new(if program == Program::Ours { "o" } else { "e" });
        let (pod, peer) = (bed.pod.clone(), bed.peer.clone());
        within(&pod, || apply(&Rules::default(), Backend::Nft).unwrap());
        serve(&peer, "peer", "10.98.0.2:8080");
        serve(&pod, "app", "0.0.0.0:8081");
        let ns = pod.clone();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (started, ready) = std::sync::mpsc::channel();
        // The proxy's admin page is in the Pod: what talks to it must be there too.
        let keeper = std::thread::spawn(move || {
            within(&ns, move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let proxy = Proxy::start_as(program, sidecar(), PROXY_UID).await;
                    let path = proxy.path("log");
                    started.send(path).unwrap();
                    let _ = tokio::task::spawn_blocking(move || stopped.recv()).await;
                });
            });
        });
        let log = tokio::task::spawn_blocking(move || ready.recv()).await.unwrap().unwrap();
        let cases = tokio::task::spawn_blocking(move || {
            vec![
                ("outbound to anybody", ask(&pod, "10.98.0.2:8080"), "peer 10.98.0.1"),
                ("outbound to nobody", ask(&pod, "10.98.0.2:8085"), ""),
                ("outbound to a port of ours", ask_http(&pod, "10.98.0.2:9090").1, "0.0.0.0_9090"),
                ("outbound to an address of ours", ask_http(&pod, "10.98.0.2:9091").1, "10.98.0.2_9091"),
                ("inbound to a port of ours", ask_http(&peer, "10.98.0.1:8080").1, "inbound 8080"),
                ("inbound to another port", ask(&peer, "10.98.0.1:8081"), "app 127.0.0.6"),
            ]
            .into_iter()
            .map(|(what, got, wanted)| (what, got, wanted.to_owned()))
            .collect::<Vec<_>>()
        })
        .await
        .unwrap();
        for (what, got, wanted) in cases {
            assert_eq!(got, wanted, "{program:?}: {what}");
        }
        let lines = crate::support::log_lines(&log, 3).await;
        let of = |at: usize| {
            ["UPSTREAM_CLUSTER", "UPSTREAM_HOST", "DOWNSTREAM_LOCAL_ADDRESS"]
                .map(|name| lines[at][name].as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(of(0), ["PassthroughCluster", "10.98.0.2:8080", "10.98.0.2:8080"], "{program:?}");
        assert!(lines[1]["RESPONSE_FLAGS"].as_str().unwrap().contains("UF"), "{program:?}: {}", lines[1]);
        assert_eq!(
            of(2),
            ["InboundPassthroughClusterIpv4", "10.98.0.1:8081", "10.98.0.1:8081"],
            "{program:?}"
        );
        drop(stop);
        tokio::task::spawn_blocking(move || keeper.join().unwrap()).await.unwrap();
    })
    .await;
}
