//! `portolan-proxy -c FILE`: static configuration, configuration in files, and the command line around it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking: that is how it reports")]

mod support;

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;

use portolan_testing::needs;
use support::{eventually, free_port, http};
use tokio::process::{Child, Command};

fn proxy(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan-proxy"));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn start(program: &OsStr, directory: &Path, bootstrap: &str) -> Child {
    let file = directory.join("bootstrap.yaml");
    std::fs::write(&file, bootstrap).unwrap();
    let arguments =
        ["-c", file.to_str().unwrap(), "--concurrency", "1", "-l", "info", "--disable-hot-restart"];
    Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap()
}

/// Replaces a file in one step, the way that Envoy notices.
fn replace(file: &str, text: &str) {
    let new = format!("{file}.new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// HTTP connection manager in YAML with its routes as given, indented for a list of filters.
fn manager(routes: &str) -> String {
    format!(
        r#"
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: in
        http_filters:
        - name: envoy.filters.http.router
          typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
        {routes}"#
    )
}

/// Answers every request on a port with a text of a few bytes.
async fn app(port: u16, text: &'static str) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let socket = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
}

async fn body(port: u16, path: &str) -> Option<(u16, String)> {
    http("GET", &format!("127.0.0.1:{port}"), path).await
}

#[tokio::test]
async fn static_and_file_configuration_serve_traffic() {
    serve_traffic(OsStr::new(env!("CARGO_BIN_EXE_portolan-proxy"))).await;
}

/// The same files make Envoy do the same.
#[tokio::test]
async fn envoy_serves_the_same() {
    if let Some(envoy) = needs::envoy() {
        serve_traffic(envoy.as_os_str()).await;
    }
}

async fn serve_traffic(program: &OsStr) {
    let directory = tempfile::tempdir().unwrap();
    let (admin, fixed, dynamic, backend) = (free_port(), free_port(), free_port(), free_port());
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(at("rds.yaml"), routes_file("one")).unwrap();
    std::fs::write(at("cds.yaml"), clusters_file(&at("eds.yaml"))).unwrap();
    std::fs::write(at("eds.yaml"), endpoints_file(backend)).unwrap();
    let filters = manager(&format!(
        r#"rds: {{route_config_name: r, config_source: {{path_config_source: {{path: "{}"}}}}}}"#,
        at("rds.yaml")
    ));
    let lds = format!(
        r#"
resources:
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: dynamic
  address: {{socket_address: {{address: 127.0.0.1, port_value: {dynamic}}}}}
  filter_chains:
  - filters:{filters}
"#
    );
    std::fs::write(at("lds.yaml"), lds).unwrap();
    let inline = manager(
        r#"route_config:
          name: inline
          validate_clusters: false
          virtual_hosts:
          - name: all
            domains: ["*"]
            routes:
            - match: {prefix: /backend}
              route: {cluster: backend}
            - match: {prefix: /}
              direct_response: {status: 200, body: {inline_string: fixed}}"#,
    );
    let bootstrap = format!(
        r#"
node: {{id: node-1, cluster: edge}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
dynamic_resources:
  cds_config: {{path_config_source: {{path: "{cds}"}}}}
  lds_config: {{path_config_source: {{path: "{lds}"}}}}
static_resources:
  listeners:
  - name: fixed
    address: {{socket_address: {{address: 127.0.0.1, port_value: {fixed}}}}}
    filter_chains:
    - filters:{inline}
"#,
        cds = at("cds.yaml"),
        lds = at("lds.yaml"),
        inline = inline.replace("\n    ", "\n      "),
    );
    let mut child = start(program, directory.path(), &bootstrap);
    let admin = format!("127.0.0.1:{admin}");
    eventually("the proxy to be live", async || {
        http("GET", &admin, "/ready").await.filter(|(s, _)| *s == 200)
    })
    .await;
    assert_eq!(body(fixed, "/").await.unwrap(), (200, "fixed".into()));
    assert_eq!(body(dynamic, "/").await.unwrap(), (200, "one".into()));

    // The cluster of one file has its endpoints in another.
    app(backend, "app").await;
    assert_eq!(body(fixed, "/backend").await.unwrap(), (200, "app".into()));

    // A file that changes is read again; one that is broken changes nothing.
    replace(&at("rds.yaml"), &routes_file("two"));
    eventually("the changed route", async || body(dynamic, "/").await.filter(|(_, b)| b == "two")).await;
    replace(&at("rds.yaml"), "resources: [");
    replace(&at("lds.yaml"), "{");
    // What was written after them is in force, twice: they were looked at in between.
    let other = free_port();
    app(other, "other").await;
    for (port, text) in [(other, "other"), (backend, "app")] {
        replace(&at("eds.yaml"), &endpoints_file(port));
        eventually("the changed endpoints", async || {
            body(fixed, "/backend").await.filter(|(_, body)| body == text)
        })
        .await;
    }
    assert_eq!(body(dynamic, "/").await.unwrap(), (200, "two".into()));

    let (_, dump) = http("GET", &admin, "/config_dump?include_eds").await.unwrap();
    let dump: serde_json::Value = serde_json::from_str(&dump).unwrap();
    let text = dump.to_string();
    for name in ["\"fixed\"", "\"dynamic\"", "\"inline\"", "\"backend\"", "EndpointsConfigDump"] {
        assert!(text.contains(name), "{name} is missing in {dump:#}");
    }
    let (_, listeners) = http("GET", &admin, "/listeners").await.unwrap();
    assert!(listeners.contains(&format!("fixed::127.0.0.1:{fixed}")), "{listeners}");
    let (_, clusters) = http("GET", &admin, "/clusters").await.unwrap();
    assert!(clusters.contains(&format!("backend::127.0.0.1:{backend}::health_flags::healthy")), "{clusters}");
    for (path, message) in [
        ("/config_dump?include_eds", "ConfigDump"),
        ("/clusters?format=json", "Clusters"),
        ("/listeners?format=json", "Listeners"),
        ("/server_info", "ServerInfo"),
        ("/memory", "Memory"),
        ("/certs", "Certificates"),
        ("/init_dump", "UnreadyTargetsDumps"),
    ] {
        let (status, body) = http("GET", &admin, path).await.unwrap();
        assert_eq!(status, 200, "{path}: {body}");
        let json: serde_json::Value =
            serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"));
        let json = if path == "/server_info" { without_private_options(json) } else { json };
        portolan_xds::json::from_json(&format!("envoy.admin.v3.{message}"), &json)
            .unwrap_or_else(|error| panic!("{path}: {error}: {json:#}"));
    }
    let (_, stats) = http("GET", &admin, "/stats").await.unwrap();
    for line in [
        "server.live: 1",
        "server.state: 0",
        "listener_manager.workers_started: 1",
        "cluster_manager.active_clusters: 1",
    ] {
        assert!(stats.lines().any(|l| l == line), "{line} is missing in\n{stats}");
    }
    let (_, stats) = http("GET", &admin, "/stats/prometheus").await.unwrap();
    for family in ["envoy_server_live", "envoy_cluster_upstream_rq_total", "envoy_http_downstream_rq_total"] {
        assert!(stats.contains(&format!("# TYPE {family} ")), "{family} is missing in\n{stats}");
    }
    for (method, path, status) in [
        ("GET", "/quitquitquit", 405),
        ("GET", "/nothing", 404),
        ("GET", "/help", 200),
        ("POST", "/logging?level=warning", 200),
        ("GET", "/hot_restart_version", 200),
        ("GET", "/stats?filter=(", 400),
        ("GET", "/config_dump?resource=dynamic_listeners", 200),
        ("GET", "/config_dump?resource=nothing", 404),
        ("POST", "/healthcheck/fail", 200),
        ("POST", "/healthcheck/ok", 200),
    ] {
        let (got, body) = http(method, &admin, path).await.unwrap();
        assert_eq!(got, status, "{method} {path}: {body}");
    }
    assert_eq!(http("POST", &admin, "/quitquitquit").await.unwrap().0, 200);
    let ended = tokio::time::timeout(support::PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(ended.success());
}

/// Options that a build has in addition to the published message are not compared.
fn without_private_options(mut info: serde_json::Value) -> serde_json::Value {
    if let Some(map) = info.as_object_mut() {
        map.remove("command_line_options");
    }
    info
}

fn routes_file(text: &str) -> String {
    format!(
        r#"
resources:
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: r
  virtual_hosts:
  - name: all
    domains: ["*"]
    routes:
    - match: {{prefix: /}}
      direct_response: {{status: 200, body: {{inline_string: {text}}}}}
"#
    )
}

fn clusters_file(eds: &str) -> String {
    format!(
        r#"
resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: backend
  type: EDS
  connect_timeout: 1s
  eds_cluster_config: {{eds_config: {{path_config_source: {{path: "{eds}"}}}}}}
"#
    )
}

fn endpoints_file(port: u16) -> String {
    format!(
        r#"
resources:
- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: backend
  endpoints:
  - lb_endpoints:
    - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"#
    )
}

#[tokio::test]
async fn the_command_line_explains_itself() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("bad.yaml");
    std::fs::write(&file, "static_resources: {clusters: [{nome: x}]}").unwrap();
    let file = file.to_str().unwrap();
    for (arguments, success, text) in [
        (vec!["version"], true, "portolan-proxy "),
        (vec!["-c", "/nowhere/b.yaml"], false, "cannot read /nowhere/b.yaml"),
        (vec!["-c", file, "--mode", "validate"], false, "nome"),
        (vec!["--mode", "validate", "--config-yaml", "node: {id: x}"], true, "configuration OK"),
        (vec!["proxy", "sidecar"], false, "POD_NAMESPACE is not set"),
        (vec!["wait", "--timeoutSeconds", "0", "--url", "http://127.0.0.1:1/"], false, "not ready"),
        (vec!["request", "GET", "ready", "--debug-port", "1"], false, "cannot connect to 127.0.0.1:1"),
        (vec!["redirect", "-n", "-i", "*", "-b", "*"], true, "15006"),
    ] {
        let output = proxy(&arguments).env_remove("POD_NAMESPACE").output().await.unwrap();
        let all =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.success(), success, "{arguments:?}: {all}");
        assert!(all.contains(text), "{arguments:?}: {all}");
    }
}

#[tokio::test]
async fn json_access_log() {
    log_as_json(OsStr::new(env!("CARGO_BIN_EXE_portolan-proxy"))).await;
}

/// Envoy writes the same values for the same format.
#[tokio::test]
async fn envoy_logs_the_same_json() {
    if let Some(envoy) = needs::envoy() {
        log_as_json(envoy.as_os_str()).await;
    }
}

async fn log_as_json(program: &OsStr) {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");
    let (admin, port) = (free_port(), free_port());
    let routes = format!(
        r#"access_log:
        - name: envoy.access_loggers.file
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
            path: "{log}"
            log_format:
              json_format:
                method: "%REQ(:METHOD)%"
                code: "%RESPONSE_CODE%"
                absent: "%REQ(X-ABSENT)%"
                quoted: "%REQ(:METHOD)% \"%REQ(X-ABSENT)%\" %RESPONSE_CODE%"
                literal: "a \"b\" \\ c"
                short: "%REQ(:PATH):5%"
                nested: {{protocol: "%PROTOCOL%", list: ["%RESPONSE_CODE%", "%REQ(X-ABSENT)%", x]}}
                local: "%DOWNSTREAM_LOCAL_ADDRESS%"
                remote: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
                upstream: "%UPSTREAM_HOST%"
        route_config:
          virtual_hosts:
          - name: all
            domains: ["*"]
            routes:
            - match: {{prefix: /}}
              direct_response: {{status: 200, body: {{inline_string: x}}}}"#,
        log = log.display(),
    );
    let bootstrap = format!(
        r#"
node: {{id: node-1, cluster: edge}}
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - name: logged
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:{manager}
"#,
        manager = manager(&routes).replace("\n    ", "\n      "),
    );
    let _child = start(program, directory.path(), &bootstrap);
    let answer = eventually("an answer", async || body(port, "/products").await).await;
    assert_eq!(answer, (200, "x".into()));
    // Envoy's own interval of writing is ten seconds.
    let line = eventually("a line in the log", async || {
        std::fs::read_to_string(&log).ok()?.lines().next().map(str::to_owned)
    })
    .await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let expected = serde_json::json!({
        "method": "GET",
        "code": 200,
        "absent": null,
        "quoted": "GET \"-\" 200",
        "literal": "a \"b\" \\ c",
        "short": "/prod",
        "nested": {"protocol": "HTTP/1.1", "list": [200, null, "x"]},
        "local": format!("127.0.0.1:{port}"),
        "remote": "127.0.0.1",
        "upstream": null,
    });
    assert_eq!(line, expected);
}
