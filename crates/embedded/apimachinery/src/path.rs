//! Field paths as people write them: `spec.containers[0].name`.

/// Joins a field path: `spec` and `replicas` to `spec.replicas`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
