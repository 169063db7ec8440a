//! Random changes: a table that goes along says what a new one says.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Set(u8, i64),
    Remove(u8),
    Hold(u8, u8),
    Release(u8, u8),
    Settle,
    Look(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let walk = || (0..8_u8, 0..5_u8);
    prop_oneof![
        4 => (0..8_u8, -20..20_i64).prop_map(|(k, v)| Step::Set(k, v)),
        2 => (0..8_u8).prop_map(Step::Remove),
        2 => walk().prop_map(|(f, s)| Step::Hold(f, s)),
        1 => walk().prop_map(|(f, s)| Step::Release(f, s)),
        3 => Just(Step::Settle),
        1 => walk().prop_map(|(f, s)| Step::Look(f, s)),
    ]
}

proptest! {
    #[test]
    fn a_table_says_what_a_new_one_says(steps in prop::collection::vec(step(), 1..80)) {
        let mut old = Table::new();
        let mut facts = BTreeMap::new();
        let mut holds: BTreeMap<Walk, u32> = BTreeMap::new();
        // What a listener knows who hears of nothing but changes.
        let mut known: BTreeMap<Walk, Vec<i64>> = BTreeMap::new();
        for step in steps.into_iter().chain([Step::Settle]) {
            match step {
                Step::Set(key, value) => {
                    let differs = facts.insert(key, value) != Some(value);
                    prop_assert_eq!(old.set(&Number(key), Some(value)), differs);
                }
                Step::Remove(key) => {
                    prop_assert_eq!(old.set(&Number(key), None), facts.remove(&key).is_some());
                }
                Step::Hold(from, steps) => {
                    let walk = Walk { from, steps };
                    old.hold(&walk);
                    *holds.entry(walk).or_default() += 1;
                }
                Step::Release(from, steps) => {
                    let walk = Walk { from, steps };
                    if let Some(count) = holds.get_mut(&walk) {
                        *count -= 1;
                        if *count == 0 {
                            holds.remove(&walk);
                            known.remove(&walk);
                        }
                        old.release(&walk);
                    }
                }
                Step::Look(from, steps) => {
                    let walk = Walk { from, steps };
                    let fresh = table(facts.clone()).reader().get(&walk);
                    prop_assert_eq!(old.reader().get(&walk), fresh);
                }
                Step::Settle => {
                    let new = table(facts.clone());
                    let changes = old.settle();
                    for walk in changes.of::<Walk>() {
                        prop_assert!(holds.contains_key(walk));
                        known.insert(walk.clone(), old.held(walk).unwrap());
                    }
                    for walk in holds.keys() {
                        let fresh = new.reader().get(walk);
                        let held = old.held(walk);
                        prop_assert_eq!(held.as_ref(), Some(&fresh), "{:?}", walk);
                        prop_assert_eq!(known.get(walk), Some(&fresh), "not told of {:?}", walk);
                    }
                }
            }
        }
        for walk in holds.keys() {
            for _ in 0..holds[walk] {
                old.release(walk);
            }
        }
        old.settle();
        for key in 0..8 {
            old.set(&Number(key), None);
        }
        let rest: u64 = old.counts().values().map(|c| c.live).sum();
        prop_assert_eq!(rest, 0, "{:?}", old.counts());
    }
}
