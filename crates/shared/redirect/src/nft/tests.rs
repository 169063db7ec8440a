use super::*;

#[test]
fn rules_are_removed_whether_they_are_there_or_not() {
    assert_eq!(delete(), "table inet portolan-redirect\ndelete table inet portolan-redirect\n");
    assert!(render(&Rules::default()).starts_with(&delete()), "loading again replaces what was there");
}
