//! `portolan version`.

use clap::Args;
use serde_json::json;

use crate::output::{Format, print_value};

/// Flags of `portolan version`.
#[derive(Debug, Args)]
pub(crate) struct Version {
    /// Output format.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Format,
}

/// Prints what this program is.
pub(crate) fn run(args: &Version) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    match args.output {
        Format::Table | Format::Wide => {
            println!("portolan {version}");
            Ok(())
        }
        format => print_value(format, &json!({"version": version, "rust": env!("CARGO_PKG_RUST_VERSION")})),
    }
}
