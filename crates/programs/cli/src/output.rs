//! How results are shown: tables as kubectl prints them, JSON, YAML.

use clap::ValueEnum;
use portolan_client::{say, terminal};
use serde_json::Value;

/// Value of `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// A table.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Spaces between two columns.
const GAP: usize = 3;

/// Rows under a header, aligned.
#[derive(Debug, Default)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub(crate) fn rows(&mut self, rows: impl IntoIterator<Item = Vec<String>>) {
        self.rows.extend(rows);
    }

    /// The table as text; trailing spaces are cut.
    pub(crate) fn render(&self) -> String {
        let mut widths: Vec<usize> = self.header.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let header: Vec<String> = self.header.iter().map(|cell| (*cell).to_owned()).collect();
        let mut out = String::new();
        for row in std::iter::once(&header).chain(&self.rows) {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(row) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width + GAP - cell.chars().count().min(*width)));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Prints a value in a machine's format.
pub(crate) fn print_value(format: Format, value: &Value) -> anyhow::Result<()> {
    match format {
        Format::Yaml => terminal::write(format_args!("{}", serde_saphyr::to_string(value)?)),
        _ => say!("{}", serde_json::to_string_pretty(value)?),
    }
    Ok(())
}

/// Prints the table or the value, as the format asks.
pub(crate) fn print(format: Format, table: &Table, value: &Value) -> anyhow::Result<()> {
    match format {
        Format::Table | Format::Wide => {
            if table.rows.is_empty() {
                // As kubectl: not on standard output, which a program may be reading.
                eprintln!("No resources found");
            } else {
                terminal::write(format_args!("{}", table.render()));
            }
            Ok(())
        }
        Format::Json | Format::Yaml => print_value(format, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_trimmed() {
        let mut table = Table::new(&["NAME", "AGE"]);
        table.row(["a-long-name".to_owned(), "5s".to_owned()]);
        table.row(["b".to_owned(), String::new()]);
        assert_eq!(table.render(), "NAME          AGE\na-long-name   5s\nb\n");
    }
}
