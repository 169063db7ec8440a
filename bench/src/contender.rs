//! One implementation in one scenario: started from its files, checked, and asked for its CPU time and memory.

use std::path::PathBuf;

use crate::check;
use crate::configuration::{self as files, Folder, Template, Values, free_port};
use crate::error::BenchError;
use crate::options::Options;
use crate::process::{Cpu, Memory, Process};
use crate::scenario::{Hop, Implementation, Scenario, Topology};

/// What a run works with.
pub(crate) struct Bench<'a> {
    pub(crate) options: &'a Options,
    pub(crate) folder: Folder,
    pub(crate) proxy: PathBuf,
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

impl Bench<'_> {
    pub(crate) fn values(&self, entry: u16) -> Values {
        Values { admin: 0, entry, mtls: 0, backend: self.backend, hop: Hop::Http1, access_log: false }
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

    pub(crate) fn nginx(
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
    pub(crate) fn cpu(&self) -> Result<Cpu, BenchError> {
        let mut sum = Cpu::default();
        for process in &self.processes {
            let one = process.cpu()?;
            sum.user += one.user;
            sum.system += one.system;
        }
        Ok(sum)
    }

    /// Memory of all its processes.
    pub(crate) fn memory(&self) -> Result<Memory, BenchError> {
        let mut sum = Memory::default();
        for process in &self.processes {
            let one = process.memory()?;
            sum.anonymous += one.anonymous;
            sum.resident += one.resident;
        }
        Ok(sum)
    }
}
