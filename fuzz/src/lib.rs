//! What the fuzz targets share. The oracle is that of the codec's own tests, so that what is found here can be put
//! into `crates/data/h1/tests/corpus` and fails there in the same words.

#[path = "../../crates/data/h1/tests/differential/oracle/mod.rs"]
pub mod oracle;
