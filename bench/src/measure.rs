//! A run: for each scenario, start everyone, check, warm up, and measure round by round.

use std::time::Duration;

use crate::configuration::{self as files, Folder, free_port};
use crate::contender::{Bench, Contender};
use crate::error::BenchError;
use crate::idle;
use crate::load::{self, Outcome};
use crate::machine::{self, Machine};
use crate::options::Options;
use crate::process::{allow_many_files, stand_on};
use crate::report::{self, Report};
use crate::rounds::LoadRound;
use crate::scenario::{Scenario, Workload};
use crate::statistics::rotated;

/// Load before the first round: pools fill, pages are touched, policies are compiled.
const WARM_UP: Duration = Duration::from_secs(2);

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
}
