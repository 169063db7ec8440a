//! Field paths as people write them: `spec.containers[0].name`.

use std::fmt;

/// Bytes of a path in a report: keys come from outside and may be as long as a body.
const MAX_SHOWN: usize = 512;

/// A place in a value, as a chain on the stack of the walk that is there. Its text is made only when it is reported:
/// made for every value, it would cost as much as the keys above are long, times the values below them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'a> {
    /// The value itself.
    Root,
    /// A field of an object.
    Key(&'a Path<'a>, &'a str),
    /// An item of a list.
    Index(&'a Path<'a>, usize),
}

impl<'a> Path<'a> {
    /// The path of the field `key`.
    pub(crate) fn key(&'a self, key: &'a str) -> Path<'a> {
        Path::Key(self, key)
    }

    /// The path of the item at `index`.
    pub(crate) fn index(&'a self, index: usize) -> Path<'a> {
        Path::Index(self, index)
    }

    /// The text for a report, cut at [`MAX_SHOWN`] bytes.
    pub(crate) fn shown(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        match self {
            Path::Root => {}
            Path::Key(above, key) => {
                above.write(out);
                if !out.is_empty() {
                    push(out, ".");
                }
                push(out, key);
            }
            Path::Index(above, index) => {
                above.write(out);
                push(out, &format!("[{index}]"));
            }
        }
    }
}

/// Adds as much of `text` as a report has room for.
fn push(out: &mut String, text: &str) {
    let room = MAX_SHOWN.saturating_sub(out.len());
    let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    out.push_str(text.get(..end).unwrap_or_default());
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl From<&Path<'_>> for String {
    fn from(path: &Path<'_>) -> String {
        path.shown()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_people_write_it() {
        let (spec, list) = (Path::Root.key("spec"), "containers".to_owned());
        let list = spec.key(&list);
        assert_eq!(list.index(0).key("name").shown(), "spec.containers[0].name");
        assert_eq!(Path::Root.index(1).to_string(), "[1]");
    }

    #[test]
    fn a_long_key_is_cut_between_characters() {
        let key = "ä".repeat(MAX_SHOWN);
        let shown = Path::Root.key("x").key(&key).key("y").shown();
        assert!(shown.len() <= MAX_SHOWN && shown.starts_with("x.ä"), "{shown}");
    }
}
