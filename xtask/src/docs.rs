//! The book: every page in the summary, every link to something that is there, and every document that a comment
//! names as ours in the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::run::{self, Result};
use crate::tools;

const MDBOOK: tools::CargoTool = tools::CargoTool { package: "mdbook", version: "0.5.4" };
const SUMMARY: &str = "SUMMARY.md";
/// Markdown outside the book whose links have to hold too.
const FRONT_PAGES: [&str; 5] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "samples/bookinfo/README.md"];
/// Folders whose files may name documents.
const SOURCES: [&str; 7] = ["bench", "crates", "fuzz", "samples", "tests", "web", "xtask"];
/// How a comment names a page of the book.
const PAGE: &str = "docs/";

/// Page that is made from the support table of the crate `resources`, whose tests fail while it differs.
const SUPPORT_PAGE: &str = "docs/reference/support.md";

/// Writes the page that is made, checks, then renders the book.
pub(crate) fn docs() -> Result<()> {
    support_page()?;
    check()?;
    let mdbook = tools::cargo_tool(&MDBOOK)?;
    run::step("book", run::command(&mdbook.display().to_string(), &["build"]).arg("docs"))?;
    println!("    {}", run::target().join("book/index.html").display());
    Ok(())
}

fn support_page() -> Result<()> {
    println!("\n==> {SUPPORT_PAGE}");
    let arguments = ["run", "--quiet", "-p", "portolan-resources", "--example", "support_page"];
    let output = run::command("cargo", &arguments).stderr(Stdio::inherit()).output();
    let output = output.map_err(|e| format!("cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("{SUPPORT_PAGE} could not be made: the example support_page failed"));
    }
    let page = run::root().join(SUPPORT_PAGE);
    fs::write(&page, output.stdout).map_err(|e| format!("{}: {e}", page.display()))
}

/// What has to hold without rendering: fast, and with nothing to install.
pub(crate) fn check() -> Result<()> {
    println!("\n==> pages and links");
    let root = run::root();
    let mut pages = Vec::new();
    walk(&root.join("docs"), &mut pages)?;
    pages.retain(|page| page.extension().is_some_and(|ending| ending == "md"));
    let mut wrong = unlisted(&root, &pages)?;
    pages.extend(FRONT_PAGES.map(|page| root.join(page)).into_iter().filter(|page| page.is_file()));
    for page in &pages {
        let text = read(page)?;
        let folder = page.parent().unwrap_or(&root);
        for link in links(&text) {
            if !folder.join(link).exists() {
                wrong.push(format!("{}: the link {link} leads nowhere", shown(&root, page)));
            }
        }
    }
    for folder in SOURCES.map(|folder| root.join(folder)).iter().filter(|folder| folder.is_dir()) {
        let mut files = Vec::new();
        walk(folder, &mut files)?;
        for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs")) {
            for (line, text) in read(file)?.lines().enumerate() {
                for page in named_pages(text).filter(|page| !root.join(page).is_file()) {
                    wrong.push(format!("{}:{}: there is no {page}", shown(&root, file), line + 1));
                }
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Pages that the summary does not list: the book would leave them out.
fn unlisted(root: &Path, pages: &[PathBuf]) -> Result<Vec<String>> {
    let docs = root.join("docs");
    let summary = read(&docs.join(SUMMARY))?;
    let listed: BTreeSet<PathBuf> = links(&summary).map(|link| docs.join(link)).collect();
    let missing = pages.iter().filter(|page| !page.ends_with(SUMMARY) && !listed.contains(*page));
    Ok(missing.map(|page| format!("{}: not in {SUMMARY}", shown(root, page))).collect())
}

/// Files that a page links to: targets of `](...)` without their anchors, but for other sites and anchors alone.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.split_once('#').map_or(target, |(file, _)| file))
        .filter(|target| !target.is_empty() && !target.contains("://"))
}

/// Pages of the book that a line of code names.
fn named_pages(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices(PAGE).filter_map(|(start, _)| {
        let before = line[..start].chars().next_back();
        if before.is_some_and(|before| before.is_alphanumeric() || "/_-.".contains(before)) {
            return None;
        }
        let rest = &line[start..];
        let end = rest.find(".md")? + ".md".len();
        let page = &rest[..end];
        page.chars().all(|c| c.is_ascii_alphanumeric() || "/_-.".contains(c)).then_some(page)
    })
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for entry in entries.flatten() {
        let path = entry.path();
        match path.is_dir() {
            true if path.ends_with("target") || path.ends_with("node_modules") => {}
            true => walk(&path, found)?,
            false => found.push(path),
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_files_of_this_repository() {
        let text = "[a](b.md) [c](d.md#e) [f](https://example.org/g) [h](#i) [j](../k)";
        assert_eq!(links(text).collect::<Vec<_>>(), ["b.md", "d.md", "../k"]);
    }

    #[test]
    fn pages_are_found_in_comments() {
        let line = "//! As docs/reference/xds.md and `docs/federation.md` say; not istio.io/docs/x.md.";
        assert_eq!(named_pages(line).collect::<Vec<_>>(), ["docs/reference/xds.md", "docs/federation.md"]);
    }

    #[test]
    fn the_book_is_whole() {
        check().unwrap();
    }
}
