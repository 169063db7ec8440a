//! The support table: whether a field that a user may write works, is refused, or is taken with a warning.
//!
//! There is no fourth state. One file holds the entries of one kind (or of a few small ones), a line an entry. Admission
//! answers by this table ([`judge`]), the book's page of it is made from it ([`page`]), and tests walk the schemas and fail on
//! a field without an entry, on an entry for a field that is not there, and on the name of a test that does not exist.
//!
//! A path is written as `spec.http[].match[].headers{}.exact`: `[]` stands for any item of a list, `{}` for any key of a map. A
//! path that ends in `=VALUE` speaks of that value alone (a `*` at its end stands for anything). An entry for an object speaks
//! of everything in it.

mod annotations;
mod destination_rule;
mod environment;
mod federation;
mod gateway;
mod judge;
mod labels;
mod mesh_config;
mod page;
mod proxy_config;
mod security;
mod service_entry;
mod sidecar;
mod tree;
mod virtual_service;

#[cfg(test)]
mod tests;

pub use judge::{judge, judge_metadata, judge_pod_proxy_config, judge_settings, judge_variables};
pub use page::page;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does what Istio 1.9 says.
    Works {
        /// A test that shows it, as `file::function` (of a file `tests.rs` or `mod.rs`, the folder counts).
        test: &'static str,
    },
    /// An object with it is not taken.
    Refused {
        /// Why, and what to do.
        message: &'static str,
    },
    /// It is taken, has no effect, and whoever wrote it is told.
    Warned {
        /// What does not happen.
        text: &'static str,
    },
}

/// What carries annotations and labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// A Pod that is injected.
    Pod,
    /// A Kubernetes Service.
    Service,
    /// One of our own kinds.
    Configuration,
}

/// One line of a table.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The field below that of its group; of annotations, labels and variables the name.
    pub path: &'static str,
    /// What becomes of it.
    pub support: Support,
}

/// Entries that hold at several places: a traffic policy stands in a rule, in its subsets and for single ports.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The places; empty for the top.
    pub under: &'static [&'static str],
    /// What is there.
    pub entries: &'static [Entry],
}

/// What a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A kind of the Kubernetes API: unknown fields are dropped by the API server.
    Kind,
    /// A document that no schema stands for: unknown fields are warned of.
    Document,
    /// Single names: annotations, labels, environment variables.
    Names,
}

/// All entries of one subject.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Kind of objects, or what the names are.
    pub name: &'static str,
    /// What it is about.
    pub subject: Subject,
    /// Its entries.
    pub groups: &'static [Group],
}

impl Table {
    /// All entries with their whole paths.
    pub fn entries(&self) -> impl Iterator<Item = (String, Support)> + '_ {
        self.groups.iter().flat_map(|group| {
            group.under.iter().flat_map(|place| {
                group.entries.iter().map(move |entry| (joined(place, entry.path), entry.support))
            })
        })
    }
}

/// A path below a place.
fn joined(place: &str, path: &str) -> String {
    if place.is_empty() { path.to_owned() } else { format!("{place}.{path}") }
}

const fn works(path: &'static str, test: &'static str) -> Entry {
    Entry { path, support: Support::Works { test } }
}

const fn refused(path: &'static str, message: &'static str) -> Entry {
    Entry { path, support: Support::Refused { message } }
}

const fn warned(path: &'static str, text: &'static str) -> Entry {
    Entry { path, support: Support::Warned { text } }
}

const fn group(under: &'static [&'static str], entries: &'static [Entry]) -> Group {
    Group { under, entries }
}

/// Below nothing: paths begin at the top.
const TOP: &[&str] = &[""];
/// Where objects say what they want.
const SPEC: &[&str] = &["spec"];

/// All tables, in the order of the book.
pub const TABLES: &[Table] = &[
    virtual_service::TABLE,
    destination_rule::TABLE,
    gateway::TABLE,
    service_entry::TABLE,
    service_entry::WORKLOAD_ENTRY,
    sidecar::TABLE,
    security::PEER_AUTHENTICATION,
    security::AUTHORIZATION_POLICY,
    security::REQUEST_AUTHENTICATION,
    federation::PEER,
    federation::EXPORTS,
    federation::IMPORTS,
    mesh_config::TABLE,
    proxy_config::TABLE,
    proxy_config::OF_A_POD,
    annotations::TABLE,
    labels::TABLE,
    environment::CONTROL_PLANE,
    environment::AGENT,
];

/// The table of that name.
pub fn table(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}
