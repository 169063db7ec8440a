//! Repository tasks: `demo`, `install`, `test`, `layers`, `bench`, `docs`, `fuzz`, `mutants`, `tools`.
//!
//! Each task first makes sure that what it needs is there, says what it does, and can be run again at any time.
//! The crate has no dependencies, so that it starts within seconds of a fresh clone.

mod dependencies;
mod docs;
mod fuzz;
mod layers;
mod mutants;
mod packages;
mod run;
mod tasks;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask <task> [arguments]

  demo [arguments]   build everything, then run `portolan demo` with the given arguments
                     (--check: run it as a test; --proxy portolan|envoy|mixed)
  test               format, lints, unit tests and end-to-end tests: what CI runs
  layers             what each crate may link, and which file may use which: says the arrow that is wrong
  bench [arguments]  CPU per request and memory of our proxy against Envoy and nginx, interleaved
                     (--quick; --scenario NAME; --rounds N; --output FILE.json; --help)
  bench control-plane [arguments]
                     what changes cost the control plane and how long they take to reach all proxies
                     (--quick; --proxies 100,1000; --services 250,2000; --scenario plain|real|reconnect;
                     --changes N; --sustained SECONDS; --output FILE.json; --help)
  install [--prefix DIRECTORY]
                     build the programs as they are shipped and put them into DIRECTORY/bin
                     (/usr/local for root, ~/.local for others)
  docs               check the book's links and render it to target/book
  fuzz [target] [seconds]
                     feed random messages to the codecs, each target for 60 seconds or as given;
                     needs a nightly compiler and cargo-fuzz
  mutants [crate] [arguments of cargo-mutants]
                     change the code of a pure crate, or of all, in many small ways, and show which changes its
                     own tests do not notice (an hour or more for all; --shard 0/10 takes every tenth)
  tools              only fetch what demo and test need (Debian packages, kubectl, Envoy)
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let result = match task.as_deref() {
        Some("demo") => tasks::demo(&rest),
        Some("test") => tasks::test(&rest),
        Some("install") => tasks::install(&rest),
        Some("fuzz") => fuzz::fuzz(&rest),
        Some("layers") => layers::layers(),
        Some("mutants") => mutants::mutants(&rest),
        Some("docs") => docs::docs(),
        Some("bench") => tasks::bench(&rest),
        Some("tools") => tasks::tools(),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\nxtask: {message}");
            ExitCode::FAILURE
        }
    }
}
