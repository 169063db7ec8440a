//! Random parts of names.

use portolan_apimachinery::strategy::NAME_ALPHABET;

/// Random characters for generated names.
pub(crate) fn suffix() -> String {
    let alphabet = NAME_ALPHABET.as_bytes();
    (0..5).map(|_| char::from(alphabet[fastrand::usize(..alphabet.len())])).collect()
}
