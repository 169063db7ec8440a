//! `cargo xtask layers`: that the layers of ARCHITECTURE.md are facts. What a crate links is asked of `cargo tree`; who
//! uses whom inside a crate is read from its source text. What fails is said with the arrow that is wrong.

mod circles;
mod lexer;
mod modules;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{self, Result};
use lexer::Token;
use modules::Modules;
use tree::Tree;

/// Crates that take data and give data.
pub(crate) const PURE: &[&str] = &[
    "names",
    "envoy-api",
    "re2",
    "resources",
    "identity",
    "derive",
    "mesh",
    "xds",
    "translate",
    "federation",
    "dataplane-config",
    "balance",
    "h1",
    "apimachinery",
    "redirect",
];

/// The lints of all of them, below `crates`.
const PURE_LINTS: &str = "pure.clippy.toml";

/// What does I/O, or exists only to do it. A star stands for any ending.
const IO: &[&str] = &[
    "tokio*",
    "hyper*",
    "tower*",
    "tonic*",
    "axum*",
    "h2",
    "kube",
    "kube-client",
    "kube-runtime",
    "rusqlite",
    "envoy-types",
];

/// Which crates never link what, directly or through others.
const LINKS: &[Links] = &[
    Links { crates: PURE, never: IO, why: "a pure crate has no I/O, no clock and no async" },
    Links { crates: &["names"], never: &["*"], why: "it is used by everything and uses nothing" },
    Links {
        crates: &["dataplane"],
        never: &["tonic*", "axum*", "clap*", "kube", "kube-client", "kube-runtime"],
        why: "the data path knows neither gRPC nor Kubernetes nor a command line",
    },
    Links {
        crates: &["proxy", "agent"],
        never: &[
            "kube",
            "kube-client",
            "kube-runtime",
            "rusqlite",
            "portolan-resources",
            "portolan-mesh",
            "portolan-translate",
            "portolan-federation",
            "portolan-control-plane",
            "portolan-apimachinery",
            "portolan-apiserver",
            "portolan-node",
            "portolan-cluster",
            "portolan",
        ],
        why: "beside every workload runs the data plane, not the control plane and no API server",
    },
    Links {
        crates: &["control-plane"],
        never: &["portolan-apiserver", "portolan-node", "portolan-cluster", "portolan-dataplane", "portolan"],
        why: "the control plane does not know whether its cluster is embedded, and carries no traffic",
    },
];

/// The floors of `dataplane`, from the top: a folder (or file beside `lib.rs`) uses only floors below its own.
const FLOORS: &[&[&str]] = &[
    &["lib"],
    &["serve"],
    &["store"],
    &["listener"],
    &["telemetry"],
    &["upstream"],
    &["tls"],
    &["message"],
    &["io"],
    &["stats", "external"],
];

/// Files that may use each other in a circle, with the reason.
const CIRCLES: &[Circle] = &[];

struct Links {
    crates: &'static [&'static str],
    never: &'static [&'static str],
    why: &'static str,
}

struct Circle {
    /// Name of the crate's folder.
    package: &'static str,
    /// Files below `src`.
    files: &'static [&'static str],
    why: &'static str,
}

/// The task. Crates that are not there are passed over, so that the table may be ahead of a move.
pub(crate) fn layers() -> Result<()> {
    let crates = crates(&run::root().join("crates"))?;
    let mut wrong = Vec::new();
    wrong.extend(links(&crates)?);
    wrong.extend(clocks(&crates)?);
    wrong.extend(unused_names(&crates)?);
    for (name, folder) in &crates {
        let modules = Modules::read(&folder.join("src"))?;
        if name == "dataplane" {
            wrong.extend(floors(&modules));
        }
        wrong.extend(circles_of(name, &modules));
    }
    if wrong.is_empty() {
        println!("    layers: {} crates hold", crates.len());
        return Ok(());
    }
    Err(format!("layers do not hold:\n{}", wrong.join("\n")))
}

/// Pure crates that are not under the lints that keep clock and environment out of them.
fn clocks(crates: &[(String, PathBuf)]) -> Result<Vec<String>> {
    let read = |path: PathBuf| fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()));
    let lints = read(run::root().join("crates").join(PURE_LINTS))?;
    let mut wrong = Vec::new();
    for (name, folder) in crates.iter().filter(|(name, _)| PURE.contains(&name.as_str())) {
        if fs::read_to_string(folder.join("clippy.toml")).is_ok_and(|own| own == lints) {
            continue;
        }
        wrong.push(format!("  {name}: its clippy.toml is no link to crates/{PURE_LINTS}"));
    }
    Ok(wrong)
}

/// Names that nobody uses: the crate of names holds what is used, not all that Istio has.
fn unused_names(crates: &[(String, PathBuf)]) -> Result<Vec<String>> {
    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (name, folder) in crates {
        let mut texts = BTreeMap::new();
        modules::collect(folder, folder, &mut texts)?;
        for text in texts.values() {
            let tokens = lexer::tokens(text);
            for three in tokens.windows(3) {
                if let [Token::Word(public), Token::Word(item), Token::Word(word)] = three
                    && (name == "names" && public == "pub" && (item == "const" || item == "fn"))
                {
                    names.insert(word.clone());
                }
            }
            for token in tokens {
                if let Token::Word(word) = token {
                    *used.entry(word).or_default() += 1;
                }
            }
        }
    }
    let unused = names.into_iter().filter(|name| used.get(name).is_none_or(|&times| times < 2));
    Ok(unused.map(|name| format!("  names: nobody uses {name}")).collect())
}

/// Folders of `crates/*/*` with a manifest, by name.
fn crates(root: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for house in folders(root)? {
        for folder in folders(&house)? {
            if let (true, Some(name)) = (folder.join("Cargo.toml").is_file(), folder.file_name()) {
                found.push((name.to_string_lossy().into_owned(), folder));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(root).map_err(|e| format!("{}: {e}", root.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

/// What is linked and must not be.
fn links(crates: &[(String, PathBuf)]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for rule in LINKS {
        let there = |name: &&&str| crates.iter().any(|(there, _)| there == **name);
        let packages: Vec<String> =
            rule.crates.iter().filter(there).map(|name| format!("portolan-{name}")).collect();
        let mut tree = run::cargo(&["tree", "--quiet", "--locked", "--prefix", "depth", "--format", "{p}"]);
        tree.args(["--edges", "normal,no-proc-macro"]);
        for package in &packages {
            tree.args(["--package", package]);
        }
        let text = run::quiet(&mut tree)?;
        let tree = Tree::parse(&text);
        for package in &packages {
            for way in tree.ways(package, rule.never) {
                wrong.push(format!("  {}\n      ({})", way.join(" -> "), rule.why));
            }
        }
    }
    Ok(wrong)
}

/// The arrows between folders that do not point down.
fn floors(modules: &Modules) -> Vec<String> {
    let mut wrong = Vec::new();
    for (from, to) in modules.arrows() {
        let (above, below) = (modules::folder(from), modules::folder(to));
        if above == below {
            continue;
        }
        let floor = |folder: &str| FLOORS.iter().position(|floor| floor.contains(&folder));
        match (floor(above), floor(below)) {
            (Some(a), Some(b)) if a < b => {}
            (Some(_), Some(_)) => {
                wrong.push(format!("  dataplane: {from} -> {to} (only floors below may be used)"))
            }
            (None, _) => {
                wrong.push(format!("  dataplane: {above} is on no floor: xtask/src/layers.rs lists them"))
            }
            (_, None) => {
                wrong.push(format!("  dataplane: {below} is on no floor: xtask/src/layers.rs lists them"))
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

fn circles_of(name: &str, modules: &Modules) -> Vec<String> {
    let allowed = |files: &BTreeSet<&str>| {
        CIRCLES.iter().any(|circle| {
            circle.package == name
                && !circle.why.is_empty()
                && files.iter().all(|file| circle.files.contains(file))
        })
    };
    circles::find(modules.arrows_between_rooms())
        .into_iter()
        .filter(|circle| !allowed(&circle.files))
        .map(|circle| {
            let more = match circle.files.len() - (circle.shortest.len() - 1) {
                0 => String::new(),
                more => format!(" (and {more} more files in its knot)"),
            };
            format!("  {name}: {}{more}", circle.shortest.join(" -> "))
        })
        .collect()
}
