//! What is taken, what it means then, and what is refused.

use proptest::prelude::*;
use regex_automata::meta::Regex;

use super::*;

/// The automaton's limit in the data plane.
const AUTOMATON: usize = 1024 * 1024;

fn automaton(text: &str) -> Result<Regex, String> {
    Regex::builder()
        .configure(Regex::config().nfa_size_limit(Some(AUTOMATON)))
        .build(&format!(r"\A(?:{text})\z"))
        .map_err(|error| format!("{error}: {text}"))
}

fn matches(pattern: &str, text: &str) -> bool {
    let rewritten = rewrite(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    automaton(&rewritten.text).unwrap().is_match(text)
}

#[test]
fn what_means_the_same_everywhere_matches() {
    for (pattern, text) in [
        ("", ""),
        ("a|b|", ""),
        ("/api/v[0-9]+/.*", "/api/v12/x"),
        ("(?i)abc", "aBC"),
        ("(?i:a)b", "Ab"),
        ("a(?i)b|c", "aB"),
        ("(?i-s)a", "A"),
        ("(?ii)a", "A"),
        ("(?)a", "a"),
        ("(?P<name>a)(?<other>b)(?:c)", "abc"),
        ("(?P<1>a)", "a"),
        ("a{2,3}?b{2}c{1,}d*?e+?f??", "aabbcef"),
        ("^a$", "a"),
        ("^*a", "a"),
        (r"\Aa\z", "a"),
        (r"\bword\b", "word"),
        (r"a\Bb", "ab"),
        ("(?s).", "\n"),
        (r"\pN\p{Greek}\P{Greek}\p{^Greek}\PN\p{Any}", "1αaax."),
        ("[[:alpha:]][[:^digit:]]", "xy"),
        (r"[\pN_]+", "1_2"),
    ] {
        assert!(matches(pattern, text), "{pattern} should match {text:?}");
    }
    for (pattern, text) in
        [("a(?i)b|c", "AB"), ("(?i:a)b", "AB"), ("(?i-i)a", "A"), (".", "\n"), ("(?-s).", "\n")]
    {
        assert!(!matches(pattern, text), "{pattern} should not match {text:?}");
    }
}

#[test]
fn what_the_engine_does_not_know_is_rewritten() {
    for (pattern, text) in [
        (r"/\Qa.b*\E", "/a.b*"),
        (r"\Qa.b", "a.b"),
        (r"\Qab\E+", "abbb"),
        (r"a\Eb", "ab"),
        ("/b{", "/b{"),
        ("{,3}}", "{,3}}"),
        ("a{b}{1,x}", "a{b}{1,x}"),
        ("]a}", "]a}"),
        (r"\101\60\0", "A0\0"),
        (r"\x41\x{263a}", "A☺"),
        (r"\a\f\t\n\r\v", "\x07\x0C\t\n\r\x0B"),
        (r"\/\-\@\_", "/-@_"),
        ("[]a]+", "]a"),
        ("[^]a]", "b"),
        ("[a&&b]+", "a&b"),
        ("[+--z~~[<]+", "+-z~[<"),
        ("[[:word]]", ":]"),
        ("[a-]+", "a-"),
        (r"[\]\-\x41\101\n]+", "]-A\n"),
        ("#a b", "#a b"),
    ] {
        assert!(matches(pattern, text), "{pattern} should match {text:?}");
    }
}

/// Perl's classes are ASCII's in RE2.
#[test]
fn digits_spaces_and_words_are_ascii() {
    for (pattern, yes, no) in [
        (r"\d", "7", "٣"),
        (r"\D", "٣", "7"),
        (r"\s", "\t", "\u{a0}"),
        (r"\S", "\u{0b}", "\n"),
        (r"\w", "_", "é"),
        (r"\W", "é", "a"),
        (r"[\d.]", ".", "٣"),
        (r"[^\d]", "٣", "7"),
        (r"[\D]", "٣", "7"),
    ] {
        assert!(matches(pattern, yes) && !matches(pattern, no), "{pattern}");
    }
}

#[test]
fn what_re2_refuses_is_refused() {
    let repeated = |text: &str| Error::RepeatedRepetition(text.to_owned());
    let repetitions = |text: &str| Error::Repetitions(text.to_owned());
    let nothing = |text: &str| Error::NothingToRepeat(text.to_owned());
    for (pattern, error) in [
        ("a**", repeated("**")),
        ("a*+", repeated("*+")),
        ("a+??", repeated("+??")),
        ("a{2}{3}", repeated("{2}{3}")),
        ("a{2}*", repeated("{2}*")),
        ("*a", nothing("*")),
        ("(+)", nothing("+")),
        ("a|?", nothing("?")),
        ("(?i)*", nothing("*")),
        ("{2}", nothing("{2}")),
        ("a{1001}", repetitions("{1001}")),
        ("a{2,1}", repetitions("{2,1}")),
        ("a{99999999999}", repetitions("{99999999999}")),
        ("(a{100}){11}", repetitions("{11}")),
        ("((a{10}b){10}|c){11}", repetitions("{11}")),
        ("(?x)a b", Error::Group("(?x)a b".into())),
        ("(?=a)", Error::Group("(?=a)".into())),
        ("(?!a)", Error::Group("(?!a)".into())),
        ("(?<=a)", Error::Name("(?<=a)".into())),
        ("(?>a)", Error::Group("(?>a)".into())),
        ("(?i-)a", Error::Group("(?i-)a".into())),
        ("(?i--s)a", Error::Group("(?i--s)a".into())),
        ("(?#c)", Error::Group("(?#c)".into())),
        ("(?P<a b>c)", Error::Name("a b".into())),
        ("(?P<a>b)(?P<a>c)", Error::Name("a".into())),
        ("(?P<>c)", Error::Name(String::new())),
        ("(a", Error::Unclosed),
        ("a)", Error::Unopened),
        ("(a))", Error::Unopened),
        (r"(a)\1", Error::Escape(r"\1".into())),
        (r"\8", Error::Escape(r"\8".into())),
        (r"\Z", Error::Escape(r"\Z".into())),
        (r"\h", Error::Escape(r"\h".into())),
        (r"\é", Error::Escape(r"\é".into())),
        ("\\", Error::Escape("\\".into())),
        (r"\x4", Error::Escape(r"\x4".into())),
        (r"\x{110000}", Error::Escape(r"\x{110".into())),
        (r"\xé1", Error::Escape(r"\xé1".into())),
        (r"\C", Error::Byte),
        ("[a", Error::Class("[a".into())),
        ("[]", Error::Class("[]".into())),
        ("[z-a]", Error::Class("[z-a]".into())),
        ("[[:nothing:]]", Error::Class("[[:nothing:]]".into())),
        (r"\p{Nothing}", Error::Unicode(r"\p{Nothing}".into())),
        (r"\p{greek}", Error::Unicode(r"\p{greek}".into())),
        (r"\p{gc=L}", Error::Unicode(r"\p{gc=L}".into())),
        (r"\pX", Error::Unicode(r"\pX".into())),
    ] {
        assert_eq!(rewrite(pattern), Err(error), "{pattern}");
    }
}

#[test]
fn expressions_have_a_largest_size() {
    assert_eq!(rewrite(&"a".repeat(MAX_LENGTH + 1)), Err(Error::TooLong(MAX_LENGTH + 1)));
    assert_eq!(rewrite(&"(".repeat(MAX_DEPTH + 1)), Err(Error::TooDeep));
    assert_eq!(
        rewrite(&format!("{}a{}", "(".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH))).map(|r| r.cost > 0),
        Ok(true)
    );
    for large in [r"\pL{400}", r"(?i)[\p{L}]{50}", "(.{100}){10}.{1000}.{1000}", "((?i)é{1000})"] {
        assert_eq!(rewrite(&large.repeat(20)), Err(Error::TooLarge), "{large}");
    }
    // What people write is far below: a list of a hundred hosts.
    let hosts = vec!["[a-z0-9-]{1,20}\\.example\\.com"; 100].join("|");
    assert!(automaton(&rewrite(&hosts).unwrap().text).is_ok());
    assert!(automaton(&rewrite(&"/a/b.*|".repeat(500)).unwrap().text).is_ok());
}

/// Pieces of expressions, good and bad.
fn piece() -> impl Strategy<Value = String> {
    let fixed = prop::sample::select(vec![
        "a",
        "é",
        ".",
        "^",
        "$",
        "|",
        "(",
        ")",
        "(?:",
        "(?i)",
        "(?i:",
        "(?s-i:",
        "(?P<n>",
        "*",
        "+",
        "?",
        "*?",
        "{2}",
        "{2,}",
        "{0,30}",
        "{100}",
        "{",
        "}",
        ",",
        "-",
        "[",
        "]",
        "[^",
        "[a-z]",
        "[[:alpha:]]",
        "[^\\d]",
        "&&",
        "~",
        "#",
        " ",
        "\n",
        "\\d",
        "\\W",
        "\\pL",
        "\\p{Greek}",
        "\\b",
        "\\B",
        "\\Q",
        "\\E",
        "\\x41",
        "\\101",
        "\\.",
        "\\",
        "\\z",
    ]);
    prop_oneof![8 => fixed.prop_map(str::to_owned), 1 => any::<char>().prop_map(|c| c.to_string())]
}

/// Automata take a while to be made; more are tried where `PROPTEST_CASES` says so.
fn cases(usual: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: usual.max(if default.cases == 256 { 0 } else { default.cases }),
        failure_persistence: None,
        ..default
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    /// The promise to everybody who asks here: what is taken, the engine of the data plane takes.
    #[test]
    fn what_is_taken_has_an_automaton(pieces in prop::collection::vec(piece(), 0..12)) {
        let pattern = pieces.concat();
        if let Ok(rewritten) = rewrite(&pattern) {
            prop_assert!(automaton(&rewritten.text).is_ok(), "{pattern} -> {}", automaton(&rewritten.text).unwrap_err());
        }
    }

    #[test]
    fn a_text_in_quotes_means_itself(text in "[^\\\\]{0,20}") {
        let pattern = format!(r"\Q{text}\E");
        prop_assert!(matches(&pattern, &text));
    }
}

proptest! {
    #![proptest_config(cases(60))]

    /// What is repeated until it is as large as may be.
    #[test]
    fn the_largest_has_an_automaton(pieces in prop::collection::vec(piece(), 1..6)) {
        let one = pieces.concat();
        let Ok(single) = rewrite(&one) else { return Ok(()) };
        let times = usize::try_from(MAX_COST / single.cost.max(1)).unwrap().min(MAX_LENGTH / one.len().max(1));
        if let Ok(rewritten) = rewrite(&one.repeat(times)) {
            prop_assert!(automaton(&rewritten.text).is_ok(), "{one} x {times}: {}", rewritten.cost);
        }
    }
}
