//! The bookinfo sample.
fn main() {}
