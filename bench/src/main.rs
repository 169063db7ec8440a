//! `portolan-bench`: CPU per request and memory of our proxy against Envoy and nginx on the same configuration; with
//! `control-plane`, what changes cost the control plane (see there).
//!
//! The machine's speed changes from second to second, so a figure of one program alone says little. Every scenario
//! therefore runs the implementations in turn, round by round, and reports ratios within the rounds with their spread.
//! Proxies have one worker each, all on one core; load and backend have another. All traffic stays on the loopback
//! interface, and everything that is started ends with this program, also when it is killed.
//!
//! `cargo xtask bench` builds it, brings Envoy, nginx, wrk and h2load, and runs it.

mod check;
mod configuration;
mod contender;
mod control_plane;
mod error;
mod idle;
mod load;
mod machine;
mod measure;
mod options;
mod process;
mod report;
mod rounds;
mod scenario;
mod statistics;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::BenchError;
use crate::options::{Options, Other};

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("portolan-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), BenchError> {
    if let Some(Other::Floor(options)) = &options.other {
        return control_plane::serve_floor(options);
    }
    // One thread: what it starts inherits the core that it stands on (`process`), and all the proxies of `control-plane`
    // need no locks that anybody waits for.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(BenchError::Runtime)?;
    runtime.block_on(async {
        let mut interrupted = signal(SignalKind::interrupt()).map_err(BenchError::Runtime)?;
        let mut terminated = signal(SignalKind::terminate()).map_err(BenchError::Runtime)?;
        let measured = async {
            match &options.other {
                Some(Other::ControlPlane(options)) => control_plane::run(options).await,
                _ => measure::run(options).await,
            }
        };
        // Dropping the measurement ends its programs and removes its files.
        tokio::select! {
            done = measured => done,
            _ = interrupted.recv() => Err(BenchError::Interrupted),
            _ = terminated.recv() => Err(BenchError::Interrupted),
        }
    })
}
