//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::control_plane::{ControlPlaneOptions, FloorOptions};
use crate::scenario::{SCENARIOS, Scenario};

/// Measures our proxy against Envoy and nginx, interleaved, on the same configuration.
#[derive(Debug, Parser)]
#[command(name = "portolan-bench", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) other: Option<Other>,
    /// Scenario to run; can be given several times. Without it: all of them.
    #[arg(long = "scenario", value_name = "NAME", value_parser = scenario)]
    scenarios: Vec<&'static Scenario>,
    /// Rounds of each scenario.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds of load of each implementation in each round.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: Option<u32>,
    /// Three rounds of one second: a look, not a result.
    #[arg(long)]
    quick: bool,
    /// File for everything that was measured, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Our proxy; without it, the one beside this program.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) proxy: Option<PathBuf>,
    /// Another build of ours to compare with, in place of Envoy and nginx.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) baseline: Option<PathBuf>,
    /// Envoy.
    #[arg(long, value_name = "PROGRAM", env = "PORTOLAN_ENVOY", default_value = "envoy")]
    pub(crate) envoy: PathBuf,
    /// nginx.
    #[arg(long, value_name = "PROGRAM", env = "PORTOLAN_NGINX", default_value = "nginx")]
    pub(crate) nginx: PathBuf,
    /// Core of the proxies.
    #[arg(long, default_value_t = 0)]
    pub(crate) proxy_core: usize,
    /// Core of load and backend.
    #[arg(long, default_value_t = 1)]
    pub(crate) load_core: usize,
}

/// What is measured instead of proxies.
#[derive(Debug, Subcommand)]
pub(crate) enum Other {
    ControlPlane(ControlPlaneOptions),
    /// The server that `control-plane` compares with.
    #[command(hide = true)]
    Floor(FloorOptions),
}

fn scenario(name: &str) -> Result<&'static Scenario, String> {
    SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let names: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        format!("there are {}", names.join(", "))
    })
}

impl Options {
    pub(crate) fn scenarios(&self) -> Vec<&'static Scenario> {
        SCENARIOS
            .iter()
            .filter(|known| self.scenarios.is_empty() || self.scenarios.iter().any(|s| s.name == known.name))
            .collect()
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 })
    }

    /// Load of one implementation in one round.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds.unwrap_or(if self.quick { 1 } else { 3 })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_keep_their_order() {
        let names = |arguments: &[&str]| {
            let all = [&["bench"], arguments].concat();
            Options::try_parse_from(all).unwrap().scenarios().iter().map(|s| s.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&["--scenario", "plain", "--scenario", "pair"]), ["pair", "plain"]);
        assert_eq!(names(&[]).len(), SCENARIOS.len());
        assert!(Options::try_parse_from(["bench", "--scenario", "pears"]).is_err());
    }

    #[test]
    fn the_control_plane_has_options_of_its_own() {
        let options = Options::try_parse_from(["bench", "control-plane", "--services", "250"]).unwrap();
        assert!(matches!(options.other, Some(Other::ControlPlane(_))));
        assert!(Options::try_parse_from(["bench", "--rounds", "3", "control-plane"]).is_err());
        assert!(Options::try_parse_from(["bench"]).unwrap().other.is_none());
    }
}
