//! Which host gets a request: policies, weights, localities, priorities, health, outliers, limits, names.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::support::config::*;
use crate::support::http2::{H2Client, describe, get, h2_peer};
use crate::support::{Config, Proxy, eventually, http, on_each};
use portolan_testing::{Busy, Peer};

/// An HTTP/1 server that answers with its name, and a status that can be changed.
struct Named {
    peer: Peer,
    status: Arc<AtomicU16>,
    /// Whether answers are held back.
    hold: watch::Sender<bool>,
    /// Requests so far.
    requests: watch::Receiver<usize>,
}

impl Named {
    async fn new(name: &str) -> Named {
        let name = name.to_owned();
        let status = Arc::new(AtomicU16::new(200));
        let (hold, held) = watch::channel(false);
        let (count, requests) = watch::channel(0);
        let code = status.clone();
        let peer = Peer::new(move |mut stream: TcpStream, _| {
            let (name, code, mut held, count) = (name.clone(), code.clone(), held.clone(), count.clone());
            async move {
                let mut all = Vec::new();
                while let Ok(1..) = stream.read_buf(&mut all).await {
                    if !all.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    all.clear();
                    count.send_modify(|count| *count += 1);
                    if held.wait_for(|held| !held).await.is_err() {
                        return;
                    }
                    let answer = format!(
                        "HTTP/1.1 {} X\r\ncontent-length: {}\r\n\r\n{name}",
                        code.load(Relaxed),
                        name.len()
                    );
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        Named { peer, status, hold, requests }
    }

    fn address(&self) -> SocketAddr {
        self.peer.address
    }
}

async fn named<const N: usize>(names: [&str; N]) -> Vec<Named> {
    let mut out = Vec::new();
    for name in names {
        out.push(Named::new(name).await);
    }
    out
}

fn addresses(named: &[Named]) -> Vec<SocketAddr> {
    named.iter().map(Named::address).collect()
}

/// A listener per cluster that forwards everything to it.
fn entries(clusters: Vec<Value>) -> Config {
    let listeners = clusters
        .iter()
        .map(|cluster| {
            let name = cluster["name"].as_str().unwrap();
            listener(name, vec![chain(forwarding(name, name))])
        })
        .collect();
    Config { listeners, clusters, ..Config::default() }
}

/// How often each host answered `count` requests.
async fn shares(proxy: &Proxy, name: &str, count: usize) -> BTreeMap<String, usize> {
    let at = proxy.address(name).await;
    let mut seen = BTreeMap::new();
    for _ in 0..count {
        *seen.entry(http(at, "GET", "/", "").await.unwrap().1).or_insert(0) += 1;
    }
    seen
}

/// `load_assignment` of localities: `(priority, weight, hosts)`.
fn localities(name: &str, groups: &[(u32, Option<u32>, Vec<Value>)]) -> Value {
    let groups: Vec<Value> = groups
        .iter()
        .enumerate()
        .map(|(at, (priority, weight, hosts))| {
            let mut group = json!({
                "locality": {"region": "r", "zone": format!("z{at}")}, "priority": priority, "lb_endpoints": hosts,
            });
            if let Some(weight) = weight {
                group["load_balancing_weight"] = json!(weight);
            }
            group
        })
        .collect();
    json!({"cluster_name": name, "endpoints": groups})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_share_requests_out() {
    let hosts = named(["a", "b", "c", "d"]).await;
    let all = addresses(&hosts);
    on_each(async |program| {
        let weighted = |name: &str| {
            let one =
                |at: usize, weight: u32| with(endpoint(all[at]), json!({"load_balancing_weight": weight}));
            with(
                cluster(name, &[]),
                json!({"load_assignment": {
                    "cluster_name": name, "endpoints": [{"lb_endpoints": [one(0, 1), one(1, 2), one(2, 5)]}],
                }}),
            )
        };
        let config = entries(vec![
            cluster("round", &all),
            weighted("round-weighted"),
            with(cluster("random", &all), json!({"lb_policy": "RANDOM"})),
            with(cluster("least", &all[..2]), json!({"lb_policy": "LEAST_REQUEST"})),
        ]);
        let proxy = Proxy::start(program, config).await;
        let seen = shares(&proxy, "round", 40).await;
        assert_eq!(seen, ["a", "b", "c", "d"].map(|name| (name.to_owned(), 10)).into(), "{program:?}");
        let seen = shares(&proxy, "round-weighted", 80).await;
        for (name, wanted) in [("a", 10usize), ("b", 20), ("c", 50)] {
            assert!(seen[name].abs_diff(wanted) <= 1, "{program:?}: {seen:?}");
        }
        let seen = shares(&proxy, "random", 200).await;
        // 50 each; six standard deviations are 37.
        assert!(
            seen.len() == 4 && seen.values().all(|count| (13..=87).contains(count)),
            "{program:?}: {seen:?}"
        );

        // A host that does not answer collects requests and then is left alone.
        hosts[0].hold.send_replace(true);
        let mut held_back = hosts[0].requests.clone();
        held_back.mark_unchanged();
        let at = proxy.address("least").await;
        let mut held = Vec::new();
        // How many of some requests the other host answers, each sent after the end of the one before.
        let mut ask = async |count: usize| {
            let mut answered = 0;
            for _ in 0..count {
                let mut request = tokio::spawn(http_get(at));
                tokio::select! {
                    name = &mut request => {
                        assert_eq!(name.unwrap(), "b", "{program:?}");
                        answered += 1;
                    }
                    changed = held_back.changed() => {
                        changed.unwrap();
                        held.push(request);
                    }
                }
            }
            answered
        };
        ask(8).await;
        let answered = ask(20).await;
        hosts[0].hold.send_replace(false);
        for request in held {
            request.await.unwrap();
        }
        // Two draws out of two hosts are the same one a quarter of the time each: about 5 of 20 go to the busy host.
        assert!(answered >= 8, "{program:?}: {answered} of 20");
    })
    .await;
}

async fn http_get(at: SocketAddr) -> String {
    http(at, "GET", "/", "").await.unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_stick() {
    let hosts = named(["a", "b", "c", "d", "e"]).await;
    let all = addresses(&hosts);
    let mut rings = Vec::new();
    on_each(async |program| {
        let by = |name: &str, policy: Value| {
            let routes =
                json!([{"match": {"prefix": "/"}, "route": {"cluster": name, "hash_policy": policy}}]);
            listener(name, vec![chain(manager(name, routes))])
        };
        let header = json!([{"header": {"header_name": "x-user"}}]);
        let ring = |name: &str, policy: &str| with(cluster(name, &all), json!({"lb_policy": policy}));
        let uneven: Vec<Value> = all
            .iter()
            .zip([1, 2, 3, 5, 8])
            .map(|(address, weight)| with(endpoint(*address), json!({"load_balancing_weight": weight})))
            .collect();
        let mut weighted = ring("weighted", "RING_HASH");
        weighted["load_assignment"]["endpoints"][0]["lb_endpoints"] = json!(uneven);
        let config = Config {
            listeners: vec![
                by("ring", header.clone()),
                by("maglev", header.clone()),
                by("weighted", header),
                by(
                    "several",
                    json!([
                        {"header": {"header_name": "x-user"}},
                        {"query_parameter": {"name": "q"}},
                        {"cookie": {"name": "sticky"}},
                    ]),
                ),
                by("cookie", json!([{"cookie": {"name": "sticky", "ttl": "60s", "path": "/p"}}])),
                by("source", json!([{"connection_properties": {"source_ip": true}}])),
                by("query", json!([{"query_parameter": {"name": "q"}}])),
                by(
                    "terminal",
                    json!([
                        {"header": {"header_name": "x-user"}, "terminal": true},
                        {"connection_properties": {"source_ip": true}},
                    ]),
                ),
            ],
            clusters: ["ring", "cookie", "source", "query", "terminal", "several"]
                .map(|name| ring(name, "RING_HASH"))
                .into_iter()
                .chain([ring("maglev", "MAGLEV"), weighted])
                .collect(),
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        let ask = async |name: &str, path: &str, fields: &str| {
            http(proxy.address(name).await, "GET", path, fields).await.unwrap().1
        };
        let mut owners = BTreeMap::new();
        for user in 0..100 {
            let field = format!("x-user: user-{user}\r\n");
            let owner = ask("ring", "/", &field).await;
            assert_eq!(ask("ring", "/", &field).await, owner, "{program:?}: {user}");
            owners.insert(format!("ring {user}"), owner);
            owners.insert(format!("weighted {user}"), ask("weighted", "/", &field).await);
            let path = format!("/?q={}", user / 7);
            let fields = format!("{field}cookie: sticky={}\r\n", user % 5);
            owners.insert(format!("several {user}"), ask("several", &path, &fields).await);
            let owner = ask("maglev", "/", &field).await;
            assert_eq!(ask("maglev", "/", &field).await, owner, "{program:?}: {user}");
        }
        let used: BTreeSet<_> = owners.values().cloned().collect();
        assert_eq!(used.len(), 5, "{program:?}: {owners:?}");
        rings.push((program, owners));

        let mut source = BTreeSet::new();
        for _ in 0..20 {
            source.insert(ask("source", "/", "").await);
        }
        assert_eq!(source.len(), 1, "{program:?}: {source:?}");
        for query in 0..20 {
            let path = format!("/?q={query}");
            assert_eq!(ask("query", &path, "").await, ask("query", &path, "").await, "{program:?}");
        }
        let mut spread = BTreeSet::new();
        for user in 0..30 {
            let field = format!("x-user: user-{user}\r\n");
            let owner = ask("terminal", "/", &field).await;
            assert_eq!(ask("terminal", "/", &field).await, owner, "{program:?}");
            spread.insert(owner);
        }
        assert!(spread.len() > 2, "{program:?}: {spread:?}");

        // A client without the cookie gets one; with it, the same host again and no other cookie.
        for _ in 0..10 {
            let stream = TcpStream::connect(proxy.address("cookie").await).await.unwrap();
            let (owner, cookie) = with_cookie(stream, "").await;
            let cookie = cookie.unwrap_or_else(|| panic!("{program:?}: no cookie"));
            for attribute in ["Max-Age=60", "Path=/p", "HttpOnly"] {
                assert!(cookie.contains(attribute), "{program:?}: {cookie}");
            }
            let value = cookie.split(';').next().unwrap();
            let stream = TcpStream::connect(proxy.address("cookie").await).await.unwrap();
            let again = with_cookie(stream, &format!("cookie: x=1; {value}\r\n")).await;
            assert_eq!(again, (owner, None), "{program:?}");
        }
    })
    .await;
    // The ring is Envoy's: both send the same key to the same host.
    if let [(_, ours), (_, envoys)] = rings.as_slice() {
        assert_eq!(ours, envoys);
    }
}

/// Owners of forty hashes, as Envoy 1.40 gave them to these hosts. Hosts are known by `hash_key`, so that neither the
/// ports nor the machine matter.
const OWNERS: [(&str, &str); 6] = [
    ("ring", "eedcadeebcaeabbaaecbecaeadbaaaecebcdbecd"),
    ("ring-weighted", "eedcddedccaeabbebeeeeceeddeaeeeceeedbeed"),
    ("ring-murmur", "deceecedebedeedecbdeeedceeccedcbecececdd"),
    ("maglev", "dcbbccacbadeabadadeedcabbaeabedaecdcdabd"),
    ("maglev-weighted", "cebddedeedeedceadebeaebeeddecdeedeedeede"),
    ("maglev-localities", "bebabadeaaabdaaababbabbbbdbabababaebbbab"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_belong_to_the_hosts_that_envoy_gives_them_to() {
    let hosts = named(["a", "b", "c", "d", "e"]).await;
    let keyed = |at: usize, weight: u32| {
        let key = json!({"envoy.lb": {"hash_key": format!("host-{at}")}});
        with(
            endpoint(hosts[at].address()),
            json!({"load_balancing_weight": weight, "metadata": {"filter_metadata": key}}),
        )
    };
    let even: Vec<Value> = (0..5).map(|at| keyed(at, 1)).collect();
    let uneven: Vec<Value> = (0..5).zip([1, 2, 3, 5, 8]).map(|(at, weight)| keyed(at, weight)).collect();
    let of = |name: &str, policy: &str, groups: &[(u32, Option<u32>, Vec<Value>)], fields: Value| {
        let assignment = json!({"lb_policy": policy, "load_assignment": localities(name, groups)});
        with(with(cluster(name, &[]), assignment), fields)
    };
    let one = |hosts: &Vec<Value>| vec![(0, None, hosts.clone())];
    let two = [(0, Some(3), uneven[..2].to_vec()), (0, Some(1), uneven[2..].to_vec())];
    let small = json!({"ring_hash_lb_config": {"minimum_ring_size": 100, "hash_function": "MURMUR_HASH_2"}});
    let clusters = vec![
        of("ring", "RING_HASH", &one(&even), json!({})),
        of("ring-weighted", "RING_HASH", &one(&uneven), json!({})),
        of("ring-murmur", "RING_HASH", &one(&uneven), small),
        of("maglev", "MAGLEV", &one(&even), json!({"maglev_lb_config": {"table_size": 1009}})),
        of("maglev-weighted", "MAGLEV", &one(&uneven), json!({})),
        of(
            "maglev-localities",
            "MAGLEV",
            &two,
            json!({"common_lb_config": {"locality_weighted_lb_config": {}}}),
        ),
    ];
    on_each(async |program| {
        let policy = json!([{"header": {"header_name": "x-user"}}]);
        let listeners = clusters
            .iter()
            .map(|cluster| {
                let name = cluster["name"].as_str().unwrap();
                let route = json!({"cluster": name, "hash_policy": policy});
                listener(
                    name,
                    vec![chain(manager(name, json!([{"match": {"prefix": "/"}, "route": route}])))],
                )
            })
            .collect();
        let proxy =
            Proxy::start(program, Config { listeners, clusters: clusters.clone(), ..Config::default() })
                .await;
        let mut found = Vec::new();
        for (name, _) in OWNERS {
            let mut owners = String::new();
            for user in 0..40 {
                let field = format!("x-user: user-{user}\r\n");
                owners += &http(proxy.address(name).await, "GET", "/", &field).await.unwrap().1;
            }
            found.push((name, owners));
        }
        let wanted = OWNERS.map(|(name, owners)| (name, owners.to_owned()));
        assert_eq!(found, wanted, "{program:?}");
    })
    .await;
}

async fn with_cookie(mut stream: TcpStream, fields: &str) -> (String, Option<String>) {
    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let text = portolan_testing::read_all(stream).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).map(str::to_owned);
    (body.to_owned(), cookie)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn localities_priorities_and_health() {
    let hosts = named(["a", "b", "c", "d"]).await;
    let all = addresses(&hosts);
    let e = |at: usize| endpoint(all[at]);
    let ill = |at: usize, status: &str| with(endpoint(all[at]), json!({"health_status": status}));
    let of = |name: &str, groups: &[(u32, Option<u32>, Vec<Value>)], fields: Value| {
        with(with(cluster(name, &[]), json!({"load_assignment": localities(name, groups)})), fields)
    };
    let no_panic = json!({"common_lb_config": {"healthy_panic_threshold": {"value": 0}}});
    let weighted = json!({"common_lb_config": {"locality_weighted_lb_config": {}, "healthy_panic_threshold": {"value": 0}}});
    // Shares of 200 requests in per cent.
    type Case<'a> = (&'a str, Value, &'a [(&'a str, usize)]);
    let cases: Vec<Case<'_>> = vec![
        (
            "weights of localities",
            of("c0", &[(0, Some(3), vec![e(0)]), (0, Some(1), vec![e(1)])], weighted.clone()),
            &[("a", 75), ("b", 25)],
        ),
        (
            "a locality without weight gets nothing",
            of("c1", &[(0, Some(1), vec![e(0)]), (0, None, vec![e(1)])], weighted.clone()),
            &[("a", 100)],
        ),
        (
            "half of a locality is down: 1.4 times what is left of it",
            of(
                "c2",
                &[(0, Some(1), vec![e(0), ill(1, "UNHEALTHY")]), (0, Some(1), vec![e(2)])],
                weighted.clone(),
            ),
            &[("a", 41), ("c", 59)],
        ),
        (
            "first priority takes all",
            of("c3", &[(0, None, vec![e(0)]), (1, None, vec![e(1)])], no_panic.clone()),
            &[("a", 100)],
        ),
        (
            "first priority down: second takes over",
            of("c4", &[(0, None, vec![ill(0, "UNHEALTHY")]), (1, None, vec![e(1)])], no_panic.clone()),
            &[("b", 100)],
        ),
        (
            "half of the first priority: 70 per cent stay",
            of("c5", &[(0, None, vec![e(0), ill(1, "UNHEALTHY")]), (1, None, vec![e(2)])], no_panic.clone()),
            &[("a", 70), ("c", 30)],
        ),
        (
            "draining and timed out hosts are left alone",
            of("c6", &[(0, None, vec![ill(0, "DRAINING"), ill(1, "TIMEOUT"), e(2)])], no_panic.clone()),
            &[("c", 100)],
        ),
        (
            "degraded hosts are the last resort",
            of("c7", &[(0, None, vec![ill(0, "DEGRADED"), e(1), e(2), e(3)])], no_panic.clone()),
            &[("b", 33), ("c", 33), ("d", 33)],
        ),
        (
            "only degraded hosts: better than none",
            of("c8", &[(0, None, vec![ill(0, "DEGRADED"), ill(1, "UNHEALTHY")])], no_panic.clone()),
            &[("a", 100)],
        ),
        (
            "panic: too many are down, so nobody's health is believed",
            of("c9", &[(0, None, vec![e(0), ill(1, "UNHEALTHY"), ill(2, "UNHEALTHY")])], json!({})),
            &[("a", 33), ("b", 33), ("c", 33)],
        ),
        (
            "no panic when it is switched off",
            of("c10", &[(0, None, vec![e(0), ill(1, "UNHEALTHY"), ill(2, "UNHEALTHY")])], no_panic),
            &[("a", 100)],
        ),
    ];
    on_each(async |program| {
        let proxy =
            Proxy::start(program, entries(cases.iter().map(|(_, cluster, _)| cluster.clone()).collect()))
                .await;
        let mut wrong = Vec::new();
        for (what, cluster, expected) in &cases {
            let seen = shares(&proxy, cluster["name"].as_str().unwrap(), 200).await;
            let names: Vec<_> = seen.keys().map(String::as_str).collect();
            let wanted: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
            // Draws of random numbers: five standard deviations are 18 per cent at most.
            let near = expected.iter().all(|(name, share)| {
                seen.get(*name).is_some_and(|count| (count * 100 / 200).abs_diff(*share) <= 18)
            });
            if names != wanted || !near {
                wrong.push(format!("{what}: {seen:?}, not {expected:?}"));
            }
        }
        assert!(wrong.is_empty(), "{program:?}:\n{}", wrong.join("\n"));
        assert_eq!(proxy.stat("cluster.c9.lb_healthy_panic").await, 200, "{program:?}");
        assert_eq!(proxy.stat("cluster.c5.membership_healthy").await, 2, "{program:?}");
        assert_eq!(proxy.stat("cluster.c5.membership_total").await, 3, "{program:?}");
        let (_, text) = proxy.get("/clusters").await.unwrap();
        let flags = |at: usize, cluster: &str| {
            let start = format!("{cluster}::{}::health_flags::", all[at]);
            text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or_default().to_owned()
        };
        assert_eq!(flags(0, "c5"), "healthy", "{program:?}");
        assert_eq!(flags(1, "c5"), "/failed_eds_health", "{program:?}");
        assert_eq!(flags(0, "c7"), "/degraded_eds_health", "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outliers_leave_and_return() {
    let hosts = named(["good", "bad"]).await;
    let all = addresses(&hosts);
    on_each(async |program| {
        hosts[1].status.store(503, Relaxed);
        let detection = json!({
            "consecutive_5xx": 3, "interval": "0.1s", "base_ejection_time": "0.6s", "max_ejection_percent": 50,
        });
        let config = entries(vec![with(cluster("c", &all), json!({"outlier_detection": detection}))]);
        let proxy = Proxy::start(program, config).await;
        let seen = shares(&proxy, "c", 6).await;
        assert_eq!(seen, [("bad".to_owned(), 3), ("good".to_owned(), 3)].into(), "{program:?}");
        proxy.until_stat("cluster.c.outlier_detection.ejections_active", 1).await;
        assert_eq!(shares(&proxy, "c", 6).await, [("good".to_owned(), 6)].into(), "{program:?}");
        let (_, text) = proxy.get("/clusters").await.unwrap();
        assert!(text.contains(&format!("c::{}::health_flags::/failed_outlier_check", all[1])), "{program:?}: {text}");
        hosts[1].status.store(200, Relaxed);
        proxy.until_stat("cluster.c.outlier_detection.ejections_active", 0).await;
        eventually("the return", async || shares(&proxy, "c", 4).await.contains_key("bad").then_some(())).await;
        let stats = proxy.stats_of("cluster.c.outlier_detection.").await;
        for name in ["ejections_enforced_total", "ejections_enforced_consecutive_5xx"] {
            assert_eq!(stats.get(&format!("cluster.c.outlier_detection.{name}")), Some(&1), "{program:?}: {name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_and_slow_connects() {
    let (release, held) = tokio::sync::watch::channel(false);
    let peer = h2_peer(h2::server::Builder::new(), move |request, respond, _| {
        let mut held = held.clone();
        async move {
            let _ = held.wait_for(|released| *released).await;
            describe(request, respond).await;
        }
    })
    .await;
    let busy = Busy::new();
    on_each(async |program| {
        release.send_replace(false);
        let limits = json!({"circuit_breakers": {"thresholds": [{"max_requests": 2}]}});
        let config = entries(vec![
            with(with(cluster("full", &[peer.address]), http2()), limits),
            with(cluster("slow", &[busy.address]), json!({"connect_timeout": "0.2s"})),
        ]);
        let proxy = Proxy::start(program, config).await;
        let client = H2Client::connect(proxy.address("full").await).await;
        let (one, _one) = client.start(get("/"), true).await.unwrap();
        let (two, _two) = client.start(get("/"), true).await.unwrap();
        proxy.until_stat("cluster.full.upstream_rq_active", 2).await;
        let third = client.ask(get("/")).await.unwrap();
        assert_eq!(third.status, 503, "{program:?}");
        assert_eq!(third.field("x-envoy-overloaded"), Some("true"), "{program:?}");
        assert!(third.text().contains("reset reason: overflow"), "{program:?}: {}", third.text());
        release.send_replace(true);
        for answer in [one, two] {
            assert_eq!(crate::support::http2::collect(answer).await.unwrap().status, 200, "{program:?}");
        }
        // Envoy has moved this to a counter of its own since Istio's documents were written.
        let stats = proxy.stats_of("cluster.full.upstream_rq_").await;
        let count = |name: &str| stats.get(&format!("cluster.full.upstream_rq_{name}")).copied().unwrap_or(0);
        assert_eq!(count("pending_overflow") + count("active_overflow"), 1, "{program:?}");

        let (status, body) = http(proxy.address("slow").await, "GET", "/", "").await.unwrap();
        assert_eq!(status, 503, "{program:?}");
        assert!(body.contains("reset reason: connection timeout"), "{program:?}: {body}");
        assert_eq!(proxy.stat("cluster.slow.upstream_cx_connect_timeout").await, 1, "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_resolved() {
    let host = Named::new("here").await;
    on_each(async |program| {
        let of = |name: &str, kind: &str| {
            let endpoint = json!({"endpoint": {"address": {"socket_address": {
                "address": "localhost", "port_value": host.address().port(),
            }}}});
            json!({
                "name": name, "type": kind, "connect_timeout": "2s", "dns_lookup_family": "V4_ONLY",
                "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
            })
        };
        let proxy =
            Proxy::start(program, entries(vec![of("strict", "STRICT_DNS"), of("logical", "LOGICAL_DNS")]))
                .await;
        for name in ["strict", "logical"] {
            // Ours is ready before the first answer of DNS; Envoy waits for it.
            proxy.until_stat(&format!("cluster.{name}.membership_total"), 1).await;
            assert_eq!(shares(&proxy, name, 2).await, [("here".to_owned(), 2)].into(), "{program:?}: {name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subsets_by_one_label() {
    let hosts = named(["a1", "b1", "a2"]).await;
    on_each(async |program| {
        let of = |at: usize, version: &str| {
            with(
                endpoint(hosts[at].address()),
                json!({"metadata": {"filter_metadata": {"envoy.lb": {"version": version}}}}),
            )
        };
        let route = |version: &str| {
            json!({
                "match": {"prefix": format!("/{version}")},
                "route": {
                    "cluster": "c",
                    "metadata_match": {"filter_metadata": {"envoy.lb": {"version": version}}},
                },
            })
        };
        let config = Config {
            listeners: vec![listener(
                "c",
                vec![chain(manager("c", json!([route("v1"), route("v2"), route("v3")])))],
            )],
            clusters: vec![with(
                with(
                    cluster("c", &[]),
                    json!({"lb_subset_config": {"subset_selectors": [{"keys": ["version"]}]}}),
                ),
                json!({"load_assignment": {
                    "cluster_name": "c",
                    "endpoints": [{"lb_endpoints": [of(0, "v1"), of(1, "v2"), of(2, "v1")]}],
                }}),
            )],
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        let at = proxy.address("c").await;
        let mut seen = BTreeMap::new();
        for _ in 0..8 {
            *seen.entry(http(at, "GET", "/v1", "").await.unwrap().1).or_insert(0) += 1;
        }
        assert_eq!(seen, [("a1".to_owned(), 4), ("a2".to_owned(), 4)].into(), "{program:?}");
        assert_eq!(http(at, "GET", "/v2", "").await.unwrap().1, "b1", "{program:?}");
        assert_eq!(http(at, "GET", "/v3", "").await.unwrap().0, 503, "{program:?}");
    })
    .await;
}

/// A listener for a cluster with subsets, and what a route asks of it.
fn asking(name: &str, criteria: &Value) -> Value {
    let route = json!({"cluster": name, "metadata_match": {"filter_metadata": {"envoy.lb": criteria}}});
    listener(name, vec![chain(manager(name, json!([{"match": {"prefix": "/"}, "route": route}])))])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subsets_fall_back() {
    let hosts = named(["prod1", "prod2", "dev1"]).await;
    let labels = [
        json!({"stage": "prod", "version": 1, "tags": ["x", "y"]}),
        json!({"stage": "prod", "version": 2, "tags": ["y"]}),
        json!({"stage": "dev", "version": "1", "tags": "x"}),
    ];
    let endpoints: Vec<Value> = hosts
        .iter()
        .zip(&labels)
        .map(|(host, labels)| {
            let metadata = json!({"filter_metadata": {"envoy.lb": labels}});
            with(endpoint(host.address()), json!({"metadata": metadata}))
        })
        .collect();
    let keys = json!([
        {"keys": ["stage", "version"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["stage"]},
        {"keys": ["stage"], "fallback_policy": "NO_FALLBACK"},
    ]);
    let stage = json!([{"keys": ["stage"]}]);
    let prod = json!({"stage": "prod"});
    let empty = json!({"fallback_policy": "DEFAULT_SUBSET", "default_subset": {"stage": "none"}});
    let list = json!({"list_as_any": true, "subset_selectors": [{"keys": ["tags"]}]});
    let none = json!({"subset_selectors": stage});
    // What the cluster says, what the route asks for, who answers; nobody is a 503.
    let cases = [
        (
            "any",
            with(none.clone(), json!({"fallback_policy": "ANY_ENDPOINT"})),
            json!({"stage": "test"}),
            "prod1 prod2 dev1",
        ),
        (
            "default",
            with(none.clone(), json!({"fallback_policy": "DEFAULT_SUBSET", "default_subset": prod})),
            json!({"color": "red"}),
            "prod1 prod2",
        ),
        ("empty", with(none.clone(), empty.clone()), json!({}), ""),
        (
            "panic",
            with(with(none.clone(), empty), json!({"panic_mode_any": true})),
            json!({}),
            "prod1 prod2 dev1",
        ),
        ("keys", json!({"subset_selectors": keys}), json!({"stage": "prod", "version": 3}), "prod1 prod2"),
        ("exact", json!({"subset_selectors": keys}), json!({"stage": "prod", "version": 2}), "prod2"),
        ("last", json!({"subset_selectors": keys}), json!({"stage": "test", "version": 2}), ""),
        ("number", json!({"subset_selectors": [{"keys": ["version"]}]}), json!({"version": 1}), "prod1"),
        ("text", json!({"subset_selectors": [{"keys": ["version"]}]}), json!({"version": "1"}), "dev1"),
        ("list", list, json!({"tags": "x"}), "prod1 dev1"),
        ("redundant", none, json!({"stage": "dev", "version": 1}), ""),
        ("off", json!({}), json!({"stage": "dev"}), "prod1 prod2 dev1"),
    ];
    on_each(async |program| {
        let config = Config {
            listeners: cases.iter().map(|(name, _, criteria, _)| asking(name, criteria)).collect(),
            clusters: cases
                .iter()
                .map(|(name, subsets, ..)| {
                    let assignment =
                        json!({"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]});
                    with(
                        cluster(name, &[]),
                        json!({"load_assignment": assignment, "lb_subset_config": subsets}),
                    )
                })
                .collect(),
            ..Config::default()
        };
        let proxy = Proxy::start(program, config).await;
        for (name, _, _, wanted) in &cases {
            let at = proxy.address(name).await;
            let mut seen = BTreeSet::new();
            for _ in 0..9 {
                let (status, body) = http(at, "GET", "/", "").await.unwrap();
                seen.insert(if status == 200 { body } else { status.to_string() });
            }
            let mut wanted: BTreeSet<_> = wanted.split_whitespace().map(str::to_owned).collect();
            if wanted.is_empty() {
                wanted.insert("503".to_owned());
            }
            assert_eq!(seen, wanted, "{program:?}: {name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outliers_are_found_by_their_success_rate() {
    let hosts = named(["a", "b", "c", "d", "bad"]).await;
    let all = addresses(&hosts);
    hosts[4].status.store(500, Relaxed);
    on_each(async |program| {
        let detection = json!({
            "enforcing_consecutive_5xx": 0, "interval": "0.3s", "max_ejection_percent": 40,
            "success_rate_minimum_hosts": 5, "success_rate_request_volume": 3,
        });
        let config = entries(vec![with(cluster("c", &all), json!({"outlier_detection": detection}))]);
        let proxy = Proxy::start(program, config).await;
        eventually("the ejection", async || {
            shares(&proxy, "c", 25).await;
            (proxy.stat("cluster.c.outlier_detection.ejections_enforced_success_rate").await == 1)
                .then_some(())
        })
        .await;
        let seen = shares(&proxy, "c", 8).await;
        assert_eq!(seen, ["a", "b", "c", "d"].map(|name| (name.to_owned(), 2)).into(), "{program:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_extensions_too() {
    let hosts = named(["a", "b", "c"]).await;
    let all = addresses(&hosts);
    let typed = |name: &str, fields: Value| {
        let message = name.rsplit_once('.').unwrap().1;
        let url = format!("type.googleapis.com/envoy.extensions.load_balancing_policies.{name}");
        json!({"policies": [{"typed_extension_config": {
            "name": format!("envoy.load_balancing_policies.{message}"),
            "typed_config": with(json!({"@type": url}), fields),
        }}]})
    };
    let weighted = json!({"locality_lb_config": {"locality_weighted_lb_config": {}}});
    let cases = [
        ("round", typed("round_robin.v3.RoundRobin", json!({})), true),
        ("locality", typed("round_robin.v3.RoundRobin", weighted), true),
        ("least", typed("least_request.v3.LeastRequest", json!({"choice_count": 3})), false),
        ("random", typed("random.v3.Random", json!({})), false),
        ("maglev", typed("maglev.v3.Maglev", json!({"table_size": 1009})), false),
        ("ring", typed("ring_hash.v3.RingHash", json!({"minimum_ring_size": 100})), false),
    ];
    on_each(async |program| {
        let clusters = cases.iter().map(|(name, policy, _)| {
            let mut assignment =
                localities(name, &[(0, Some(1), all.iter().map(|at| endpoint(*at)).collect())]);
            assignment["cluster_name"] = json!(name);
            with(cluster(name, &[]), json!({"load_balancing_policy": policy, "load_assignment": assignment}))
        });
        let proxy = Proxy::start(program, entries(clusters.collect())).await;
        for (name, _, in_turn) in &cases {
            let seen = shares(&proxy, name, 60).await;
            let enough = |count: &usize| if *in_turn { *count == 20 } else { *count > 2 };
            assert!(seen.len() == 3 && seen.values().all(enough), "{program:?}: {name}: {seen:?}");
        }
    })
    .await;
}
