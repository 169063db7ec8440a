//! What the crates depend on: nothing that is unused, and nothing that `deny.toml` refuses.

use crate::run::{self, Result};
use crate::tools::{self, CargoTool};

const MACHETE: CargoTool = CargoTool { package: "cargo-machete", version: "0.9.2" };
const DENY: CargoTool = CargoTool { package: "cargo-deny", version: "0.20.2" };

/// The folders of the workspace; `fuzz` is one of its own, and shares the sources of an oracle with a test.
const MEMBERS: &[&str] = &["bench", "crates", "samples", "tests", "xtask"];

/// Both checks. Advisories are left out: their database is a git repository, which not every machine reaches.
pub(crate) fn check() -> Result<()> {
    let machete = tools::cargo_tool(&MACHETE)?;
    run::step("unused dependencies", &mut run::command(&machete.display().to_string(), MEMBERS))?;
    let deny = tools::cargo_tool(&DENY)?;
    let arguments = ["--log-level", "error", "check", "bans", "licenses", "sources"];
    run::step("bans, licences, sources", &mut run::command(&deny.display().to_string(), &arguments))
}
