//! How much work there was, by kind of value.

use std::collections::BTreeMap;

/// Work on the values of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often values were made.
    pub made: u64,
    /// How often a value that was made again came out equal.
    pub unchanged: u64,
    /// How often a function panicked; what was there before stayed.
    pub failed: u64,
    /// Values that there are now.
    pub live: u64,
}

/// Counts by name of the kind.
#[derive(Debug, Default)]
pub(crate) struct Counters(BTreeMap<&'static str, Counts>);

impl Counters {
    pub(crate) fn of(&mut self, name: &'static str) -> &mut Counts {
        self.0.entry(name).or_default()
    }
    pub(crate) fn all(&self) -> BTreeMap<&'static str, Counts> {
        self.0.clone()
    }
}

/// The last part of a type's path.
pub(crate) fn short_name<T>() -> &'static str {
    let whole = std::any::type_name::<T>();
    let base = whole.split('<').next().unwrap_or(whole);
    base.rsplit("::").next().unwrap_or(base)
}
