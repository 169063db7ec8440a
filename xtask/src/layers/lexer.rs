//! Rust source text as the few tokens that say who uses whom: comments, strings and numbers are gone.

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// An identifier or keyword, `r#` taken off.
    Word(String),
    /// `::`
    Path,
    /// Any other sign.
    Sign(char),
}

/// Splits source text. What it does not understand it passes over: the compiler judges the text, not this.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let used = if c.is_whitespace() {
            c.len_utf8()
        } else if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(used) = string(rest) {
            used
        } else if c == '\'' {
            quote(rest)
        } else if c.is_ascii_digit() {
            word_end(rest)
        } else if c == '_' || c.is_alphabetic() {
            let raw = if rest.starts_with("r#") { 2 } else { 0 };
            let end = raw + word_end(rest.get(raw..).unwrap_or_default());
            out.push(Token::Word(rest.get(raw..end).unwrap_or_default().to_owned()));
            end
        } else if rest.starts_with("::") {
            out.push(Token::Path);
            2
        } else {
            out.push(Token::Sign(c));
            c.len_utf8()
        };
        rest = rest.get(used.max(1)..).unwrap_or_default();
    }
    out
}

fn word_end(text: &str) -> usize {
    text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len())
}

/// Length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            match rest.chars().next() {
                Some(c) => at += c.len_utf8(),
                None => break,
            }
        }
    }
    at
}

/// Length of a string literal of any kind (`"…"`, `b"…"`, `c"…"`, `r#"…"#`), if one starts here.
fn string(text: &str) -> Option<usize> {
    let prefix = text.find(|c| !matches!(c, 'b' | 'c' | 'r')).filter(|&length| length <= 2)?;
    let after = text.get(prefix..)?;
    if text.get(..prefix)?.contains('r') {
        let hashes = after.find(|c| c != '#')?;
        let body = after.get(hashes..)?.strip_prefix('"')?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(prefix + hashes + 1 + length);
    }
    let body = after.strip_prefix('"')?;
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(prefix + 1 + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

/// Length of a character literal, or of the name of a lifetime.
fn quote(text: &str) -> usize {
    let body = text.get(1..).unwrap_or_default();
    let mut chars = body.char_indices();
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((_, escaped))) => {
            let start = 1 + escaped.len_utf8();
            let end = body.get(start..).and_then(|rest| rest.find('\''));
            end.map_or(text.len(), |end| 1 + start + end + 1)
        }
        (Some((_, c)), Some((_, '\''))) => 1 + c.len_utf8() + 1,
        _ => 1 + word_end(body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        tokens(text)
            .into_iter()
            .map(|token| match token {
                Token::Word(word) => word,
                Token::Path => "::".to_owned(),
                Token::Sign(sign) => sign.to_string(),
            })
            .collect()
    }

    #[test]
    fn paths_are_words_between_double_colons() {
        assert_eq!(words("use crate::r#type::v3;"), ["use", "crate", "::", "type", "::", "v3", ";"]);
    }

    #[test]
    fn comments_are_no_code() {
        assert_eq!(words("a // crate::b\n/* crate::c /* nested */ still */ d"), ["a", "d"]);
    }

    #[test]
    fn strings_are_no_code() {
        assert_eq!(
            words(r####"a("x \" crate::b", b"y", r#"z " crate::c"#, c"w")"####),
            ["a", "(", ",", ",", ",", ")"]
        );
    }

    #[test]
    fn characters_and_lifetimes_are_told_apart() {
        assert_eq!(
            words(r"f::<'static>('a', '\'', '\u{1f}', b)"),
            ["f", "::", "<", ">", "(", ",", ",", ",", "b", ")"]
        );
    }

    #[test]
    fn an_open_string_ends_with_the_text() {
        assert_eq!(words("a \"never closed"), ["a"]);
    }
}
