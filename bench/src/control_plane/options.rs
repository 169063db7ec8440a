//! The command line of `control-plane`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

/// Most services: their addresses come out of one /16 of the API server.
const MAX_SERVICES: i64 = 4000;
/// Most proxies: a stream each, in one process.
const MAX_PROXIES: i64 = 10_000;

/// Measures what changes cost the control plane, and how long they take to reach all proxies.
#[derive(Debug, Args)]
pub(crate) struct ControlPlaneOptions {
    /// Proxies that are connected; several, divided by commas, are measured one after the other.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(8..=MAX_PROXIES))]
    proxies: Vec<u32>,
    /// Services of the mesh, two ports and three Pods each; several as with --proxies.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(10..=MAX_SERVICES))]
    services: Vec<u32>,
    /// Namespaces that the services are spread over; 20, in the scenario `real` 50.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=500))]
    namespaces: Option<u32>,
    /// How often each single change is made.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    changes: Option<u32>,
    /// Seconds of ten endpoint changes each; 0 leaves them out.
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=900))]
    sustained: Option<u32>,
    /// What is measured.
    #[arg(long, value_enum, default_value_t = Scenario::Plain)]
    pub(crate) scenario: Scenario,
    /// 100 services, 20 proxies, two changes of each kind: a look, not a result.
    #[arg(long)]
    quick: bool,
    /// File for everything that was measured, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The program that is the control plane; without it, the `portolan` beside this program.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) program: Option<PathBuf>,
    /// Leave the files of the run, logs among them, in this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scenario {
    /// No Sidecar resources: every proxy sees every service.
    Plain,
    /// 50 namespaces, half of them with a Sidecar resource, and 200 VirtualServices.
    Real,
    /// The control plane is killed and started anew, and all proxies come back at once.
    Reconnect,
}

/// The size of one measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Size {
    pub(crate) services: usize,
    pub(crate) proxies: usize,
}

impl ControlPlaneOptions {
    /// All measurements, in order.
    pub(crate) fn sizes(&self) -> Vec<Size> {
        let or = |given: &[u32], usual: u32| if given.is_empty() { vec![usual] } else { given.to_vec() };
        let services = or(&self.services, if self.quick { 100 } else { 1000 });
        let proxies = or(&self.proxies, if self.quick { 20 } else { 100 });
        let size = |services: u32, proxies: u32| Size {
            services: services as usize,
            // No more than there are Pods, and a gateway.
            proxies: (proxies as usize).min(services as usize * 3 + 1),
        };
        services.iter().flat_map(|s| proxies.iter().map(move |p| size(*s, *p))).collect()
    }

    pub(crate) fn namespaces(&self) -> usize {
        self.namespaces.unwrap_or(if self.scenario == Scenario::Real { 50 } else { 20 }) as usize
    }

    /// How often each single change is made.
    pub(crate) fn changes(&self) -> usize {
        self.changes.unwrap_or(if self.quick { 2 } else { 7 }) as usize
    }

    /// How long endpoints change ten times a second.
    pub(crate) fn sustained(&self) -> Duration {
        Duration::from_secs(u64::from(self.sustained.unwrap_or(if self.quick { 3 } else { 60 })))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        options: ControlPlaneOptions,
    }

    fn parse(arguments: &[&str]) -> Result<ControlPlaneOptions, clap::Error> {
        Alone::try_parse_from([&["bench"], arguments].concat()).map(|alone| alone.options)
    }

    fn sizes(arguments: &[&str]) -> Vec<(usize, usize)> {
        parse(arguments).unwrap().sizes().iter().map(|size| (size.services, size.proxies)).collect()
    }

    #[test]
    fn sizes_are_every_combination() {
        assert_eq!(sizes(&[]), [(1000, 100)]);
        assert_eq!(
            sizes(&["--services", "250,2000", "--proxies", "100,1000"]),
            [(250, 100), (250, 751), (2000, 100), (2000, 1000)]
        );
        assert_eq!(sizes(&["--quick"]), [(100, 20)]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [["--services", "0"], ["--proxies", "x"], ["--scenario", "unreal"], ["--changes", "0"]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_real_mesh_has_more_namespaces() {
        assert_eq!(parse(&[]).unwrap().namespaces(), 20);
        assert_eq!(parse(&["--scenario", "real"]).unwrap().namespaces(), 50);
        assert_eq!(parse(&["--scenario", "real", "--namespaces", "5"]).unwrap().namespaces(), 5);
    }
}
