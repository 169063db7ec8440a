//! What follows a backslash.

use crate::{Error, Set};

/// What an escape stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    /// A character.
    Literal(char),
    /// One of several characters.
    Set(Set),
    /// A place in the text: `\b`, `\A`.
    Place(&'static str),
    /// `\E` without `\Q`.
    Nothing,
}

/// RE2's `\d`, `\s` and `\w` are ASCII's; `\s` is without the vertical tab.
const DIGITS: &str = "0-9";
const SPACES: &str = r"\t\n\f\r ";
const WORDS: &str = "0-9A-Za-z_";

/// What an ASCII class costs, and one of all other characters.
const ASCII: u64 = 3;
const NEGATED: u64 = 26;
/// What a class of Unicode costs: some have several hundred ranges.
const UNICODE: u64 = 900;

/// Reads the escape at the beginning of the text. Also returns its length.
pub(crate) fn read(text: &str) -> Result<(Escape, usize), Error> {
    let wrong = || Error::Escape(text.chars().take(4).collect());
    let c = text.chars().nth(1).ok_or_else(wrong)?;
    let places = match c {
        'A' => Some(r"\A"),
        'z' => Some(r"\z"),
        'b' => Some(r"(?-u:\b)"),
        'B' => Some(r"(?-u:\B)"),
        _ => None,
    };
    if let Some(place) = places {
        return Ok((Escape::Place(place), 2));
    }
    match c {
        'C' => Err(Error::Byte),
        'E' => Ok((Escape::Nothing, 2)),
        _ => match set(text)? {
            Some((set, length)) => Ok((Escape::Set(set), length)),
            None => character(text).map(|(c, length)| (Escape::Literal(c), length)),
        },
    }
}

/// `\d`, `\W`, `\pN`, `\p{Greek}`, as what stands between brackets; nothing if it is another escape.
pub(crate) fn set(text: &str) -> Result<Option<(Set, usize)>, Error> {
    let ascii = |members: &str, negated: bool| {
        let text = if negated { format!("[^{members}]") } else { members.to_owned() };
        Some((Set { text, cost: if negated { NEGATED } else { ASCII } }, 2))
    };
    Ok(match text.as_bytes().get(1) {
        Some(b'd') => ascii(DIGITS, false),
        Some(b'D') => ascii(DIGITS, true),
        Some(b's') => ascii(SPACES, false),
        Some(b'S') => ascii(SPACES, true),
        Some(b'w') => ascii(WORDS, false),
        Some(b'W') => ascii(WORDS, true),
        Some(b'p' | b'P') => Some(unicode(text)?),
        _ => None,
    })
}

/// A class of Unicode: a general category, a script, or `Any`.
fn unicode(text: &str) -> Result<(Set, usize), Error> {
    let wrong = || Error::Unicode(text.chars().take(40).collect());
    let rest = &text[2..];
    let (name, length) = match rest.strip_prefix('{') {
        Some(rest) => {
            let (name, _) = rest.split_once('}').ok_or_else(wrong)?;
            (name, 4 + name.len())
        }
        None => {
            let c = rest.chars().next().ok_or_else(wrong)?;
            (&rest[..c.len_utf8()], 2 + c.len_utf8())
        }
    };
    let (name, inverted) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
    let negated = inverted != text.starts_with(r"\P");
    let plain = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
    if !plain {
        return Err(wrong());
    }
    let property = match name {
        "Any" => "Any".to_owned(),
        category if category.len() <= 2 => format!("gc={category}"),
        script => format!("script={script}"),
    };
    let class = format!(r"\{}{{{property}}}", if negated { 'P' } else { 'p' });
    if regex_syntax::parse(&class).is_err() {
        return Err(wrong());
    }
    Ok((Set { text: class, cost: UNICODE }, length))
}

/// An escape that is one character.
pub(crate) fn character(text: &str) -> Result<(char, usize), Error> {
    let wrong = || Error::Escape(text.chars().take(6).collect());
    let c = text.chars().nth(1).ok_or_else(wrong)?;
    let by_letter = match c {
        'a' => Some('\x07'),
        'f' => Some('\x0C'),
        't' => Some('\t'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        'v' => Some('\x0B'),
        c if c.is_ascii_punctuation() => Some(c),
        _ => None,
    };
    if let Some(c) = by_letter {
        return Ok((c, 2));
    }
    let (number, length) = match c {
        '0'..='7' => octal(text).ok_or_else(wrong)?,
        'x' => hexadecimal(text).ok_or_else(wrong)?,
        _ => return Err(wrong()),
    };
    char::from_u32(number).map(|c| (c, length)).ok_or_else(wrong)
}

/// `\0`, `\012`, `\12`; a single digit but 0 would be a back reference.
fn octal(text: &str) -> Option<(u32, usize)> {
    let digits = text[1..].bytes().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
    if digits == 1 && !text.starts_with(r"\0") {
        return None;
    }
    Some((u32::from_str_radix(&text[1..=digits], 8).ok()?, 1 + digits))
}

/// `\x7F`, `\x{10FFFF}`.
fn hexadecimal(text: &str) -> Option<(u32, usize)> {
    let rest = &text[2..];
    let (digits, length) = match rest.strip_prefix('{') {
        Some(rest) => {
            let (digits, _) = rest.split_once('}')?;
            (digits, 4 + digits.len())
        }
        None => (rest.get(..2)?, 4),
    };
    let good = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    good.then(|| u32::from_str_radix(digits, 16).ok()).flatten().map(|number| (number, length))
}
