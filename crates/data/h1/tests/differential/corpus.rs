//! The messages in `tests/corpus`, and what becomes of each.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use portolan_h1::limits::MAX_HEAD_BYTES;

use crate::oracle::compare::{self, Outcome};
use crate::oracle::ours::Stop;
use crate::oracle::stricter::STRICTER;
use crate::oracle::{METHODS, check_requests, check_responses, pieces};

/// The messages of one folder by name.
pub(crate) fn messages(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let mut messages: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
        })
        .collect();
    messages.sort();
    messages
}

/// A change of `tests/corpus/verdicts.txt` is a change of what we accept; `UPDATE_GOLDEN=1` writes it.
#[test]
fn verdicts() {
    let (mut verdicts, mut rules, mut failed) = (String::new(), BTreeSet::new(), Vec::new());
    let mut check = |name: String, check: &dyn Fn() -> Outcome| match catch_unwind(AssertUnwindSafe(check)) {
        Ok(outcome) => say(&mut verdicts, &mut rules, &name, outcome),
        Err(_) => failed.push(name),
    };
    // Not a file: fuzzers are slow with large seeds.
    let large = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(MAX_HEAD_BYTES)).into_bytes();
    for (name, input) in messages("request").into_iter().chain([("head-too-large".to_owned(), large)]) {
        check(format!("request/{name}"), &|| {
            check_requests(&input, pieces::seed_of(&input));
            compare::requests(&input)
        });
    }
    for (name, input) in messages("response") {
        for method in METHODS {
            check(format!("response/{name} to {method}"), &|| {
                check_responses(&input, pieces::seed_of(&input));
                compare::responses(&input, &method)
            });
        }
    }
    assert!(failed.is_empty(), "see above for {failed:#?}");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/verdicts.txt");
    #[expect(clippy::disallowed_methods, reason = "whoever runs the test asks for new golden files")]
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &verdicts).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    let differs = verdicts.lines().zip(expected.lines()).find(|(now, before)| now != before);
    assert!(verdicts == expected, "{} differs, first in (now, before) {differs:?}", golden.display());
    let unused: Vec<_> =
        STRICTER.iter().map(|entry| entry.rule).filter(|rule| !rules.contains(rule)).collect();
    assert!(unused.is_empty(), "no message in the corpus shows {unused:#?}");
}

fn say(verdicts: &mut String, rules: &mut BTreeSet<&'static str>, name: &str, outcome: Outcome) {
    let stop = match outcome.stop {
        Stop::Clean => "then the end".to_owned(),
        Stop::Truncated => "then cut short".to_owned(),
        Stop::Closed => "then closed".to_owned(),
        Stop::Head(reject) => format!("then {}", reject.details()),
        Stop::Body(error) => format!("then {}", error.details()),
    };
    let only_hyper = if outcome.rule.is_some() { " (hyper accepts)" } else { "" };
    writeln!(verdicts, "{name}: {} read, {stop}{only_hyper}", outcome.both).unwrap();
    rules.extend(outcome.rule);
}
