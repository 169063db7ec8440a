//! Golden files: `golden/<proxy>.txt`. `UPDATE_GOLDEN=1 cargo test` writes them anew.

use std::{fs, path::Path};

use portolan_mesh::Dialect;

use super::{fixture, summary::summary};

#[test]
fn configuration_of_every_proxy() {
    let mesh = portolan_mesh::Mesh::from(&fixture::inputs());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/golden");
    let mut differing = Vec::new();
    for node in fixture::nodes().iter().filter(|n| n.metadata.dialect == Dialect::Portolan) {
        let path = folder.join(format!("{}.txt", node.name.trim_end_matches("-1")));
        let text = summary(&mesh, node);
        #[expect(clippy::disallowed_methods, reason = "whoever runs the test asks for new golden files")]
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if expected != text {
            let first = text.lines().zip(expected.lines()).find(|(a, b)| a != b);
            differing.push(format!("{}: {first:#?}", path.display()));
        }
    }
    assert!(differing.is_empty(), "set UPDATE_GOLDEN=1 if this is meant:\n{}", differing.join("\n"));
}
