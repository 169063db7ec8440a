//! Which changes to the code its own tests do not notice (cargo-mutants). Not part of `test`: it takes hours.
//!
//! Changes that nobody could notice are listed with their reason in `.cargo/mutants.toml`; every other one that no test
//! notices is either a test that is missing or code that is.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use crate::layers::PURE;
use crate::run::{self, Result};
use crate::tools;

/// Changes of this version are counted in CONTRIBUTING.md: another makes others.
const MUTANTS: tools::CargoTool = tools::CargoTool { package: "cargo-mutants", version: "27.1.0" };

/// Seconds after which a test run counts as hanging, and the change as noticed.
const TIMEOUT: &str = "60";

/// What cargo-mutants says when everything was noticed, something was not, or some test run hung.
const MEASURED: [i32; 3] = [0, 2, 3];

/// `[crate] [arguments]`: one crate by its folder's name, or all pure crates.
pub(crate) fn mutants(arguments: &[String]) -> Result<()> {
    let (chosen, rest) = match arguments.split_first() {
        Some((name, rest)) if !name.starts_with('-') => (vec![name.as_str()], rest),
        _ => (PURE.to_vec(), arguments),
    };
    let program = tools::cargo_tool(&MUTANTS)?;
    let mut rows = vec![
        "| crate | changes tried | noticed | percent | left out as equivalent |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    let mut survivors = String::new();
    for name in chosen {
        let output = run::target().join("mutants").join(name);
        measure(&program, name, &output, rest)?;
        let results = Results::read(&output.join("mutants.out"))?;
        let left_out = count(&program, name, &["--no-config"])?.saturating_sub(count(&program, name, &[])?);
        rows.push(results.row(name, left_out));
        survivors.push_str(&results.missed);
    }
    if !survivors.is_empty() {
        println!("\nNoticed by no test:\n{}", survivors.trim_end());
    }
    println!("\n{}", rows.join("\n"));
    Ok(())
}

fn measure(program: &Path, name: &str, output: &Path, rest: &[String]) -> Result<()> {
    fs::create_dir_all(output).map_err(|e| format!("{}: {e}", output.display()))?;
    let package = format!("portolan-{name}");
    let mut command = shielded(program);
    command.args(["mutants", "--package", &package]);
    command.args(["--test-workspace=false", "--timeout", TIMEOUT, "--output"]).arg(output).args(rest);
    // What a change does is seen by the crate's own tests; another program beside them would only take time.
    command.env("PORTOLAN_SKIP_ENVOY", "1");
    // The input with which one change was noticed would be tried first with all others, and notice more than tests do.
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
    println!("\n==> changes to {name}");
    let status = command.status().map_err(|e| format!("{}: {e}", program.display()))?;
    match status.code() {
        Some(code) if MEASURED.contains(&code) => Ok(()),
        _ => Err(format!("the changes to {name} could not be tried ({status})")),
    }
}

/// The program, in a network of its own where that can be had: as root, tests also run what sets up a machine's network,
/// and changed code would do that to this one.
fn shielded(program: &Path) -> Command {
    let program = program.display().to_string();
    match fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        true => run::command(
            "unshare",
            &["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", &program],
        ),
        false => run::command(&program, &[]),
    }
}

/// How many changes there are to a crate's code; those of `.cargo/mutants.toml` count with `--no-config` only.
fn count(program: &Path, name: &str, arguments: &[&str]) -> Result<usize> {
    let package = format!("portolan-{name}");
    let mut command =
        run::command(&program.display().to_string(), &["mutants", "--list", "--package", &package]);
    Ok(run::quiet(command.args(arguments))?.lines().count())
}

/// What cargo-mutants found, one change a line.
struct Results {
    missed: String,
    noticed: usize,
    tried: usize,
}

impl Results {
    fn read(folder: &Path) -> Result<Self> {
        let lines = |name: &str| {
            let file = folder.join(name);
            fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))
        };
        let missed = lines("missed.txt")?;
        // A change that makes a test hang is noticed; one that does not compile was not tried.
        let noticed = lines("caught.txt")?.lines().count() + lines("timeout.txt")?.lines().count();
        let tried = noticed + missed.lines().count();
        Ok(Results { missed, noticed, tried })
    }

    fn row(&self, name: &str, equivalents: usize) -> String {
        let percent = (self.noticed * 100).checked_div(self.tried).unwrap_or(100);
        format!("| `{name}` | {} | {} | {percent} | {equivalents} |", self.tried, self.noticed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_down() {
        let results = Results { missed: String::new(), noticed: 999, tried: 1000 };
        assert_eq!(results.row("h1", 3), "| `h1` | 1000 | 999 | 99 | 3 |");
        let nothing = Results { missed: String::new(), noticed: 0, tried: 0 };
        assert_eq!(nothing.row("names", 0), "| `names` | 0 | 0 | 100 | 0 |");
    }
}
