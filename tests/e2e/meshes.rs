//! Two federated meshes to try things on: those of `portolan demo`, brought up to a step and left running.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::programs::{self, portolan, text};

/// How long the demo may take to its end.
const UP: Duration = Duration::from_secs(180);
/// How long anything that was changed may take to have its effect.
const SETTLE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);
/// What the demo says when it is done.
const STAYS: &str = "Both meshes stay up";

/// West and east.
pub(crate) struct Meshes {
    demo: Child,
    state: TempDir,
}

impl Meshes {
    /// Runs the first `steps` steps of the demo.
    pub(crate) fn after_step(steps: usize) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut demo = Command::new(portolan())
            .args(["demo", "--steps", &steps.to_string(), "--state-dir"])
            .arg(state.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("portolan runs");
        let output = BufReader::new(demo.stdout.take().expect("piped"));
        let meshes = Self { demo, state };
        let (lines, said) = mpsc::channel();
        // Reads on after the demo is up, so that it never waits for room in the pipe.
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).for_each(|line| _ = lines.send(line))
        });
        let deadline = Instant::now() + UP;
        let mut all = String::new();
        while !all.contains(STAYS) {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = said.recv_timeout(left).unwrap_or_else(|_| panic!("the demo did not come up:\n{all}"));
            all.push_str(&line);
            all.push('\n');
        }
        meshes
    }

    fn kubeconfig(&self, mesh: &str) -> String {
        self.state.path().join(mesh).join("kubeconfig").display().to_string()
    }

    /// The text of a file that the demo has applied.
    pub(crate) fn manifest(&self, name: &str) -> String {
        std::fs::read_to_string(self.state.path().join("manifests").join(name)).expect("written by the demo")
    }

    /// kubectl in the mesh's own namespace, with a text on its standard input.
    pub(crate) fn kubectl(&self, mesh: &str, arguments: &[&str], input: &str) -> Output {
        let program = std::env::var_os("PORTOLAN_KUBECTL").unwrap_or_else(|| "kubectl".into());
        let mut child = Command::new(program)
            .args(["--kubeconfig", &self.kubeconfig(mesh), "-n", "istio-system"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs: `cargo xtask test` provides it");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("kubectl reads its input");
        child.wait_with_output().expect("kubectl ends")
    }

    /// Applies a text; it has to be taken.
    pub(crate) fn apply(&self, mesh: &str, yaml: &str) {
        let output = self.kubectl(mesh, &["apply", "-f", "-"], yaml);
        assert!(output.status.success(), "{}", text(&output));
    }

    /// `kubectl` that has to succeed.
    pub(crate) fn run(&self, mesh: &str, arguments: &[&str]) -> String {
        let output = self.kubectl(mesh, arguments, "");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What `portolan` says of a mesh.
    pub(crate) fn portolan(&self, mesh: &str, arguments: &[&str]) -> String {
        let output = programs::run(&[&["--kubeconfig", &self.kubeconfig(mesh)], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until the federation status of a mesh contains all of these.
    pub(crate) fn wait_for_status(&self, mesh: &str, wanted: &[&str]) {
        self.wait_for(mesh, &["federation", "status"], |said| wanted.iter().all(|part| said.contains(part)));
    }

    /// Waits until what `portolan` says of a mesh is as wanted.
    pub(crate) fn wait_for(&self, mesh: &str, arguments: &[&str], wanted: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + SETTLE;
        loop {
            let said = self.portolan(mesh, arguments);
            if wanted(&said) {
                return;
            }
            assert!(Instant::now() < deadline, "{arguments:?} of {mesh} never was as wanted:\n{said}");
            #[expect(
                clippy::disallowed_methods,
                reason = "the pause between two looks, on a test's own thread"
            )]
            std::thread::sleep(POLL);
        }
    }

    /// The status code that west's client gets from a URL; none when there is no answer at all.
    pub(crate) fn call_from_west(&self, url: &str) -> Option<u64> {
        let pod = self.run("west", &["-n", "bookinfo", "get", "pods", "-l", "app=client", "-o", "name"]);
        let pod = pod.trim().trim_start_matches("pod/");
        let path = format!(
            "/api/v1/namespaces/bookinfo/pods/{pod}:9080/proxy/fetch?url={}",
            url.replace(':', "%3A")
        );
        let answer = self.run("west", &["get", "--raw", &path]);
        let answer = answer.split("\"status\":").nth(1)?;
        answer.trim_start().split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }

    /// Ends the demo as Ctrl-C does.
    pub(crate) fn stop(mut self) {
        self.interrupt();
        let status = self.demo.wait().expect("the demo ends");
        assert!(status.success(), "the demo ended with {status}");
    }

    fn interrupt(&self) {
        let _ = Command::new("sh").args(["-c", &format!("kill -INT {}", self.demo.id())]).status();
    }
}

impl Drop for Meshes {
    /// A test that failed leaves no clusters to the next one.
    fn drop(&mut self) {
        if matches!(self.demo.try_wait(), Ok(None)) {
            self.interrupt();
            let _ = self.demo.wait();
        }
    }
}
