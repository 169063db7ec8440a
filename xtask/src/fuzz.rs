//! Fuzzing, for as long as one likes. Not part of `test`: it needs a nightly compiler, and has no end of its own.

use std::fs;

use crate::run::{self, Result};

/// A fuzz target and the folders of messages that it starts from, both relative to `fuzz`.
struct Target {
    name: &'static str,
    seeds: &'static [&'static str],
}

const REQUESTS: &str = "../crates/data/h1/tests/corpus/request";
const RESPONSES: &str = "../crates/data/h1/tests/corpus/response";

const TARGETS: [Target; 3] = [
    Target { name: "h1_request", seeds: &[REQUESTS] },
    Target { name: "h1_response", seeds: &[RESPONSES] },
    Target { name: "h1_hyper", seeds: &[REQUESTS, RESPONSES] },
];

const SECONDS: u32 = 60;

/// `[target] [seconds]`: one target or all, each for so long.
pub(crate) fn fuzz(arguments: &[String]) -> Result<()> {
    let (name, seconds) = match arguments {
        [] => (None, SECONDS),
        [one] => one.parse().map_or((Some(one), SECONDS), |seconds| (None, seconds)),
        [name, seconds] => {
            (Some(name), seconds.parse().map_err(|_| format!("{seconds} is not a time in seconds"))?)
        }
        _ => return Err("fuzz takes a target and a time in seconds".to_owned()),
    };
    let chosen: Vec<_> =
        TARGETS.iter().filter(|target| name.is_none_or(|name| name == target.name)).collect();
    if chosen.is_empty() {
        let names = TARGETS.map(|target| target.name).join(", ");
        return Err(format!("there is no such fuzz target; there are {names}"));
    }
    check_tools()?;
    for target in chosen {
        run_target(target, seconds)?;
    }
    Ok(())
}

fn check_tools() -> Result<()> {
    run::quiet(&mut run::command("rustup", &["run", "nightly", "rustc", "--version"]))
        .map_err(|_| "fuzzing needs a nightly compiler: rustup toolchain install nightly".to_owned())?;
    run::quiet(&mut run::command("rustup", &["run", "nightly", "cargo", "fuzz", "--version"]))
        .map_err(|_| "fuzzing needs cargo-fuzz: cargo install cargo-fuzz".to_owned())?;
    Ok(())
}

fn run_target(target: &Target, seconds: u32) -> Result<()> {
    let folder = run::root().join("fuzz");
    // What was found in earlier runs; created here because the fuzzer insists that it exists.
    let corpus = format!("corpus/{}", target.name);
    fs::create_dir_all(folder.join(&corpus)).map_err(|e| format!("{corpus}: {e}"))?;
    let mut command =
        run::command("rustup", &["run", "nightly", "cargo", "fuzz", "run", target.name, &corpus]);
    command.args(target.seeds).args(["--", "-dict=http1.dict", "-max_len=2048", "-timeout=10"]);
    command.arg(format!("-max_total_time={seconds}"));
    // The variables of the cargo that runs us would bring its compiler back.
    command.current_dir(folder).env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
    run::step(&format!("fuzz {}", target.name), &mut command)
}
