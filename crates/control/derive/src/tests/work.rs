//! How much is made for a change.

use super::*;

/// How often each kind was made by what is done.
fn made(table: &mut Table, work: impl FnOnce(&mut Table)) -> BTreeMap<&'static str, (u64, u64)> {
    let before = table.counts();
    work(table);
    table.settle();
    let mut out = BTreeMap::new();
    for (kind, after) in table.counts() {
        let old = before.get(kind).copied().unwrap_or_default();
        if after.made > old.made {
            out.insert(kind, (after.made - old.made, after.unchanged - old.unchanged));
        }
    }
    out
}

/// The first digit of a sum.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parity(i64);

impl Derived for Parity {
    type Value = i64;
    fn derive(&self, read: &Reader<'_>) -> i64 {
        read.get(&Sum(self.0)) % 2
    }
}

/// What is made of a parity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Shown(i64);

impl Derived for Shown {
    type Value = String;
    fn derive(&self, read: &Reader<'_>) -> String {
        read.get(&Parity(self.0)).to_string()
    }
}

/// How many numbers have a digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Having(i64);

impl Derived for Having {
    type Value = Option<usize>;
    fn derive(&self, read: &Reader<'_>) -> Option<usize> {
        read.entry(&Digits, &self.0)
    }
}

#[test]
fn a_wave_goes_no_further_than_the_difference() {
    let mut table = table([(0, 3), (1, 4)]);
    for rest in 0..3 {
        table.hold(&Shown(rest));
    }
    let first = made(&mut table, |_| {});
    assert_eq!(first["Sum"].0 + first["Parity"].0 + first["Shown"].0, 9);

    let odd = made(&mut table, |t| assert!(t.set(&Number(0), Some(6))));
    assert_eq!(odd, [("Parity", (1, 0)), ("Shown", (1, 0)), ("Sum", (1, 0))].into());
    let even = made(&mut table, |t| assert!(t.set(&Number(0), Some(12))));
    assert_eq!(even, [("Parity", (1, 1)), ("Sum", (1, 0))].into(), "the parity is the same");
    let none = made(&mut table, |t| assert!(!t.set(&Number(0), Some(12))));
    assert_eq!(none, BTreeMap::new());
}

#[test]
fn readers_of_one_entry_are_not_concerned_by_another() {
    let mut table = table((0..100).map(|n| (n, i64::from(n))));
    for digit in 0..10 {
        table.hold(&Having(digit));
    }
    table.settle();
    let moved = made(&mut table, |t| assert!(t.set(&Number(0), Some(1))));
    assert_eq!(moved, [("Having", (2, 0)), ("Whole", (1, 0))].into());
    assert_eq!((table.held(&Having(0)), table.held(&Having(1))), (Some(Some(9)), Some(Some(11))));
    // Entries that come and go are changes too.
    let gone = made(&mut table, |t| {
        for n in (7..100).step_by(10) {
            t.set(&Number(n), None);
        }
    });
    assert_eq!(gone, [("Having", (1, 0)), ("Whole", (1, 0))].into());
    assert_eq!(table.held(&Having(7)), Some(None));
    made(&mut table, |t| assert!(t.set(&Number(7), Some(7))));
    assert_eq!(table.held(&Having(7)), Some(Some(1)));
}

#[test]
fn what_nobody_needs_is_not_made() {
    let mut table = table([(0, 3)]);
    table.hold(&Sum(0));
    table.settle();
    table.release(&Sum(0));
    assert_eq!(made(&mut table, |t| assert!(t.set(&Number(0), Some(6)))), BTreeMap::new());
}

#[test]
fn readers_of_keys_are_concerned_by_keys_only() {
    let mut table = table([(0, 3)]);
    table.hold(&Kinds);
    table.settle();
    let new = made(&mut table, |t| assert!(t.set(&Number(1), Some(3))));
    assert_eq!(new, [("Whole", (1, 0)), ("Kinds", (1, 1))].into());
}

/// Fails while the number 0 is negative.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Root;

impl Derived for Root {
    type Value = i64;
    fn derive(&self, read: &Reader<'_>) -> i64 {
        let number = read.fact(&Number(0)).unwrap_or_default();
        assert!(number >= 0, "no root of {number}");
        number.isqrt()
    }
    fn kind(&self) -> &'static str {
        "roots"
    }
}

/// Reads it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Twice;

impl Derived for Twice {
    type Value = i64;
    fn derive(&self, read: &Reader<'_>) -> i64 {
        2 * read.get(&Root)
    }
}

#[test]
fn what_failed_is_made_when_it_can_be() {
    let mut table = table([(0, -1)]);
    table.hold(&Twice);
    table.settle();
    assert_eq!(table.held(&Twice), None);
    assert!(table.set(&Number(0), Some(16)));
    assert_eq!(table.settle().of::<Twice>().count(), 1);
    assert_eq!(table.held(&Twice), Some(8));
    assert!(table.set(&Number(0), Some(-5)));
    table.settle();
    assert_eq!(table.held(&Twice), Some(8), "what was");
    assert!(table.set(&Number(0), Some(25)));
    table.settle();
    assert_eq!(table.held(&Twice), Some(10));
    let counts = table.counts()["roots"];
    assert_eq!((counts.made, counts.failed, counts.live), (4, 2, 1));
}
