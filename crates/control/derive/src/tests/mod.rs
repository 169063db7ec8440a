//! A table is asked what a table that remembers nothing would say, and how much it worked for that.

mod property;
mod work;

use std::collections::BTreeMap;

use crate::{Derived, Input, Reader, Relation, Table};

/// A fact with its remainder by three as its mark.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Number(pub(super) u8);

impl Input for Number {
    type Value = i64;
    type Tag = i64;
    fn tags(&self, value: &i64) -> Vec<i64> {
        vec![value.rem_euclid(3)]
    }
}

/// The sum of the numbers with a mark.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Sum(pub(super) i64);

impl Derived for Sum {
    type Value = i64;
    fn derive(&self, read: &Reader<'_>) -> i64 {
        read.tagged::<Number>(&self.0).iter().filter_map(|key| read.fact(key)).sum()
    }
}

/// The numbers by their remainder by ten, each with how many have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Digits;

impl Relation for Digits {
    type Entry = i64;
    type Value = usize;
    fn derive(&self, read: &Reader<'_>) -> BTreeMap<i64, usize> {
        let mut out = BTreeMap::new();
        for key in read.keys::<Number>().iter() {
            if let Some(value) = read.fact(key) {
                *out.entry(value.rem_euclid(10)).or_default() += 1;
            }
        }
        out
    }
}

/// Goes where the numbers lead: what it reads depends on what it has read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Walk {
    pub(super) from: u8,
    pub(super) steps: u8,
}

impl Derived for Walk {
    type Value = Vec<i64>;
    fn derive(&self, read: &Reader<'_>) -> Vec<i64> {
        let here = read.fact(&Number(self.from)).unwrap_or(-1);
        let mut out = vec![here, read.get(&Sum(here.rem_euclid(3)))];
        out.extend(read.entry(&Digits, &here.rem_euclid(10)).map(|n| i64::try_from(n).unwrap()));
        if self.steps > 0 {
            let next = u8::try_from(out.iter().sum::<i64>().rem_euclid(8)).unwrap();
            out.extend(read.get(&Walk { from: next, steps: self.steps - 1 }));
        }
        out
    }
}

/// All digits that there are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Kinds;

impl Derived for Kinds {
    type Value = Vec<i64>;
    fn derive(&self, read: &Reader<'_>) -> Vec<i64> {
        read.whole(&Digits).keys().copied().collect()
    }
}

pub(super) fn table(facts: impl IntoIterator<Item = (u8, i64)>) -> Table {
    let mut table = Table::new();
    for (key, value) in facts {
        table.set(&Number(key), Some(value));
    }
    table
}

#[test]
fn held_values_are_told_of_when_they_differ() {
    let mut table = table([(0, 3), (1, 1)]);
    table.hold(&Sum(0));
    table.hold(&Sum(1));
    let told = |table: &mut Table| table.settle().of::<Sum>().cloned().collect::<Vec<_>>();
    assert_eq!(told(&mut table), [Sum(0), Sum(1)], "the first time too");
    assert_eq!((table.held(&Sum(0)), table.held(&Sum(1)), table.held(&Sum(2))), (Some(3), Some(1), None));

    assert!(table.set(&Number(0), Some(6)));
    assert_eq!(told(&mut table), [Sum(0)]);
    assert!(!table.set(&Number(0), Some(6)), "as it was");
    assert!(table.settle().is_empty());
    // Two changes that make up for each other.
    table.set(&Number(2), Some(-6));
    table.set(&Number(3), Some(6));
    assert!(table.settle().is_empty());
    // From one mark to another.
    table.set(&Number(0), Some(7));
    assert_eq!(told(&mut table), [Sum(0), Sum(1)]);
    assert_eq!(table.held(&Sum(1)), Some(8));
    assert!(table.set(&Number(0), None) && !table.set(&Number(0), None));
    assert_eq!(told(&mut table), [Sum(1)]);
}

#[test]
fn what_is_held_twice_is_released_twice() {
    let mut table = table([(0, 3)]);
    table.hold(&Sum(0));
    table.hold(&Sum(0));
    table.settle();
    table.release(&Sum(0));
    table.settle();
    assert_eq!(table.held(&Sum(0)), Some(3));
    table.release(&Sum(0));
    table.settle();
    assert_eq!(table.held(&Sum(0)), None);
    // More releases than holds do no harm.
    table.release(&Sum(0));
    table.hold(&Sum(0));
    assert_eq!(table.settle().of::<Sum>().count(), 1);
}

#[test]
fn what_nobody_needs_is_forgotten() {
    let mut table = table([(0, 3), (1, 4)]);
    let live = |table: &Table| {
        let counts = table.counts();
        ["Walk", "Sum", "Entry", "Whole"].map(|kind| counts.get(kind).map_or(0, |c| c.live))
    };
    table.hold(&Walk { from: 0, steps: 2 });
    table.settle();
    assert_eq!(live(&table)[0], 3);
    assert!(live(&table)[1] >= 1 && live(&table)[2] >= 1 && live(&table)[3] == 1);
    table.release(&Walk { from: 0, steps: 2 });
    table.settle();
    assert_eq!(live(&table), [0; 4]);

    let seen = table.reader().get(&Walk { from: 0, steps: 2 }).len();
    assert!(seen > 4);
    table.settle();
    assert_eq!(live(&table), [0; 4], "what was looked at is forgotten");
    // Facts stay, and so do their marks.
    assert_eq!(table.keys::<Number>(), [Number(0), Number(1)]);
    assert_eq!(table.fact(&Number(1)), Some(4));
    let read = table.reader();
    assert_eq!((read.get(&Sum(1)), read.get(&Kinds)), (4, vec![3, 4]));
    for key in [0, 1] {
        table.set(&Number(key), None);
    }
    let rest: u64 = table.counts().values().map(|c| c.live).sum();
    assert_eq!(rest, 0, "{:?}", table.counts());
}

#[test]
fn facts_are_replaced_as_a_whole() {
    let mut table = table([(0, 3), (1, 4), (2, 5)]);
    table.hold(&Kinds);
    table.settle();
    let next: BTreeMap<_, _> = [(Number(1), 4), (Number(3), 9)].into();
    assert!(table.replace(next.clone()));
    assert_eq!(table.settle().of::<Kinds>().count(), 1);
    assert_eq!(table.held(&Kinds), Some(vec![4, 9]));
    assert!(!table.replace(next));
}

/// Reads itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Circle(u8);

impl Derived for Circle {
    type Value = u8;
    fn derive(&self, read: &Reader<'_>) -> u8 {
        read.get(&Circle(1 - self.0))
    }
}

#[test]
#[should_panic(expected = "a circle of reads through Some(Circle(")]
fn a_circle_is_said() {
    Table::new().reader().get(&Circle(0));
}

/// Panics when the number is 13; gives it otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Superstitious(u8);

impl Derived for Superstitious {
    type Value = i64;
    fn derive(&self, read: &Reader<'_>) -> i64 {
        let number = read.fact(&Number(self.0)).unwrap_or_default();
        assert_ne!(number, 13, "bad luck");
        number
    }
}

/// Reads one that may panic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Calm(u8);

impl Derived for Calm {
    type Value = i64;
    fn derive(&self, read: &Reader<'_>) -> i64 {
        read.get(&Superstitious(self.0)) + 1
    }
}

#[test]
fn a_panic_costs_what_it_is_about_and_nothing_else() {
    let mut table = table([(0, 3), (1, 13)]);
    table.hold(&Calm(0));
    table.hold(&Calm(1));
    table.settle();
    assert_eq!((table.held(&Calm(0)), table.held(&Calm(1))), (Some(4), None));
    let failures = table.take_failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].key.contains("Superstitious(1)") && failures[0].reason.contains("bad luck"));
    // What was there before stays; and it is tried again when something differs.
    table.set(&Number(0), Some(13));
    table.set(&Number(1), Some(5));
    assert_eq!(table.settle().of::<Calm>().collect::<Vec<_>>(), [&Calm(1)]);
    assert_eq!((table.held(&Calm(0)), table.held(&Calm(1))), (Some(4), Some(6)));
    assert_eq!(table.take_failures().len(), 1);
    table.set(&Number(0), Some(7));
    table.settle();
    assert_eq!((table.held(&Calm(0)), table.take_failures()), (Some(8), vec![]));
}
