//! One bootstrap for both proxies: listeners and clusters from the files of `bootstrap/`, only ports differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portolan_testing::blocking::eventually;

use super::backend::Stage;

const LISTENERS: &str = include_str!("bootstrap/listeners.yaml");
const CLUSTERS: &str = include_str!("bootstrap/clusters.yaml");
const HCM: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
/// Filters of a listener that names none itself; routes say what they do.
const FILTERS: &str = r#"
http_filters:
- {name: cors, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors}}
- {name: fault, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}}
- {name: rbac, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC}}
- {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"#;
/// The line that every request must leave, behind the addresses by which it is found.
const LOG: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% cluster=%UPSTREAM_CLUSTER% \
route=%ROUTE_NAME% %REQ(:METHOD)% %REQ(:PATH)% rx=%BYTES_RECEIVED% tx=%BYTES_SENT%";
const BACKENDS: [&str; 4] = ["a", "b", "shadow", "guard"];

/// A running proxy with its backends.
pub(crate) struct Proxy {
    child: Child,
    admin: u16,
    directory: tempfile::TempDir,
    pub(crate) ports: BTreeMap<String, u16>,
    /// Held so that nobody else gets the port on which nothing listens.
    _dead: socket2::Socket,
}

/// True for a port that nobody in this program got before: lines of the access log are found by ports.
fn is_new(port: u16) -> bool {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    GIVEN.lock().unwrap().insert(port)
}

/// A port to listen on that is free now, below those that the system gives to connections: nobody takes it while the
/// proxy starts. Test programs that run at the same time look in blocks of their own.
fn free_port() -> u16 {
    const BLOCK: u16 = 400;
    let block = u16::try_from(std::process::id() % 50).unwrap_or(0);
    loop {
        let port = 12_000 + block * BLOCK + fastrand::u16(..BLOCK);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && is_new(port) {
            return port;
        }
    }
}

/// Connects from a port of its own.
pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    loop {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        if is_new(socket.local_addr().unwrap().as_socket().unwrap().port()) {
            socket.connect(&to.into()).unwrap();
            return socket.into();
        }
    }
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

/// The sections of a file: `--- name` and what follows.
fn sections(text: &str) -> Vec<(&str, String)> {
    let mut out: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("--- ") {
            out.push((name, String::new()));
        } else if let Some((_, body)) = out.last_mut() {
            body.push_str(line);
            body.push('\n');
        }
    }
    out
}

fn bootstrap(admin: u16, ports: &BTreeMap<String, u16>, log: &Path) -> String {
    let mut listeners = String::new();
    for (name, body) in sections(LISTENERS) {
        let format = body.lines().find_map(|line| line.strip_prefix("# log: ")).unwrap_or(LOG);
        let format = format.replace('\\', "\\\\").replace('"', "\\\"");
        let mut manager = format!(
            "\"@type\": {HCM}\nstat_prefix: {name}\ndelayed_close_timeout: 0.1s\ndrain_timeout: 0.1s\naccess_log:\n- name: file\n  typed_config:\n    \"@type\": \
             type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\n    path: \"{}\"\n    log_format: \
             {{text_format_source: {{inline_string: \"%DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% \
             {format}\\n\"}}}}\n",
            log.display()
        );
        if !body.contains("http_filters:") {
            manager.push_str(FILTERS);
        }
        manager.push_str(&body);
        let _ = write!(
            listeners,
            "- name: {name}\n  enable_reuse_port: false\n  address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}\n  filter_chains:\n  - \
             filters:\n    - name: hcm\n      typed_config:\n{}",
            ports[name],
            indented(&manager, 8)
        );
    }
    let mut clusters = CLUSTERS.to_owned();
    for (name, port) in ports {
        clusters = clusters.replace(
            &format!("${name}"),
            &format!(
                "{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}}}"
            ),
        );
        clusters = clusters.replace(&format!("@{name}@"), &port.to_string());
    }
    format!(
        "node: {{id: node, cluster: edge}}\nadmin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}\n\
         static_resources:\n  listeners:\n{}  clusters:\n{}",
        indented(&listeners, 2),
        indented(&clusters, 2)
    )
}

impl Proxy {
    pub(crate) fn start(program: &str, stage: &Arc<Stage>) -> Proxy {
        let directory = tempfile::tempdir().unwrap();
        let admin = free_port();
        let mut ports = BTreeMap::new();
        for (name, _) in sections(LISTENERS) {
            ports.insert(name.to_owned(), free_port());
        }
        for name in BACKENDS {
            ports.insert(name.to_owned(), stage.open(name).port());
        }
        let dead = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        dead.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        ports.insert("dead".into(), dead.local_addr().unwrap().as_socket().unwrap().port());
        let log = directory.path().join("access.log");
        let file = directory.path().join("bootstrap.yaml");
        std::fs::write(&file, bootstrap(admin, &ports, &log)).unwrap();
        let child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .args(["--concurrency", "1", "-l", "warning", "--disable-hot-restart"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut proxy = Proxy { child, admin, directory, ports, _dead: dead };
        proxy.wait_ready(program);
        proxy
    }

    fn wait_ready(&mut self, program: &str) {
        eventually(&format!("{program} to be ready"), || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{program} ended: {ended:?}");
            self.admin("GET", "/ready")?.starts_with("HTTP/1.1 200").then_some(())
        });
    }

    fn admin(&self, method: &str, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        Some(answer)
    }

    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let port = self.ports.get(listener).unwrap_or_else(|| panic!("no listener {listener}"));
        SocketAddr::from(([127, 0, 0, 1], *port))
    }

    /// Ends the program and returns its access log: the lines of each pair of addresses.
    pub(crate) fn finish(mut self) -> BTreeMap<(String, String), Vec<String>> {
        self.admin("POST", "/quitquitquit");
        eventually("the proxy to end", || self.child.try_wait().unwrap());
        let text = std::fs::read(self.directory.path().join("access.log")).unwrap_or_default();
        let mut lines: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for line in String::from_utf8_lossy(&text).lines() {
            let mut parts = line.splitn(3, ' ');
            let (remote, local) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let rest = parts.next().unwrap_or("").to_owned();
            lines.entry((remote.to_owned(), local.to_owned())).or_default().push(rest);
        }
        lines
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
