//! Stock kubectl against the server: what people do all day.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test reports by panicking")]

mod attack;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use portolan_apiserver::{Config, Server};

/// kubectl, given by environment or found on PATH. Without one there is nothing to test with.
fn kubectl() -> PathBuf {
    if let Some(given) = std::env::var_os("PORTOLAN_KUBECTL") {
        return given.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("kubectl")).find(|file| file.is_file());
    found.expect("kubectl is needed: run `cargo xtask test`, or set PORTOLAN_KUBECTL")
}

struct Cluster {
    directory: tempfile::TempDir,
    server: Server,
}

impl Cluster {
    async fn start() -> Cluster {
        let directory = tempfile::tempdir().unwrap();
        let server = start(directory.path()).await;
        Cluster { directory, server }
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Output {
        let (kubeconfig, cache) =
            (self.directory.path().join("kubeconfig"), self.directory.path().join("cache"));
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let input = input.to_owned();
        let run = move || {
            use std::io::Write;
            let mut child = Command::new(kubectl())
                .args(arguments)
                .args(["--kubeconfig", kubeconfig.to_str().unwrap(), "--cache-dir", cache.to_str().unwrap()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }

    /// Runs kubectl with the words of `command`; it must succeed.
    async fn ok(&self, command: &str, input: &str) -> String {
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let output = self.run(&arguments, input).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {command}: {err}{out}");
        out.into_owned()
    }

    /// Runs kubectl with the words of `command`; it must fail.
    async fn fails(&self, command: &str, input: &str) -> String {
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let output = self.run(&arguments, input).await;
        assert!(
            !output.status.success(),
            "kubectl {command} should fail: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

async fn start(directory: &Path) -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(Config::new(directory, vec![listener])).await.unwrap();
    std::fs::write(directory.join("kubeconfig"), server.kubeconfig()).unwrap();
    server
}

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: example/web:1
        ports: [{containerPort: 8080, name: http}]
        env: [{name: A, value: "1"}, {name: B, value: "2"}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: http, name: http}]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_from_creation_to_deletion() {
    let cluster = Cluster::start().await;
    let created = cluster.ok("apply -f -", DEPLOYMENT).await;
    assert!(
        created.contains("deployment.apps/web created") && created.contains("service/web created"),
        "{created}"
    );
    assert!(cluster.ok("apply -f -", DEPLOYMENT).await.contains("deployment.apps/web unchanged"));
    let changed = DEPLOYMENT.replace("value: \"2\"", "value: \"3\"").replace("web:1", "web:2");
    assert!(cluster.ok("apply -f -", &changed).await.contains("deployment.apps/web configured"));
    let env = cluster
        .ok("get deployment web -o jsonpath={.spec.template.spec.containers[0].env[*].value}", "")
        .await;
    assert_eq!(env, "1 3");
    let table = cluster.ok("get deployments,services", "").await;
    assert!(table.contains("READY") && table.contains("CLUSTER-IP"), "{table}");
    assert!(cluster.ok("get pods", "").await.is_empty());
    assert!(cluster.ok("describe deployment web", "").await.contains("RollingUpdateStrategy"));
    cluster.ok("scale deployment web --replicas=5", "").await;
    assert_eq!(cluster.ok("get deployment web -o jsonpath={.spec.replicas}", "").await, "5");
    cluster.ok("label deployment web tier=gold", "").await;
    cluster.ok("annotate deployment web note=x", "").await;
    assert!(cluster.ok("get deployments -l tier=gold -o name", "").await.contains("deployment.apps/web"));
    cluster.ok("patch deployment web --type=merge -p {\"spec\":{\"replicas\":1}}", "").await;
    cluster.ok("patch deployment web --type=json -p [{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":3}]", "").await;
    assert_eq!(cluster.ok("get deployment web -o jsonpath={.spec.replicas}", "").await, "3");
    cluster.ok("rollout restart deployment web", "").await;
    cluster.ok("wait --for=jsonpath={.spec.replicas}=3 deployment/web --timeout=5s", "").await;
    cluster.ok("set image deployment/web web=example/web:3", "").await;
    let deleted = cluster.ok("delete deployment,service web --timeout=10s", "").await;
    assert!(deleted.contains("deployment.apps \"web\" deleted"), "{deleted}");
    assert!(cluster.fails("get deployment web", "").await.contains("NotFound"));
    cluster.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_send_protobuf() {
    let cluster = Cluster::start().await;
    cluster.ok("create namespace shop", "").await;
    cluster.ok("create configmap settings -n shop --from-literal=a=b", "").await;
    assert_eq!(cluster.ok("get configmap settings -n shop -o jsonpath={.data.a}", "").await, "b");
    cluster.ok("create secret generic key -n shop --from-literal=k=v", "").await;
    assert_eq!(cluster.ok("get secret key -n shop -o jsonpath={.data.k}", "").await, "dg==");
    cluster.ok("create deployment web -n shop --image=x", "").await;
    cluster.ok("create serviceaccount robot -n shop", "").await;
    assert!(cluster.ok("create token robot -n shop", "").await.split('.').count() == 3);
    assert_eq!(cluster.ok("auth can-i delete pods", "").await.trim(), "yes");
    let denied = cluster.fails("auth can-i delete pods --as=system:serviceaccount:shop:robot", "").await;
    assert!(denied.is_empty() || denied.contains("no"), "{denied}");
    cluster.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_resources() {
    let cluster = Cluster::start().await;
    let crd = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [size]
            properties: {size: {type: integer, minimum: 1}, color: {type: string, default: red}}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
"#;
    cluster.ok("apply -f -", crd).await;
    cluster.ok("wait --for=condition=Established crd/widgets.example.com --timeout=5s", "").await;
    let widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: one}\nspec: {size: 3}\n";
    cluster.ok("apply -f -", widget).await;
    let table = cluster.ok("get wd", "").await;
    assert!(table.contains("SIZE") && table.contains('3'), "{table}");
    assert_eq!(cluster.ok("get wd one -o jsonpath={.spec.color}", "").await, "red");
    let bad = cluster.fails("apply -f -", &widget.replace("size: 3", "size: zero")).await;
    assert!(bad.contains("spec.size"), "{bad}");
    let unknown = cluster.fails("apply -f -", &widget.replace("size: 3", "size: 3, depth: 1")).await;
    assert!(unknown.contains("unknown field \"spec.depth\""), "{unknown}");
    assert!(cluster.ok("explain widget.spec", "").await.contains("size"));
    cluster.ok("delete crd widgets.example.com", "").await;
    cluster.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_side_apply_reports_conflicts() {
    let cluster = Cluster::start().await;
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: \"1\"}\n";
    cluster.ok("apply --server-side --field-manager=one -f -", map).await;
    let conflict =
        cluster.fails("apply --server-side --field-manager=two -f -", &map.replace("\"1\"", "\"2\"")).await;
    assert!(conflict.contains("conflict") && conflict.contains("one"), "{conflict}");
    cluster
        .ok("apply --server-side --field-manager=two --force-conflicts -f -", &map.replace("\"1\"", "\"2\""))
        .await;
    assert_eq!(cluster.ok("get configmap m -o jsonpath={.data.a}", "").await, "2");
    cluster.server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let Cluster { directory, server } = Cluster::start().await;
    let cluster = Cluster { directory, server };
    cluster.ok("create namespace kept", "").await;
    let Cluster { directory, server } = cluster;
    server.shutdown().await;
    let server = start(directory.path()).await;
    let cluster = Cluster { directory, server };
    assert!(cluster.ok("get namespaces", "").await.contains("kept"));
    cluster.server.shutdown().await;
}
