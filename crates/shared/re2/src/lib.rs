//! Regular expressions as users write them: in RE2's syntax, which is what Istio's and Envoy's documents promise.
//!
//! [`rewrite`] reads such an expression, refuses what RE2 refuses, and writes it anew in the syntax of the `regex` crates,
//! whose engine gives the same guarantee (no time that grows faster than the text). Admission, the control plane and the
//! data plane all ask this one place, so that what one of them takes the next one takes too. No automaton is made here:
//! an expression costs what its text costs, and [`Rewritten::cost`] says what its automaton will.
//!
//! Source: RE2's documented syntax (<https://github.com/google/re2/wiki/Syntax>), its limit of 1,000 repetitions included.

mod class;
mod escape;
mod scan;
#[cfg(test)]
mod tests;

pub use regex_syntax::escape;
use scan::Scanner;

/// Longest expression, in bytes.
pub const MAX_LENGTH: usize = 16 * 1024;

/// Most repetitions, also of repetitions in repetitions (RE2's `kMaxRepeat`).
pub const MAX_REPETITIONS: u32 = 1_000;

/// Groups in groups.
pub const MAX_DEPTH: usize = 100;

/// Largest [`Rewritten::cost`]. What costs no more has an automaton that the data plane makes.
pub const MAX_COST: u64 = 20_000;

/// An expression in the syntax of the `regex` crates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The expression.
    pub text: String,
    /// How large its automaton is, in units of fifty bytes; at most [`MAX_COST`].
    pub cost: u64,
}

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than [`MAX_LENGTH`].
    #[error("the expression has {0} bytes; at most {MAX_LENGTH} are taken")]
    TooLong(usize),
    /// Groups lie too deep in each other.
    #[error("groups lie more than {MAX_DEPTH} deep in each other")]
    TooDeep,
    /// The automaton would get too large.
    #[error("the expression asks for too large an automaton: repeat less, or use narrower classes")]
    TooLarge,
    /// `*` where there is nothing to repeat.
    #[error("{0:?} has nothing to repeat")]
    NothingToRepeat(String),
    /// `a**`, `a*+`.
    #[error("{0:?}: a repetition cannot be repeated; put it into a group")]
    RepeatedRepetition(String),
    /// `{1001}`, `{2,1}`, or nested ones that come to more.
    #[error(
        "{0:?}: at most {MAX_REPETITIONS} repetitions, those of groups multiplied, and no maximum below its minimum"
    )]
    Repetitions(String),
    /// `(?x)`, `(?=a)`, `(?>a)`.
    #[error("{0:?} is not of RE2's syntax: groups are (…), (?:…), (?P<name>…), and flags are i, m, s, U")]
    Group(String),
    /// A name that is none, or one twice.
    #[error("{0:?} is no name of a group, or is one already")]
    Name(String),
    /// A group without end.
    #[error("a group is not closed")]
    Unclosed,
    /// `)` without a group.
    #[error("a ')' closes nothing")]
    Unopened,
    /// `\1`, `\Z`, `\h`.
    #[error("{0:?} is not of RE2's syntax; a backslash before a punctuation character stands for that")]
    Escape(String),
    /// `[a`, `[z-a]`, `[[:word]]`.
    #[error("{0:?} is no class of characters")]
    Class(String),
    /// `\p{Nothing}`.
    #[error(
        "{0:?} is no class of Unicode characters that RE2 knows: general categories and scripts by their names"
    )]
    Unicode(String),
    /// `\C`.
    #[error("\\C (a single byte) is not supported: use a dot")]
    Byte,
}

/// Several characters, as what stands between brackets.
#[derive(Debug, Default, PartialEq, Eq)]
struct Set {
    text: String,
    cost: u64,
}

/// Rewrites an expression in RE2's syntax.
///
/// # Errors
/// When RE2 would not take it, or it is larger than is taken here.
pub fn rewrite(pattern: &str) -> Result<Rewritten, Error> {
    if pattern.len() > MAX_LENGTH {
        return Err(Error::TooLong(pattern.len()));
    }
    Scanner::new(pattern).run()
}
