//! Classes in brackets.

use crate::{Error, Set, escape};

/// Classes by name, as in `[[:alpha:]]`.
const NAMED: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// What a class costs by itself; one that is negated has the rest of Unicode.
const CLASS: u64 = 2;
const NEGATED: u64 = 26;
/// What a character or range of it costs: one of ASCII, a character of more bytes, a range of such.
const MEMBER: u64 = 1;
const WIDE: u64 = 4;
const WIDE_RANGE: u64 = 22;

/// Reads the class at the beginning of the text, brackets included. Also returns its length.
pub(crate) fn read(text: &str) -> Result<(Set, usize), Error> {
    let wrong = || Error::Class(text.chars().take(40).collect());
    let mut rest = text.strip_prefix('[').ok_or_else(wrong)?;
    let mut set = Set { text: "[".to_owned(), cost: CLASS };
    if let Some(negated) = rest.strip_prefix('^') {
        rest = negated;
        set.text.push('^');
        set.cost = NEGATED;
    }
    let mut first = true;
    loop {
        let c = rest.chars().next().ok_or_else(wrong)?;
        // A bracket that comes first is a member.
        if c == ']' && !first {
            set.text.push(']');
            return Ok((set, text.len() - rest.len() + 1));
        }
        first = false;
        if rest.starts_with("[:") && rest.contains(":]") {
            let length = named(rest, &mut set).ok_or_else(wrong)?;
            rest = &rest[length..];
            continue;
        }
        if c == '\\'
            && let Some((members, length)) = escape::set(rest)?
        {
            set.text.push_str(&members.text);
            set.cost += members.cost;
            rest = &rest[length..];
            continue;
        }
        let (low, length) = member(rest)?;
        rest = &rest[length..];
        let mut high = low;
        if let Some(after) = rest.strip_prefix('-')
            && !after.starts_with(']')
        {
            let (end, length) = member(after)?;
            rest = &after[length..];
            high = end;
        }
        if high < low {
            return Err(wrong());
        }
        push(&mut set.text, low);
        if high != low {
            set.text.push('-');
            push(&mut set.text, high);
        }
        set.cost += match (low, high) {
            (_, high) if high.is_ascii() => MEMBER,
            (low, high) if low == high => WIDE,
            _ => WIDE_RANGE,
        };
    }
}

/// `[:alpha:]`, `[:^alpha:]`. Returns its length.
fn named(text: &str, set: &mut Set) -> Option<usize> {
    let inside = text.strip_prefix("[:")?.split_once(":]")?.0;
    let name = inside.strip_prefix('^').unwrap_or(inside);
    if !NAMED.contains(&name) {
        return None;
    }
    let length = inside.len() + 4;
    set.text.push_str(&text[..length]);
    set.cost += NEGATED;
    Some(length)
}

/// One character of a class.
fn member(text: &str) -> Result<(char, usize), Error> {
    match text.chars().next() {
        Some('\\') => escape::character(text),
        Some(c) => Ok((c, c.len_utf8())),
        None => Err(Error::Class(String::new())),
    }
}

/// A character that means itself, whatever it means elsewhere in a class (`&&`, `--`, `[`).
fn push(out: &mut String, c: char) {
    if matches!(c, '\\' | '[' | ']' | '^' | '-' | '&' | '~') {
        out.push('\\');
    }
    out.push(c);
}
