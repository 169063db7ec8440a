//! What programs for people write to standard output.

use std::fmt;
use std::io::{ErrorKind, Write};

/// Writes to standard output. A reader that has gone (`| head`) has seen enough: no error, and the work goes on. Output
/// that cannot be written otherwise (a full disk) ends the program with exit code 1.
pub fn write(text: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("standard output cannot be written: {error}");
            std::process::exit(1);
        }
        _ => {}
    }
}

/// Prints a line, as `println!` does, but minds a reader that has gone.
#[macro_export]
macro_rules! say {
    () => { $crate::terminal::write(::std::format_args!("\n")) };
    ($($text:tt)*) => { $crate::terminal::write(::std::format_args!("{}\n", ::std::format_args!($($text)*))) };
}

/// A path as a shell takes it: in single quotes where it needs them.
#[must_use]
pub fn quoted(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn paths_are_quoted_where_a_shell_would_split_them() {
        assert_eq!(quoted("/var/lib/shop-1".as_ref()), "/var/lib/shop-1");
        assert_eq!(quoted("/my clusters/a".as_ref()), "'/my clusters/a'");
        assert_eq!(quoted("/it's/$HOME".as_ref()), r"'/it'\''s/$HOME'");
        assert_eq!(quoted("".as_ref()), "''");
    }
}
