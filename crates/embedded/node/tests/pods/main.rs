//! Pods from creation to removal, on the real machine against an API in memory. Needs root; leaves nothing behind.
//!
//! No test harness: this program is also the `pod-init` that it starts, and the server and client that run in the Pods.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod fake;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use fake::Fake;
use futures::StreamExt as _;
use portolan_node::{Config, LogQuery, Node, Plan, network};
use portolan_testing::{PATIENCE, blocking, eventually, in_time};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

const NS: &str = "shop";
/// Seconds of grace that no test waits for.
const LONG_GRACE: i64 = 600;

fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    let text: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    match text.first().map(String::as_str) {
        Some("pod-init") => return portolan_node::pod_init_main(&args[1..]),
        Some("serve") => return serve(&text[1]),
        Some("fetch") => return fetch(&text[1]),
        Some("redirect") => return redirect(&args),
        Some("proxy") => return proxy(),
        Some("crash") => return crash(&text[1], text[2].parse().unwrap()),
        _ => {}
    }
    if let Err(error) = network::check_privilege() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let name = format!("p{}", std::process::id() % 100_000);
    let began = Instant::now();
    let result = std::panic::catch_unwind(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(all(&name));
    });
    // A failed case leaves its node running in threads that are gone with the process; the machine is cleaned in any case.
    network::cleanup(&name).unwrap();
    network::cleanup(&format!("{name}s")).unwrap();
    let crashed =
        result.is_ok() && std::panic::catch_unwind(|| killed_supervisor(&format!("{name}c"))).is_ok();
    network::cleanup(&format!("{name}c")).unwrap();
    let left = leftovers(&name);
    if !left.is_empty() {
        eprintln!("left behind:\n{left}");
    }
    let passed = result.is_ok() && crashed && left.is_empty();
    println!("{} in {:?}", if passed { "ok" } else { "FAILED" }, began.elapsed());
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// --- programs in the Pods

fn serve(port: &str) -> ExitCode {
    let listener = TcpListener::bind(("0.0.0.0", port.parse().unwrap())).unwrap();
    println!("listening on {port}");
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap_or(0);
        let bad = request[..length].starts_with(b"GET /bad");
        let host = std::env::var("HOSTNAME").unwrap_or_default();
        let peer = stream.peer_addr().unwrap().ip();
        let status = if bad { "500 No" } else { "200 OK" };
        let body = format!("{host} saw {peer}");
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
    }
    ExitCode::SUCCESS
}

fn get(address: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(address).map_err(|e| format!("{}: {e}", e.kind()))?;
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").map_err(|e| e.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|e| e.to_string())?;
    Ok(text.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned())
}

fn fetch(address: &str) -> ExitCode {
    let answer = get(address);
    println!("{}", answer.clone().unwrap_or_else(|e| e));
    if answer.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The init container of an injected Pod.
fn redirect(args: &[std::ffi::OsString]) -> ExitCode {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: portolan_redirect::RedirectArgs,
    }
    match portolan_redirect::run(&Program::parse_from(args).args, &mut |text| print!("{text}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// The least of a sidecar: takes captured connections both ways and passes them on to where they were going.
fn proxy() -> ExitCode {
    for port in [15001, 15006] {
        let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut down = stream.unwrap();
                std::thread::spawn(move || {
                    let target =
                        socket2::SockRef::from(&down).original_dst_v4().unwrap().as_socket().unwrap();
                    let inbound = port == 15006;
                    println!("{} {target}", if inbound { "inbound" } else { "outbound" });
                    let target =
                        if inbound { SocketAddr::new([127, 0, 0, 1].into(), target.port()) } else { target };
                    let Ok(mut up) = TcpStream::connect(target) else { return };
                    let mut request = [0; 1024];
                    let length = down.read(&mut request).unwrap_or(0);
                    let _ = up.write_all(&request[..length]);
                    let _ = std::io::copy(&mut up, &mut down);
                });
            }
        });
    }
    loop {
        std::thread::park();
    }
}

// --- the bed

struct Bed {
    fake: Fake,
    node: Node,
    state_dir: PathBuf,
}

async fn start(name: &str, slot: u8, state_dir: PathBuf) -> Bed {
    std::fs::create_dir_all(&state_dir).unwrap();
    let exe = std::env::current_exe().unwrap();
    let images = json!({
        "test/server": { "command": [exe, "serve"], "args": ["8080"] },
        "test/proxy": { "command": [exe] },
        "test/client": { "command": [exe, "fetch"] },
    });
    std::fs::write(state_dir.join("images.json"), images.to_string()).unwrap();
    let plan = Plan::new(name, slot).unwrap();
    let network = tokio::task::spawn_blocking(move || network::setup(&plan)).await.unwrap().unwrap();
    let fake = Fake::default();
    let node = Node::start(Config {
        network,
        state_dir: state_dir.clone(),
        client: fake.client(),
        binaries: exe.parent().unwrap().to_owned(),
        pod_init: vec![exe.into(), "pod-init".into()],
    })
    .await
    .unwrap();
    Bed { fake, node, state_dir }
}

impl Bed {
    fn pod(&self, name: &str, spec: Value) {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": NS, "labels": { "app": name } }, "spec": spec });
        self.fake.put("pods", pod);
    }

    fn status(&self, pod: &str) -> Value {
        self.fake.get("pods", NS, pod).map(|p| p["status"].clone()).unwrap_or_default()
    }

    async fn until(&self, pod: &str, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(pod);
            if test(&status) {
                return status;
            }
            if Instant::now() > deadline {
                let events: Vec<String> = self.events(pod);
                panic!("{pod}: waited for {what}\n{status:#}\n{}", events.join("\n"));
            }
            // The pause between two looks; the panic above shows more than `eventually` could.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn ready(&self, pod: &str) -> Value {
        self.until(pod, "Ready", |s| condition(s, "Ready") == "True").await
    }

    async fn phase(&self, pod: &str, phase: &str) -> Value {
        self.until(pod, phase, |s| s["phase"] == phase).await
    }

    async fn gone(&self, pod: &str) {
        self.until(pod, "removal", Value::is_null).await;
    }

    fn events(&self, pod: &str) -> Vec<String> {
        let all = self.fake.all("events");
        let of = all.iter().filter(|e| e["involvedObject"]["name"] == pod);
        of.map(|e| format!("{} {}", e["reason"].as_str().unwrap(), e["message"].as_str().unwrap())).collect()
    }

    async fn delete(&self, pod: &str, grace: i64) {
        use k8s_openapi::api::core::v1::Pod;
        let api: kube::Api<Pod> = kube::Api::namespaced(self.fake.client(), NS);
        let params = kube::api::DeleteParams::default().grace_period(grace as u32);
        api.delete(pod, &params).await.unwrap();
    }

    async fn log(&self, pod: &str, change: impl FnOnce(&mut LogQuery)) -> String {
        let mut query = LogQuery { namespace: NS.into(), pod: pod.into(), ..LogQuery::default() };
        change(&mut query);
        let mut stream = match self.node.logs().read(query) {
            Ok(stream) => stream,
            Err(error) => return error.to_string(),
        };
        let mut text = Vec::new();
        let read = async {
            while let Some(chunk) = stream.next().await {
                text.extend_from_slice(&chunk.unwrap());
            }
        };
        in_time(read).await;
        String::from_utf8(text).unwrap()
    }

    /// Runs a client Pod to its end and gives its output.
    async fn fetch(&self, name: &str, address: &str) -> String {
        self.pod(name, json!({ "restartPolicy": "Never", "containers": [{ "name": "c", "image": "test/client", "args": [address] }] }));
        self.until(name, "end", |s| s["phase"] == "Succeeded" || s["phase"] == "Failed").await;
        self.log(name, |_| {}).await.trim().to_owned()
    }

    /// Runs client Pods until one prints what is expected: Services and names take effect a moment after their objects.
    async fn fetch_until(&self, name: &str, address: &str, expected: &str) {
        let deadline = Instant::now() + PATIENCE;
        for attempt in 0.. {
            let answer = self.fetch(&format!("{name}-{attempt}"), address).await;
            if answer.contains(expected) {
                return;
            }
            assert!(Instant::now() < deadline, "{address}: {answer}, not {expected}");
        }
    }

    async fn until_event(&self, pod: &str, text: &str) {
        self.until(pod, text, |_| self.events(pod).iter().any(|event| event.contains(text))).await;
    }

    async fn until_log(&self, pod: &str, text: &str) {
        eventually(&format!("{text} in the log of {pod}"), async || {
            self.log(pod, |_| {}).await.contains(text).then_some(())
        })
        .await;
    }

    fn service(&self, name: &str, spec: Value, endpoints: &[String]) {
        let mut spec = spec;
        if spec["ports"].is_null() {
            spec["ports"] = json!([{ "name": "http", "port": 80, "targetPort": 8080 }]);
        }
        self.fake.put("services", json!({ "metadata": { "name": name, "namespace": NS }, "spec": spec }));
        let endpoints: Vec<Value> = endpoints.iter().map(|a| json!({ "addresses": [a] })).collect();
        self.fake.put("endpointslices", json!({
            "metadata": { "name": format!("{name}-1"), "namespace": NS, "labels": { "kubernetes.io/service-name": name } },
            "addressType": "IPv4", "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }], "endpoints": endpoints }));
    }
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a str {
    let all = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|c| c["type"] == kind).and_then(|c| c["status"].as_str()).unwrap_or_default()
}

/// Namespaces, links, mounts and processes of a cluster.
fn leftovers(name: &str) -> String {
    let ip = |args: &[&str]| {
        let output = Command::new("ip").args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(format!("{}\n", String::from_utf8_lossy(&words).replace('\0', " ")))
    });
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let all = [ip(&["netns"]), ip(&["-o", "link"]), mounts, processes.collect()].concat();
    let wanted = |l: &&str| l.contains(&format!("ptl-{name}")) || l.contains(&format!("ptl-pods-{name}"));
    all.lines().filter(wanted).map(|l| format!("{l}\n")).collect()
}

fn state_dir(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("ptl-pods-{name}"))
}

async fn all(name: &str) {
    let bed = start(name, network::free_slot().unwrap(), state_dir(name)).await;
    let began = Instant::now();
    environment_and_volumes(&bed).await;
    println!("environment and volumes: {:?}", began.elapsed());
    services_and_names(&bed).await;
    println!("services and names: {:?}", began.elapsed());
    ends_and_restarts(&bed).await;
    println!("ends and restarts: {:?}", began.elapsed());
    probes(&bed).await;
    println!("probes: {:?}", began.elapsed());
    images(&bed).await;
    println!("images: {:?}", began.elapsed());
    termination(&bed).await;
    shortened_termination(&bed).await;
    println!("termination: {:?}", began.elapsed());
    sidecar(&bed).await;
    println!("sidecar: {:?}", began.elapsed());
    second_cluster(&bed, &format!("{name}s")).await;
    println!("second cluster: {:?}", began.elapsed());
    let node = &bed.fake.all("nodes")[0];
    assert_eq!(node["metadata"]["name"], format!("ptl-{name}"));
    assert_eq!(condition(&node["status"], "Ready"), "True");

    let began = Instant::now();
    bed.node.shutdown().await.unwrap();
    println!("shutdown: {:?}", began.elapsed());
    std::fs::remove_dir_all(bed.state_dir).unwrap();
}

async fn environment_and_volumes(bed: &Bed) {
    bed.fake.put(
        "configmaps",
        json!({ "metadata": { "name": "conf", "namespace": NS }, "data": { "key": "v1", "other": "x" } }),
    );
    bed.fake.put(
        "secrets",
        json!({ "metadata": { "name": "sec", "namespace": NS }, "data": { "password": "aHVudGVyMg==" } }),
    );
    let env = json!([
        { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        { "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
        { "name": "APP", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['app']" } } },
        { "name": "KEY", "valueFrom": { "configMapKeyRef": { "name": "conf", "key": "key" } } },
        { "name": "PASSWORD", "valueFrom": { "secretKeyRef": { "name": "sec", "key": "password" } } },
        { "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu" } } },
        { "name": "BOTH", "value": "$(POD)/$(KEY) $$(POD)" },
    ]);
    let script = "echo $POD $IP $APP $KEY $PASSWORD $CPU $BOTH \"$0\"; cat /shared/from-init; id -u; \
        cat /var/run/secrets/kubernetes.io/serviceaccount/token; echo; cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; \
        cat /var/run/secrets/tokens/istio-token; echo; cat /etc/podinfo/labels; echo; cat /conf/renamed; echo; cat /one; echo; \
        grep -c svc.cluster.local /etc/resolv.conf; echo oops >&2; \
        while [ \"$(cat /conf/renamed)\" = v1 ]; do sleep 0.05; done; cat /conf/renamed; echo; exec sleep 1000";
    bed.pod("env", json!({
        "securityContext": { "runAsUser": 1234 },
        "initContainers": [{ "name": "first", "image": "none", "command": ["sh", "-c", "echo init ran > /shared/from-init"],
            "volumeMounts": [{ "name": "shared", "mountPath": "/shared" }] }],
        "containers": [{ "name": "main", "image": "none", "command": ["sh", "-c", script, "arg-$(KEY)"], "env": env,
            "resources": { "limits": { "cpu": "1500m" } },
            "volumeMounts": [
                { "name": "shared", "mountPath": "/shared" }, { "name": "conf", "mountPath": "/conf" },
                { "name": "token", "mountPath": "/var/run/secrets/tokens" }, { "name": "podinfo", "mountPath": "/etc/podinfo" },
                { "name": "conf", "mountPath": "/one", "subPath": "renamed" } ] }],
        "volumes": [
            { "name": "shared", "emptyDir": {} },
            { "name": "conf", "configMap": { "name": "conf", "items": [{ "key": "key", "path": "renamed" }] } },
            { "name": "token", "projected": { "sources": [{ "serviceAccountToken": { "path": "istio-token", "audience": "istio-ca" } }] } },
            { "name": "podinfo", "downwardAPI": { "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } },
        ]
    }));
    let status = bed.ready("env").await;
    let ip = status["podIP"].as_str().unwrap().to_owned();
    assert_eq!(status["qosClass"], "Burstable");
    assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    assert_eq!(condition(&status, "Initialized"), "True");
    let printed = async |end: &str| {
        eventually(&format!("the container to print {end}"), async || {
            let text = bed.log("env", |q| q.container = Some("main".into())).await;
            text.lines().any(|line| line == end).then_some(text)
        })
        .await
    };
    // Ready says that the container runs, not how far it is: it reads the old value first.
    printed("oops").await;
    bed.fake.put(
        "configmaps",
        json!({ "metadata": { "name": "conf", "namespace": NS }, "data": { "key": "v2" } }),
    );
    let expected = format!(
        "env {ip} env v1 hunter2 2 env/v1 $(POD) arg-v1\ninit ran\n1234\ntoken-of-default\n{NS}\ntoken-of-default\napp=\"env\"\nv1\nv1\n1\noops\nv2\n"
    );
    // The two streams are not ordered against each other.
    let sort = |t: &str| {
        let mut lines: Vec<String> = t.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sort(&printed("v2").await), sort(&expected));
    assert_eq!(
        bed.log("env", |q| {
            q.container = Some("main".into());
            q.tail_lines = Some(1);
        })
        .await,
        "v2\n"
    );
    assert!(bed.log("env", |_| {}).await.contains("choose one of: [first main]"));
    let stamped = bed
        .log("env", |q| {
            q.container = Some("main".into());
            q.timestamps = true;
            q.tail_lines = Some(1);
        })
        .await;
    assert!(stamped.contains("Z v2"), "{stamped}");
    for reason in ["Scheduled", "Pulled", "Created", "Started"] {
        bed.until_event("env", reason).await;
    }
    bed.delete("env", 1).await;
    bed.gone("env").await;
}

async fn services_and_names(bed: &Bed) {
    bed.pod("web", json!({ "containers": [{ "name": "web", "image": "test/server:latest" }] }));
    bed.pod(
        "web2",
        json!({ "hostname": "second", "containers": [{ "name": "web", "image": "test/server" }] }),
    );
    let web = bed.ready("web").await["podIP"].as_str().unwrap().to_owned();
    let web2 = bed.ready("web2").await["podIP"].as_str().unwrap().to_owned();
    let octet = bed.node.network().plan().service_cidr();
    let base = octet.strip_suffix("0.0/16").unwrap();
    bed.service("web", json!({ "clusterIP": format!("{base}0.50") }), std::slice::from_ref(&web));
    bed.service(
        "both",
        json!({ "clusterIP": format!("{base}0.51"), "type": "LoadBalancer" }),
        &[web.clone(), web2.clone()],
    );
    bed.service("empty", json!({ "clusterIP": format!("{base}0.52") }), &[]);
    bed.service("direct", json!({ "clusterIP": "None" }), std::slice::from_ref(&web2));
    bed.fake.put(
        "configmaps",
        json!({ "metadata": { "name": "portolan-dns", "namespace": "istio-system" },
        "data": { "hosts": format!("{web} web.outside.test\n") } }),
    );
    // Refused, which is at once, and not dropped: that would be a timeout.
    for (n, (address, expected)) in [
        ("web:80", "web saw"),
        ("web.shop.svc.cluster.local:80", "web saw"),
        ("direct:8080", "second saw"),
        ("web.outside.test:8080", "web saw"),
        ("empty:80", "connection refused"),
        ("nobody:80", "Name or service not known"),
        (&format!("{base}9.9:80"), "connection refused"),
        ("240.241.0.1:80", "connection refused"),
        ("kubernetes.default.svc:443", "Name or service not known"),
    ]
    .into_iter()
    .enumerate()
    {
        bed.fetch_until(&format!("client-{n}"), address, expected).await;
    }
    // A Pod that calls itself through its Service: the hairpin is masqueraded.
    bed.pod("self", json!({ "containers": [{ "name": "c", "image": "test/server" }] }));
    let own = bed.ready("self").await["podIP"].as_str().unwrap().to_owned();
    bed.service("self", json!({ "clusterIP": format!("{base}0.60") }), std::slice::from_ref(&own));
    let uid = bed.fake.get("pods", NS, "self").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let inside = network::NetnsHandle::enter(&bed.node.network().plan().pod_netns(&uid)).unwrap();
    let target = format!("{base}0.60:80");
    let expected = format!("self saw {}", bed.node.network().plan().node_address());
    eventually(&expected, async || {
        let target = target.clone();
        let answer = inside.run(move || get(&target)).await.unwrap();
        (answer.as_ref() == Ok(&expected)).then_some(())
    })
    .await;

    // The LoadBalancer address, from the machine.
    let lb =
        bed.fake.get("services", NS, "both").unwrap()["status"]["loadBalancer"]["ingress"][0]["ip"].clone();
    let lb: SocketAddr = format!("{}:80", lb.as_str().unwrap()).parse().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let answer = tokio::task::spawn_blocking(move || get(&lb.to_string())).await.unwrap().unwrap();
        seen.insert(answer.split(' ').next().unwrap().to_owned());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["second", "web"]);
    let closed = SocketAddr::new(lb.ip(), 81);
    let refused = tokio::task::spawn_blocking(move || get(&closed.to_string())).await.unwrap();
    assert!(refused.as_ref().is_err_and(|why| why.starts_with("connection refused")), "{refused:?}");
}

async fn ends_and_restarts(bed: &Bed) {
    let one = |policy: &str, script: &str| json!({ "restartPolicy": policy, "containers": [{ "name": "c", "image": "x", "command": ["sh", "-c", script] }] });
    bed.pod("good", one("Never", "echo done"));
    bed.pod("bad", one("Never", "exit 3"));
    bed.pod("loop", one("Always", "echo try $(date +%N); exit 1"));
    bed.pod("retry", one("OnFailure", "kill -9 $$$$"));
    bed.pod(
        "init-bad",
        json!({ "restartPolicy": "Never",
        "initContainers": [{ "name": "i", "image": "x", "command": ["false"] }],
        "containers": [{ "name": "c", "image": "x", "command": ["true"] }] }),
    );
    bed.pod("no-program", one("Never", "true"));
    let status = bed.phase("good", "Succeeded").await;
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    let status = bed.phase("bad", "Failed").await;
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["exitCode"], 3);
    let status = bed
        .until("loop", "CrashLoopBackOff", |s| {
            s["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    let container = &status["containerStatuses"][0];
    assert_eq!(
        (&container["restartCount"], &container["lastState"]["terminated"]["exitCode"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(status["phase"], "Running");
    let (now, before) = (bed.log("loop", |_| {}).await, bed.log("loop", |q| q.previous = true).await);
    assert!(now.starts_with("try") && before.starts_with("try") && now != before, "{now} {before}");
    let status = bed
        .until("retry", "signal", |s| s["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137)
        .await;
    assert_eq!(status["phase"], "Running");
    let status = bed.phase("init-bad", "Failed").await;
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    for pod in ["good", "bad", "loop", "retry", "init-bad"] {
        bed.delete(pod, 1).await;
        bed.gone(pod).await;
    }
}

async fn probes(bed: &Bed) {
    let get = |path: &str| json!({ "httpGet": { "path": path, "port": "http" }, "periodSeconds": 1, "failureThreshold": 1 });
    let exec = |script: &str| json!({ "exec": { "command": ["sh", "-c", script] }, "periodSeconds": 1, "failureThreshold": 2 });
    let server = |probes: Value| {
        let mut container = json!({ "name": "c", "image": "test/server", "ports": [{ "name": "http", "containerPort": 8080 }],
            "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
        container.as_object_mut().unwrap().extend(probes.as_object().unwrap().clone());
        json!({ "containers": [container], "volumes": [{ "name": "v", "emptyDir": {} }] })
    };
    bed.pod(
        "probe-ok",
        server(json!({ "readinessProbe": get("/"), "livenessProbe": { "tcpSocket": { "port": 8080 } },
        "startupProbe": exec("test $HOSTNAME = probe-ok") })),
    );
    bed.pod("probe-bad", server(json!({ "readinessProbe": get("/bad") })));
    bed.pod("probe-dead", server(json!({ "livenessProbe": exec("echo sick; false") })));
    bed.ready("probe-ok").await;
    let status =
        bed.until("probe-dead", "a restart", |s| s["containerStatuses"][0]["restartCount"] == 1).await;
    assert_eq!(status["phase"], "Running");
    bed.until_event("probe-dead", "Liveness probe failed: command exited with 1: sick").await;
    bed.until_event("probe-dead", "failed liveness probe, will be restarted").await;
    // Before it answers it cannot be connected to, which is another reason.
    bed.until_event("probe-bad", "statuscode: 500").await;
    let status = bed.status("probe-bad");
    assert_eq!((condition(&status, "Ready"), &status["phase"]), ("False", &json!("Running")));
    for pod in ["probe-ok", "probe-bad", "probe-dead"] {
        bed.delete(pod, 1).await;
        bed.gone(pod).await;
    }
}

async fn images(bed: &Bed) {
    bed.pod("unknown", json!({ "containers": [{ "name": "c", "image": "example.com/mine:1" }] }));
    let waiting = |s: &Value| s["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff";
    let status = bed.until("unknown", "ImagePullBackOff", waiting).await;
    let message = status["containerStatuses"][0]["state"]["waiting"]["message"].as_str().unwrap();
    assert!(message.contains("images.json") && message.contains("kube-system/portolan-images"), "{message}");
    bed.fake.put(
        "configmaps",
        json!({ "metadata": { "name": "portolan-images", "namespace": "kube-system" },
        "data": { "images.json": r#"{"example.com/mine":{"command":["sleep","100"],"user":4242}}"# } }),
    );
    bed.ready("unknown").await;
    bed.pod(
        "late-config",
        json!({ "containers": [{ "name": "c", "image": "x", "command": ["sleep", "9"],
        "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "late", "key": "k" } } }] }] }),
    );
    let waiting =
        |s: &Value| s["containerStatuses"][0]["state"]["waiting"]["reason"] == "CreateContainerConfigError";
    bed.until("late-config", "CreateContainerConfigError", waiting).await;
    bed.fake
        .put("secrets", json!({ "metadata": { "name": "late", "namespace": NS }, "data": { "k": "eA==" } }));
    bed.ready("late-config").await;
    bed.pod(
        "late-volume",
        json!({ "containers": [{ "name": "c", "image": "x", "command": ["sleep", "9"] }],
        "volumes": [{ "name": "v", "configMap": { "name": "late" } }, { "name": "w", "emptyDir": {} }] }),
    );
    bed.until_event("late-volume", "configmap \"late\" not found").await;
    bed.fake.put("configmaps", json!({ "metadata": { "name": "late", "namespace": NS }, "data": {} }));
    bed.ready("late-volume").await;
    bed.pod(
        "host",
        json!({ "containers": [{ "name": "c", "image": "x", "command": ["sleep", "9"] }],
        "volumes": [{ "name": "v", "hostPath": { "path": "/" } }] }),
    );
    bed.until_event("host", "volume type not supported").await;
    for pod in ["unknown", "late-config", "late-volume", "host"] {
        bed.delete(pod, 0).await;
        bed.gone(pod).await;
    }
}

async fn termination(bed: &Bed) {
    let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    bed.pod(
        "polite",
        json!({ "containers": [{ "name": "c", "image": "x", "command": ["sh", "-c", script] }] }),
    );
    let stubborn = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    bed.pod(
        "stubborn",
        json!({ "containers": [{ "name": "c", "image": "x", "command": ["sh", "-c", stubborn],
        "lifecycle": { "preStop": { "exec": { "command": ["sh", "-c", "echo stopping >/dev/null"] } } } }] }),
    );
    bed.ready("polite").await;
    bed.ready("stubborn").await;
    bed.until_log("polite", "up").await;
    bed.until_log("stubborn", "up").await;
    let follow = bed.log("polite", |q| q.follow = true);
    // Who ends when asked to is not waited for longer: the grace is far beyond our patience.
    let (log, ()) = tokio::join!(follow, bed.delete("polite", LONG_GRACE));
    assert_eq!(log, "up\nbye\n");
    bed.gone("polite").await;
    let began = Instant::now();
    bed.delete("stubborn", 1).await;
    bed.gone("stubborn").await;
    assert!(began.elapsed() >= Duration::from_secs(1), "it was killed before its grace was over");
    bed.until_event("stubborn", "Killing Stopping container c").await;
}

/// A shorter grace that comes while a preStop hook runs ends the hook.
async fn shortened_termination(bed: &Bed) {
    let hook = json!({ "preStop": { "exec": { "command": ["sh", "-c", "touch /v/stopping; sleep 1000"] } } });
    let script = "while [ ! -e /v/stopping ]; do sleep 0.05; done; echo stopping; exec sleep 1000";
    bed.pod(
        "hooked",
        json!({ "containers": [{ "name": "c", "image": "x", "command": ["sh", "-c", script], "lifecycle": hook,
            "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }], "volumes": [{ "name": "v", "emptyDir": {} }] }),
    );
    bed.ready("hooked").await;
    bed.delete("hooked", LONG_GRACE).await;
    bed.until_log("hooked", "stopping").await;
    bed.delete("hooked", 1).await;
    bed.gone("hooked").await;
}

/// Init container that captures, a proxy, and a client that knows nothing of it.
async fn sidecar(bed: &Bed) {
    let injected = |app: Value| {
        json!({ "restartPolicy": "Never",
            "initContainers": [{ "name": "istio-init", "image": "test/proxy",
                "args": ["redirect", "-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-x", "", "-b", "*",
                    "-d", "15090,15021,15020", "--run-validation"],
                "securityContext": { "runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": false, "readOnlyRootFilesystem": false,
                    "allowPrivilegeEscalation": false, "capabilities": { "add": ["NET_ADMIN", "NET_RAW"], "drop": ["ALL"] } } }],
            "containers": [
                { "name": "istio-proxy", "image": "test/proxy", "args": ["proxy"],
                    "readinessProbe": { "tcpSocket": { "port": 15006 } },
                    "lifecycle": { "postStart": { "exec": { "command": ["sleep", "0.1"] } } },
                    "securityContext": { "runAsUser": 1337, "runAsGroup": 1337, "readOnlyRootFilesystem": true,
                        "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } } },
                app ] })
    };
    bed.pod("captured-server", injected(json!({ "name": "app", "image": "test/server" })));
    let server = bed.ready("captured-server").await["podIP"].as_str().unwrap().to_owned();
    let app = json!({ "name": "app", "image": "test/client", "args": [format!("{server}:8080")] });
    bed.pod("captured-client", injected(app));
    let ended = |s: &Value| s["containerStatuses"][1]["state"]["terminated"]["exitCode"] == 0;
    bed.until("captured-client", "the client's end", ended).await;
    let log = async |pod: &str, container: &str| bed.log(pod, |q| q.container = Some(container.into())).await;
    assert!(log("captured-client", "istio-init").await.contains("traffic capture validated"));
    assert!(log("captured-client", "istio-proxy").await.contains(&format!("outbound {server}:8080\n")));
    assert!(log("captured-server", "istio-proxy").await.contains(&format!("inbound {server}:8080\n")));
    assert!(log("captured-client", "app").await.starts_with("captured-server saw 127.0.0.1"));
    for pod in ["captured-client", "captured-server"] {
        bed.delete(pod, 1).await;
        bed.gone(pod).await;
    }
}

/// Two clusters on one machine meet at LoadBalancer addresses and nowhere else.
async fn second_cluster(bed: &Bed, name: &str) {
    let other = start(name, network::free_slot().unwrap(), state_dir(name)).await;
    let (here, there) = (bed.node.network(), other.node.network());
    let ip = bed.status("web")["podIP"].as_str().unwrap().to_owned();
    let lb =
        bed.fake.get("services", NS, "both").unwrap()["status"]["loadBalancer"]["ingress"][0]["ip"].clone();
    let lb = lb.as_str().unwrap().to_owned();
    let answer = other.fetch("over", &format!("{lb}:80")).await;
    assert!(answer.contains(&format!("saw {}", there.plan().node_address())), "{answer}");
    // Even with a route, neither Pods nor the node's own ports can be reached from the other cluster.
    let node = here.plan().node_address();
    let _listener = here.handle().listen_tcp(here.plan().api_address()).unwrap();
    let handle = there.handle().clone();
    let route = format!("route add {ip}/32 via {node}");
    handle.run(move || Command::new("ip").args(route.split(' ')).status()).await.unwrap().unwrap();
    for target in [format!("{ip}:8080"), here.plan().api_address().to_string()] {
        let target: SocketAddr = target.parse().unwrap();
        let knock = move || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&target.into());
            socket
        };
        let knocking = there.handle().run(knock).await.unwrap();
        // Who came later and may come in has come in: who knocked before would be in too.
        in_time(there.handle().connect(format!("{lb}:80").parse().unwrap())).await.unwrap();
        assert!(knocking.peer_addr().is_err(), "{target} was reached");
    }
    other.node.shutdown().await.unwrap();
    std::fs::remove_dir_all(other.state_dir).unwrap();
    assert!(
        std::path::Path::new("/sys/class/net/ptl-link").exists(),
        "the first cluster still needs the link"
    );
}

// --- kill -9 of the supervisor

fn crash(name: &str, slot: u8) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let bed = start(name, slot, state_dir(name)).await;
        bed.pod("web", json!({ "containers": [{ "name": "web", "image": "test/server" }] }));
        bed.ready("web").await;
        println!("ready");
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

fn killed_supervisor(name: &str) {
    let slot = network::free_slot().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["crash", name, &slot.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 6];
    child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    assert_eq!(&line, b"ready\n");
    child.kill().unwrap();
    child.wait().unwrap();
    blocking::eventually("the containers to end with the supervisor", || {
        let script = format!("for n in $(ip netns | grep -o 'ptl-{name}[^ ]*'); do ip netns pids $n; done");
        let processes = Command::new("sh").args(["-c", &script]).output().unwrap();
        processes.stdout.is_empty().then_some(())
    });
    assert!(leftovers(name).contains(&format!("ptl-{name}")), "the namespaces are still there");
    network::cleanup(name).unwrap();
    std::fs::remove_dir_all(state_dir(name)).unwrap();
    println!("a killed supervisor leaves nothing that cleanup does not remove");
}
