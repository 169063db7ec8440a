//! Resource quantities (`100m`, `1Gi`).

/// Whether `text` is a well-formed quantity.
pub fn is_valid(text: &str) -> bool {
    !text.is_empty()
}
