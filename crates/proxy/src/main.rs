//! The `portolan-proxy` program.
fn main() {}
