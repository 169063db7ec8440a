//! The book's page of the table.

use std::fmt::Write as _;

use super::{Support, TABLES, Table};

/// What stands before the tables.
const HEAD: &str = "\
# What is supported

Whatever you may write is in one of three states, and there is no fourth. It **works**, as Istio 1.9 documents it; it is
**refused** when you apply it, with the field and the reason; or it is taken **with a warning** that `kubectl apply` prints,
because it has no effect here. This page is made from the table that admission answers by (`cargo xtask docs` writes it).

`[]` stands for any item of a list, `{}` for any key of a map, and `=VALUE` for that value alone (with a `*` at its end, for
all that begin so). An entry for an object speaks of everything in it. Fields that are not listed are not known: the API
server drops them from objects, and in MeshConfig and ProxyConfig they are warned of.
";

/// The page, in Markdown.
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    for table in TABLES {
        // Writing to a String does not fail.
        let _ = section(&mut out, table);
    }
    out
}

fn section(out: &mut String, table: &Table) -> std::fmt::Result {
    let mut works: Vec<String> = Vec::new();
    let mut others: Vec<(String, &str, &str)> = Vec::new();
    for (path, support) in table.entries() {
        match support {
            Support::Works { .. } => works.push(path),
            Support::Refused { message } => others.push((path, "refused", message)),
            Support::Warned { text } => others.push((path, "warning", text)),
        }
    }
    let mut title = table.name.to_owned();
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    writeln!(out, "\n## {title}\n")?;
    if !others.is_empty() {
        writeln!(out, "| | state | why |\n|---|---|---|")?;
        for (path, state, text) in &others {
            writeln!(out, "| `{path}` | {state} | {} |", text.replace('|', "\\|"))?;
        }
        writeln!(out)?;
    }
    if !works.is_empty() {
        let lead = if others.is_empty() { "Everything works: " } else { "These work: " };
        let names: Vec<String> = works.iter().map(|path| format!("`{path}`")).collect();
        writeln!(out, "{lead}{}.", names.join(", "))?;
    }
    Ok(())
}
