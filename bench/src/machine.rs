//! What the figures were measured on, and with.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde::Serialize;

use crate::options::Options;
use crate::process::tied;

/// Where and with what a run took place.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    processor: String,
    cores: usize,
    load_average: String,
    versions: Vec<(&'static str, String)>,
}

impl Machine {
    pub(crate) async fn look(options: &Options, proxy: &Path) -> Self {
        Self::with(&[
            ("portolan-proxy", proxy, ["version"].as_slice()),
            ("envoy", &options.envoy, &["--version"]),
            ("nginx", &options.nginx, &["-v"]),
            ("wrk", Path::new("wrk"), &["-v"]),
            ("h2load", Path::new("h2load"), &["--version"]),
        ])
        .await
    }

    /// With these programs: names, files, and the arguments that make them say their version.
    pub(crate) async fn with(programs: &[(&'static str, &Path, &[&str])]) -> Self {
        let mut versions = Vec::new();
        for (name, program, arguments) in programs {
            versions.push((*name, version(program, arguments).await));
        }
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        Machine {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: processor(&read("/proc/cpuinfo")),
            // Not those that this thread may use: it stands on one.
            cores: read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count(),
            load_average: load_average(),
            versions,
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "Linux {}, {}, {} cores", self.kernel, self.processor, self.cores)?;
        writeln!(f, "load average at the start: {}", self.load_average)?;
        for (name, version) in &self.versions {
            writeln!(f, "{name:15} {version}")?;
        }
        Ok(())
    }
}

/// Over 1, 5 and 15 minutes.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn processor(cpuinfo: &str) -> String {
    let named = |key: &str| cpuinfo.lines().find(|line| line.starts_with(key))?.split_once(':');
    let found = named("model name").or_else(|| named("CPU part"));
    found.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// What a program says of itself, in one line.
async fn version(program: &Path, arguments: &[&str]) -> String {
    let output = tied(program).args(arguments).stderr(Stdio::piped()).output().await;
    let Ok(output) = output else { return "not found".to_owned() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("says nothing");
    // Envoy's starts with its own path; wrk's goes on with a copyright.
    let line = line.rsplit_once("version: ").map_or(line, |(_, version)| version);
    line.split(" [epoll]").next().unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_processors() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Fast 9000\n"), "Fast 9000");
        assert_eq!(processor("CPU part\t: 0xd0c\n"), "0xd0c");
        assert_eq!(processor(""), std::env::consts::ARCH);
    }
}
