//! Resource quantities (`100m`, `1Gi`): syntax only, values are kept as they were written.

/// What a quantity must look like, in the words of the real server.
pub const EXPECTED: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Whether `text` is a well-formed quantity.
pub fn is_valid(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 || number.bytes().filter(|b| *b == b'.').count() > 1 {
        return false;
    }
    const SUFFIXES: &[&str] =
        &["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    if SUFFIXES.contains(&suffix) {
        return true;
    }
    let Some(exponent) = suffix.strip_prefix(['e', 'E']) else { return false };
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    !exponent.is_empty() && exponent.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #[test]
    fn quantities() {
        for good in ["1", "0.5", "100m", "1Gi", "-3k", "1e3", "1E-3", "12E", ".5"] {
            assert!(super::is_valid(good), "{good}");
        }
        for bad in ["", "m", "1.2.3", "1gi", "1e", "1 Gi", "."] {
            assert!(!super::is_valid(bad), "{bad}");
        }
    }
}
