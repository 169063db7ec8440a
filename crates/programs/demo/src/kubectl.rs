//! Applying files: with stock kubectl where there is one, else by server-side apply of our own. Either way the
//! line that a user would type is shown.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::Client;
use tokio::process::Command;

use super::report::Report;

/// Longest run of one kubectl command.
const TIMEOUT: Duration = Duration::from_secs(60);

/// kubectl for one cluster.
#[derive(Clone)]
pub(super) struct Kubectl {
    program: Option<PathBuf>,
    kubeconfig: PathBuf,
    client: Client,
}

/// Finds kubectl: what was named, else the one on the PATH.
pub(super) fn find(named: Option<&PathBuf>) -> Option<PathBuf> {
    if let Some(path) = named {
        return Some(path.clone());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|dir| dir.join("kubectl")).find(|path| path.is_file())
}

impl Kubectl {
    pub(super) fn new(program: Option<PathBuf>, kubeconfig: PathBuf, client: Client) -> Self {
        Self { program, kubeconfig, client }
    }

    /// Is there a real kubectl?
    pub(super) fn is_real(&self) -> bool {
        self.program.is_some()
    }

    fn show(&self, report: &Report, args: &[&str]) {
        report.command(format!("kubectl --kubeconfig {} {}", self.kubeconfig.display(), args.join(" ")));
    }

    /// Applies a file.
    pub(super) async fn apply(&self, report: &Report, namespace: &str, file: &Path) -> anyhow::Result<()> {
        let path = file.display().to_string();
        let args = ["-n", namespace, "apply", "-f", &path];
        self.show(report, &args);
        if self.is_real() {
            return self.run(&args).await.map(drop);
        }
        for document in read(file)? {
            portolan_cluster::apply::apply(&self.client, &document, namespace).await?;
        }
        Ok(())
    }

    /// Deletes what a file describes.
    pub(super) async fn delete(&self, report: &Report, namespace: &str, file: &Path) -> anyhow::Result<()> {
        let path = file.display().to_string();
        let args = ["-n", namespace, "delete", "--wait=false", "-f", &path];
        self.show(report, &args);
        if self.is_real() {
            return self.run(&args).await.map(drop);
        }
        for document in read(file)? {
            portolan_cluster::apply::delete(&self.client, &document, namespace).await?;
        }
        Ok(())
    }

    /// Runs kubectl and gives what it prints.
    pub(super) async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        let program = self.program.as_ref().context("there is no kubectl")?;
        let child = Command::new(program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(args)
            // A cache of discovery from an earlier cluster on the same port would mislead it.
            .env("KUBECACHEDIR", self.kubeconfig.with_file_name("kubectl-cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let output = tokio::time::timeout(TIMEOUT, child.wait_with_output()).await.with_context(|| {
            format!("kubectl {} did not end within {} s", args.join(" "), TIMEOUT.as_secs())
        })??;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(text)
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<serde_json::Value>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(portolan_cluster::apply::documents(&text)?)
}
