//! From the first character to the last: groups, alternatives, repetitions.

use std::collections::BTreeSet;

use crate::{Error, MAX_COST, MAX_DEPTH, MAX_REPETITIONS, Rewritten, class, escape};

/// What any character at all costs: that of UTF-8 is many ranges of bytes.
const DOT: u64 = 24;
/// What a group costs that remembers its place, a place in the text, another alternative, and a round of a repetition.
const GROUP: u64 = 3;
const PLACE: u64 = 1;
const ALTERNATIVE: u64 = 1;
const ROUND: u64 = 2;
/// What both cases of a character cost beyond twice that of one: some have a third.
const FOLDED: u64 = 3;

/// A group that is open, or the whole.
#[derive(Debug, Default)]
struct Group {
    /// What its text so far costs.
    cost: u64,
    /// The largest product of repetitions in it.
    repetitions: u32,
    /// Flags as they were before it.
    folds_outside: bool,
}

/// The last thing that could be repeated.
#[derive(Debug, Clone, Copy)]
struct Atom {
    cost: u64,
    /// Largest product of repetitions inside.
    repetitions: u32,
}

pub(crate) struct Scanner<'a> {
    pattern: &'a str,
    rest: &'a str,
    out: String,
    open: Vec<Group>,
    /// Nothing where nothing can be repeated: at the beginning, after `(`, `|`, `^`.
    atom: Option<Atom>,
    /// Where the repetition began that has just been read.
    repeated: Option<usize>,
    /// Upper and lower case are the same: twice as many states.
    folds: bool,
    names: BTreeSet<&'a str>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(pattern: &'a str) -> Self {
        let whole = Group { repetitions: 1, ..Group::default() };
        Self {
            pattern,
            rest: pattern,
            out: String::with_capacity(pattern.len() + 16),
            open: vec![whole],
            atom: None,
            repeated: None,
            folds: false,
            names: BTreeSet::new(),
        }
    }

    pub(crate) fn run(mut self) -> Result<Rewritten, Error> {
        while let Some(c) = self.rest.chars().next() {
            self.step(c)?;
        }
        match self.open.as_slice() {
            [whole] if whole.cost <= MAX_COST => Ok(Rewritten { cost: whole.cost, text: self.out }),
            [_] => Err(Error::TooLarge),
            _ => Err(Error::Unclosed),
        }
    }

    fn step(&mut self, c: char) -> Result<(), Error> {
        match c {
            '*' | '+' | '?' => return self.repetition(),
            '{' if let Some((min, max, length)) = counts(self.rest) => return self.counted(min, max, length),
            _ => self.repeated = None,
        }
        match c {
            '(' => self.group(),
            ')' => self.close(),
            '|' => {
                self.take(1);
                self.out.push('|');
                self.grow(ALTERNATIVE);
                self.atom = None;
                Ok(())
            }
            '^' | '$' => {
                self.take(1);
                self.out.push(c);
                self.add(PLACE);
                Ok(())
            }
            '.' => {
                self.take(1);
                self.out.push('.');
                self.add(DOT);
                Ok(())
            }
            '[' => {
                let (class, length) = class::read(self.rest)?;
                self.take(length);
                self.out.push_str(&class.text);
                self.add(self.folded(class.cost));
                Ok(())
            }
            '\\' => self.escape(),
            _ => {
                self.take(c.len_utf8());
                self.literal(c);
                Ok(())
            }
        }
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    fn at(&self) -> usize {
        self.pattern.len() - self.rest.len()
    }

    fn folded(&self, cost: u64) -> u64 {
        if self.folds { cost * 2 + FOLDED } else { cost }
    }

    fn literal(&mut self, c: char) {
        regex_syntax::escape_into(c.encode_utf8(&mut [0; 4]), &mut self.out);
        self.add(self.folded(c.len_utf8() as u64));
    }

    /// Something that may be repeated has been read.
    fn add(&mut self, cost: u64) {
        self.atom = Some(Atom { cost, repetitions: 1 });
        self.grow(cost);
    }

    fn grow(&mut self, cost: u64) {
        if let Some(group) = self.open.last_mut() {
            group.cost = group.cost.saturating_add(cost);
        }
    }

    fn escape(&mut self) -> Result<(), Error> {
        if let Some(quoted) = self.rest.strip_prefix(r"\Q") {
            let (text, length) = match quoted.split_once(r"\E") {
                Some((text, _)) => (text, text.len() + 4),
                None => (quoted, quoted.len() + 2),
            };
            self.take(length);
            text.chars().for_each(|c| self.literal(c));
            return Ok(());
        }
        let (escape, length) = escape::read(self.rest)?;
        self.take(length);
        match escape {
            escape::Escape::Literal(c) => self.literal(c),
            escape::Escape::Nothing => {}
            escape::Escape::Set(set) => {
                self.out.push('[');
                self.out.push_str(&set.text);
                self.out.push(']');
                self.add(self.folded(set.cost));
            }
            escape::Escape::Place(text) => {
                self.out.push_str(text);
                self.add(PLACE);
            }
        }
        Ok(())
    }

    /// `*`, `+`, `?`, each perhaps with a `?` for as few as possible.
    fn repetition(&mut self) -> Result<(), Error> {
        let lazy = self.rest.as_bytes().get(1) == Some(&b'?');
        let unbounded = !self.rest.starts_with('?');
        self.repeat(1 + usize::from(lazy), 1, unbounded)
    }

    /// `{2}`, `{2,}`, `{2,3}`.
    fn counted(&mut self, min: u32, max: Option<u32>, length: usize) -> Result<(), Error> {
        let lazy = self.rest.as_bytes().get(length) == Some(&b'?');
        let text = &self.rest[..length];
        let most = max.unwrap_or(min);
        if min > MAX_REPETITIONS || most > MAX_REPETITIONS || most < min {
            return Err(Error::Repetitions(text.to_owned()));
        }
        let inside = self.atom.map_or(1, |atom| atom.repetitions);
        if most.max(1).saturating_mul(inside) > MAX_REPETITIONS {
            return Err(Error::Repetitions(text.to_owned()));
        }
        self.repeat(length + usize::from(lazy), most, max.is_none())
    }

    fn repeat(&mut self, length: usize, times: u32, unbounded: bool) -> Result<(), Error> {
        let start = self.at();
        let text = &self.pattern[start..start + length];
        if let Some(before) = self.repeated {
            return Err(Error::RepeatedRepetition(self.pattern[before..start + length].to_owned()));
        }
        let Some(atom) = self.atom else { return Err(Error::NothingToRepeat(text.to_owned())) };
        self.take(length);
        self.out.push_str(text);
        self.repeated = Some(start);
        let copies = u64::from(times.max(1)) + u64::from(unbounded && times > 1);
        let cost = atom.cost.saturating_add(ROUND).saturating_mul(copies);
        self.grow(cost.saturating_sub(atom.cost));
        let repetitions = atom.repetitions.saturating_mul(times.max(1));
        self.atom = Some(Atom { cost, repetitions });
        if let Some(group) = self.open.last_mut() {
            group.repetitions = group.repetitions.max(repetitions);
            if group.cost > MAX_COST {
                return Err(Error::TooLarge);
            }
        }
        Ok(())
    }

    fn group(&mut self) -> Result<(), Error> {
        if self.open.len() > MAX_DEPTH {
            return Err(Error::TooDeep);
        }
        let folds_outside = self.folds;
        if let Some(flags) = self.rest.strip_prefix("(?") {
            if flags.starts_with("P<") || flags.starts_with('<') {
                self.named()?;
            } else if self.flags(flags)? {
                // `(?i)` holds to the end of the group around it, and is nothing by itself.
                self.atom = None;
                return Ok(());
            }
        } else {
            self.take(1);
            self.out.push('(');
        }
        self.open.push(Group { cost: GROUP, repetitions: 1, folds_outside });
        self.atom = None;
        Ok(())
    }

    /// `(?P<name>`, `(?<name>`.
    fn named(&mut self) -> Result<(), Error> {
        let start = if self.rest.starts_with("(?P<") { 4 } else { 3 };
        let wrong = |text: &str| Error::Name(text.chars().take(40).collect());
        let (name, _) = self.rest[start..].split_once('>').ok_or_else(|| wrong(self.rest))?;
        let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !good || !self.names.insert(name) {
            return Err(wrong(name));
        }
        self.take(start + name.len() + 1);
        // A name may begin with a digit in RE2; nobody asks for groups by name here.
        self.out.push('(');
        Ok(())
    }

    /// `(?i)`, `(?i:`, `(?-s:`. Returns whether the group is closed already.
    fn flags(&mut self, flags: &str) -> Result<bool, Error> {
        const KNOWN: [char; 4] = ['i', 'm', 's', 'U'];
        let mut set = [None; KNOWN.len()];
        let (mut on, mut said) = (true, true);
        for (place, c) in flags.char_indices() {
            if let Some(flag) = KNOWN.iter().position(|known| *known == c) {
                set[flag] = Some(on);
                said = true;
            } else if c == '-' && on {
                (on, said) = (false, false);
            } else if matches!(c, ':' | ')') && said {
                self.take(2 + place + 1);
                if let Some(folds) = set[0] {
                    self.folds = folds;
                }
                // Written anew: what is said twice is an error elsewhere.
                let of = |wanted| {
                    KNOWN.iter().zip(set).filter(move |(_, flag)| *flag == Some(wanted)).map(|(c, _)| *c)
                };
                let off: String = of(false).collect();
                let text: String =
                    of(true).chain((!off.is_empty()).then_some('-')).chain(off.chars()).collect();
                if c == ':' || !text.is_empty() {
                    self.out.extend(["(?", &text]);
                    self.out.push(c);
                }
                return Ok(c == ')');
            } else {
                break;
            }
        }
        Err(Error::Group(self.rest.chars().take(8).collect()))
    }

    fn close(&mut self) -> Result<(), Error> {
        self.take(1);
        self.out.push(')');
        if self.open.len() == 1 {
            return Err(Error::Unopened);
        }
        let Some(group) = self.open.pop() else { return Err(Error::Unopened) };
        self.folds = group.folds_outside;
        self.add(group.cost);
        self.atom = Some(Atom { cost: group.cost, repetitions: group.repetitions });
        if let Some(around) = self.open.last_mut() {
            around.repetitions = around.repetitions.max(group.repetitions);
        }
        Ok(())
    }
}

/// The numbers and the length of `{2}`, `{2,}`, `{2,3}`; nothing where the brace is a brace.
fn counts(text: &str) -> Option<(u32, Option<u32>, usize)> {
    let inside = text.strip_prefix('{')?.split_once('}')?.0;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // What is too long for a number is too much anyway.
        digits.then(|| text.parse().unwrap_or(u32::MAX))
    };
    let length = inside.len() + 2;
    match inside.split_once(',') {
        None => number(inside).map(|times| (times, Some(times), length)),
        Some((min, "")) => number(min).map(|min| (min, None, length)),
        Some((min, max)) => Some((number(min)?, Some(number(max)?), length)),
    }
}
