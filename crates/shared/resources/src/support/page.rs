//! The book's page of the table.

use std::fmt::Write as _;

use super::{Group, Support, TABLES, Table, joined};

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
    let mut title = table.name.to_owned();
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    writeln!(out, "\n## {title}")?;
    let others = table.groups.iter().flat_map(others).collect::<Vec<_>>();
    if !others.is_empty() {
        writeln!(out, "\n| | state | why |\n|---|---|---|")?;
        others.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    }
    let works = table.groups.iter().filter_map(working).collect::<Vec<_>>();
    if !works.is_empty() {
        writeln!(out, "\nThese work:\n")?;
    }
    works.iter().try_for_each(|line| writeln!(out, "- {line}"))
}

/// The rows of what a group refuses or warns of.
fn others(group: &Group) -> impl Iterator<Item = String> + '_ {
    group.entries.iter().filter_map(|entry| {
        let (state, text) = match entry.support {
            Support::Works { .. } => return None,
            Support::Refused { message } => ("refused", message),
            Support::Warned { text } => ("warning", text),
        };
        let paths = group.under.iter().map(|place| format!("`{}`", joined(place, entry.path)));
        Some(format!("| {} | {state} | {} |", list(paths), text.replace('|', "\\|")))
    })
}

/// What works of a group, with the places where it stands before it.
fn working(group: &Group) -> Option<String> {
    let works = group.entries.iter().filter(|entry| matches!(entry.support, Support::Works { .. }));
    let works = list(works.map(|entry| format!("`{}`", entry.path)));
    let places = list(group.under.iter().filter(|place| !place.is_empty()).map(|place| format!("`{place}`")));
    match (works.as_str(), places.as_str()) {
        ("", _) => None,
        (_, "") => Some(works),
        _ => Some(format!("in {places}: {works}")),
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}
