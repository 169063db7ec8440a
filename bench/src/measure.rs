//! A run: for each scenario, start everyone, check, warm up, and measure round by round.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::check;
use crate::configuration::{self as files, Folder, Template, Values, free_port};
use crate::error::BenchError;
use crate::idle;
use crate::load::{self, Outcome};
use crate::machine::{self, Machine};
use crate::options::Options;
use crate::process::{Cpu, Process, allow_many_files, stand_on};
use crate::report::{self, Report};
use crate::scenario::{Hop, Implementation, Scenario, Topology, Workload};
use crate::statistics::rotated;

/// Load before the first round: pools fill, pages are touched, policies are compiled.
const WARM_UP: Duration = Duration::from_secs(2);

/// What a run works with.
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    pub(crate) folder: Folder,
    proxy: PathBuf,
    /// Port of the application.
    pub(crate) backend: u16,
}

/// One implementation in one scenario, running.
pub(crate) struct Contender {
    pub(crate) implementation: Implementation,
    pub(crate) processes: Vec<Process>,
    /// Port for the load.
    pub(crate) entry: u16,
}

/// One round of one implementation under load.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct LoadRound {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu_user_seconds: f64,
    pub(crate) cpu_system_seconds: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// Runs what the options ask for and prints it.
pub(crate) async fn run(options: &Options) -> Result<(), BenchError> {
    allow_many_files();
    stand_on(options.load_core)?;
    let proxy = match &options.proxy {
        Some(given) => given.clone(),
        None => std::env::current_exe().map_err(BenchError::Resources)?.with_file_name("portolan-proxy"),
    };
    let machine = Machine::look(options, &proxy).await;
    println!("{machine}");
    let bench = Bench { options, folder: Folder::create()?, proxy, backend: free_port()? };
    let mut backend = bench.nginx(&files::BACKEND, "backend", &bench.values(0), options.load_core)?;
    backend.ready(bench.backend, "/").await?;

    let mut report = Report::new(machine, options);
    for scenario in options.scenarios() {
        println!("{}: {}", scenario.name, scenario.about);
        let result = bench.scenario(scenario).await?;
        backend.alive()?;
        print!("{}", report::table(&result));
        println!();
        report.scenarios.push(result);
    }
    backend.end().await;
    println!("{}", report::NOTES.trim_end());
    println!("load average at the end: {}", machine::load_average());
    if let Some(path) = &options.output {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).map_err(|source| BenchError::File { path: path.clone(), source })?;
    }
    match report.rounds_with_errors() {
        0 => Ok(()),
        n => Err(BenchError::Errors(n)),
    }
}

impl Bench<'_> {
    fn values(&self, entry: u16) -> Values {
        Values { admin: 0, entry, mtls: 0, backend: self.backend, hop: Hop::Http1, access_log: false }
    }

    async fn scenario(&self, scenario: &'static Scenario) -> Result<report::ScenarioReport, BenchError> {
        if let Workload::Idle { connections } = scenario.workload {
            return idle::measure(self, scenario, connections).await;
        }
        let mut contenders = Vec::new();
        for implementation in scenario.implementations(self.options.baseline.is_some()) {
            contenders.push(self.start(scenario, implementation, 0).await?);
        }
        for contender in &contenders {
            self.load(scenario.workload, contender.entry, WARM_UP).await?;
        }
        let mut rounds: Vec<Vec<LoadRound>> = vec![Vec::new(); contenders.len()];
        for round in 0..self.options.rounds() as usize {
            for turn in rotated(contenders.len(), round) {
                let (Some(contender), Some(rounds)) = (contenders.get_mut(turn), rounds.get_mut(turn)) else {
                    continue;
                };
                rounds.push(self.round(scenario.workload, contender).await?);
            }
        }
        let measured = contenders.iter().map(|contender| contender.implementation).zip(rounds).collect();
        for process in contenders.into_iter().flat_map(|contender| contender.processes) {
            process.end().await;
        }
        Ok(report::ScenarioReport::of_load(scenario, measured))
    }

    async fn round(&self, workload: Workload, contender: &mut Contender) -> Result<LoadRound, BenchError> {
        let before = contender.cpu()?;
        let outcome = self.load(workload, contender.entry, self.options.duration()).await?;
        let after = contender.cpu()?;
        for process in &mut contender.processes {
            process.alive()?;
        }
        Ok(LoadRound {
            requests: outcome.requests,
            errors: outcome.errors,
            seconds: outcome.seconds,
            cpu_user_seconds: after.user - before.user,
            cpu_system_seconds: after.system - before.system,
            p50_ms: outcome.p50_ms,
            p99_ms: outcome.p99_ms,
        })
    }

    async fn load(&self, workload: Workload, port: u16, duration: Duration) -> Result<Outcome, BenchError> {
        match workload {
            Workload::Http1 { connections } => load::wrk(&self.folder, port, connections, duration).await,
            Workload::Http2 { connections, streams } => {
                load::h2load(&self.folder, port, connections, streams, duration).await
            }
            Workload::Idle { .. } => Ok(Outcome::default()),
        }
    }

    /// Starts an implementation and checks that it does what the scenario says. `turn` tells files of one scenario apart.
    pub(crate) async fn start(
        &self,
        scenario: &'static Scenario,
        implementation: Implementation,
        turn: usize,
    ) -> Result<Contender, BenchError> {
        let name = |part: &str| format!("{}-{}-{part}-{turn}", scenario.name, implementation.name());
        let core = self.options.proxy_core;
        let (entry, admin) = (free_port()?, free_port()?);
        let (mut processes, mut entry_of) = (Vec::new(), entry);
        match (scenario.topology, implementation) {
            (Topology::Direct, _) | (_, Implementation::None) => entry_of = self.backend,
            (Topology::Plain, Implementation::Nginx) => {
                let mut nginx = self.nginx(&files::PLAIN_NGINX, &name("plain"), &self.values(entry), core)?;
                nginx.ready(entry, "/").await?;
                processes.push(nginx);
            }
            (Topology::Plain, _) => {
                let values = Values { admin, ..self.values(entry) };
                processes
                    .push(self.envoy_like(implementation, &files::PLAIN, &name("plain"), &values).await?);
            }
            (Topology::Pair { hop, access_log }, _) => {
                let mtls = free_port()?;
                let values = Values { mtls, hop, access_log, ..self.values(entry) };
                // The admin port of the first process is the one that is asked later.
                let client = Values { admin, ..values };
                let server = Values { admin: free_port()?, ..values };
                processes
                    .push(self.envoy_like(implementation, &files::CLIENT, &name("client"), &client).await?);
                processes
                    .push(self.envoy_like(implementation, &files::SERVER, &name("server"), &server).await?);
            }
        }
        check::behaviour(scenario.topology, entry_of, admin, implementation.name(), scenario.name).await?;
        Ok(Contender { implementation, processes, entry: entry_of })
    }

    /// Ours or Envoy, which take the same file and the same arguments.
    async fn envoy_like(
        &self,
        implementation: Implementation,
        template: &Template,
        name: &str,
        values: &Values,
    ) -> Result<Process, BenchError> {
        let file = self.folder.render(template, name, values)?;
        let program = match implementation {
            Implementation::Envoy => &self.options.envoy,
            Implementation::Baseline => self.options.baseline.as_ref().unwrap_or(&self.proxy),
            _ => &self.proxy,
        };
        let file = file.display().to_string();
        let arguments = ["-c", &file, "--concurrency", "1", "-l", "warning", "--disable-hot-restart"];
        let log = self.folder.file(&format!("{name}.log"));
        let (core, home) = (self.options.proxy_core, self.options.load_core);
        let mut process = Process::start(name, program, &arguments, log, core, home)?;
        process.ready(values.admin, "/ready").await?;
        Ok(process)
    }

    fn nginx(
        &self,
        template: &Template,
        name: &str,
        values: &Values,
        core: usize,
    ) -> Result<Process, BenchError> {
        let file = self.folder.render(template, name, values)?;
        let (file, prefix) = (file.display().to_string(), self.folder.path().display().to_string());
        let arguments = ["-p", &prefix, "-e", "stderr", "-c", &file];
        let log = self.folder.file(&format!("{name}.log"));
        Process::start(name, &self.options.nginx, &arguments, log, core, self.options.load_core)
    }
}

impl Contender {
    /// CPU time of all its processes.
    fn cpu(&self) -> Result<Cpu, BenchError> {
        let mut sum = Cpu::default();
        for process in &self.processes {
            let one = process.cpu()?;
            sum.user += one.user;
            sum.system += one.system;
        }
        Ok(sum)
    }
}
