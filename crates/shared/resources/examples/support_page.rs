//! Prints the book's page of the support table; `cargo xtask docs` writes it to docs/reference/support.md.

fn main() {
    print!("{}", portolan_resources::support::page());
}
