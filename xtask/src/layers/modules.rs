//! Which file of a crate uses which other, as its text says it.
//!
//! An arrow leads from the file that names an item to the file that defines it: re-exports are followed, and making one
//! is no use of what is re-exported. Code for tests does not count. Methods and macros leave no trace in the text; nobody
//! can call them without a value or a `use`, which does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::lexer::{Token, tokens};
use crate::run::Result;

/// Words after which an item's name comes.
const ITEMS: &[&str] = &["struct", "enum", "union", "trait", "type", "const", "static", "fn", "mod"];
/// Re-exports of re-exports that are followed.
const MAX_DEPTH: usize = 16;

/// The files of a crate.
#[derive(Debug, Default)]
pub(super) struct Modules {
    arrows: BTreeSet<(String, String)>,
}

/// First part of a file's path below `src`, without ending: its folder, or itself.
pub(super) fn folder(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first)
}

impl Modules {
    /// Reads all sources below `src`.
    pub(super) fn read(src: &Path) -> Result<Self> {
        let mut texts = BTreeMap::new();
        collect(src, src, &mut texts)?;
        Ok(Self::of(&texts))
    }

    /// From texts by path below `src`.
    fn of(texts: &BTreeMap<String, String>) -> Self {
        let has_library = texts.contains_key("lib.rs");
        let mut sources: BTreeMap<Vec<String>, Source> = texts
            .iter()
            .filter(|(file, _)| !(has_library && (*file == "main.rs" || file.starts_with("bin/"))))
            .map(|(file, text)| (module(file), Source::parse(file, text)))
            .collect();
        let tests: Vec<Vec<String>> = sources
            .iter()
            .flat_map(|(at, source)| {
                source.tests.iter().map(|name| [at.as_slice(), std::slice::from_ref(name)].concat())
            })
            .collect();
        sources.retain(|at, _| !tests.iter().any(|test| at.starts_with(test)));
        let crate_ = Crate(sources);
        let mut arrows = BTreeSet::new();
        for (at, source) in &crate_.0 {
            for to in crate_.used_by(at, source) {
                if to != source.file {
                    arrows.insert((source.file.clone(), to.to_owned()));
                }
            }
        }
        Modules { arrows }
    }

    /// The arrows but those from a file to the head of a folder that it is in (`a/x.rs` to `a.rs` or `a/mod.rs`): a folder
    /// is one room, and what its head defines is there for those inside.
    pub(super) fn arrows_between_rooms(&self) -> impl Iterator<Item = (&str, &str)> {
        self.arrows().filter(|(from, to)| !module(from).starts_with(&module(to)))
    }

    /// All arrows, as paths below `src`.
    pub(super) fn arrows(&self) -> impl Iterator<Item = (&str, &str)> {
        self.arrows.iter().map(|(from, to)| (from.as_str(), to.as_str()))
    }
}

/// The Rust sources below `dir`, by path below `base`.
pub(super) fn collect(base: &Path, dir: &Path, texts: &mut BTreeMap<String, String>) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return Err(format!("{}: {error}", dir.display())),
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(base, &path, texts)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let name = path.strip_prefix(base).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            texts.insert(name, text);
        }
    }
    Ok(())
}

/// The module that a file is.
fn module(file: &str) -> Vec<String> {
    let mut parts: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod")) || parts == ["lib"] || parts == ["main"] {
        parts.pop();
    }
    parts
}

/// A `use` of one name, or of all.
#[derive(Debug)]
struct Import {
    path: Vec<String>,
    /// The name that it gets; none for a star.
    name: Option<String>,
    public: bool,
}

/// What is read out of one file.
#[derive(Debug, Default)]
struct Source {
    file: String,
    defines: BTreeSet<String>,
    imports: Vec<Import>,
    paths: BTreeSet<Vec<String>>,
    words: BTreeSet<String>,
    /// Modules that are only there for tests.
    tests: Vec<String>,
}

impl Source {
    fn parse(file: &str, text: &str) -> Self {
        let mut source = Source { file: file.to_owned(), ..Source::default() };
        let tokens = tokens(text);
        let (mut at, mut depth) = (0, 0_usize);
        while let Some(token) = tokens.get(at) {
            match token {
                Token::Sign('#') => {
                    let end = attribute(&tokens, at);
                    if is_for_tests(tokens.get(at..end).unwrap_or_default()) {
                        at = source.skip_test(&tokens, end);
                        continue;
                    }
                    at = end;
                    continue;
                }
                Token::Sign('{') => depth += 1,
                Token::Sign('}') => depth = depth.saturating_sub(1),
                Token::Word(word) if word == "use" => {
                    let public = is_public(tokens.get(..at).unwrap_or_default());
                    at = source.import(&tokens, at + 1, &mut Vec::new(), public);
                    continue;
                }
                Token::Word(word) => {
                    let before = at.checked_sub(1).and_then(|before| tokens.get(before));
                    let named = |word: &String| ITEMS.contains(&word.as_str()) || word == "macro_rules";
                    if depth == 0 && matches!(before, Some(Token::Word(before)) if named(before)) {
                        source.defines.insert(word.clone());
                    }
                    let (path, end) = path(&tokens, at);
                    let method = before == Some(&Token::Sign('.'))
                        && tokens.get(at.wrapping_sub(2)) != Some(&Token::Sign('.'));
                    if before != Some(&Token::Path) && !method {
                        source.words.insert(word.clone());
                        if path.len() > 1 {
                            source.paths.insert(path);
                        }
                    }
                    at = end;
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        source
    }

    /// Passes over the item behind `#[cfg(test)]`; returns where it ends.
    fn skip_test(&mut self, tokens: &[Token], mut at: usize) -> usize {
        while tokens.get(at) == Some(&Token::Sign('#')) {
            at = attribute(tokens, at);
        }
        let (mut nesting, mut is_use) = (0_usize, false);
        while let Some(token) = tokens.get(at) {
            match token {
                Token::Word(word) if nesting == 0 && word == "use" => is_use = true,
                Token::Word(word) if nesting == 0 && word == "mod" => {
                    if let (Some(Token::Word(name)), Some(Token::Sign(';'))) =
                        (tokens.get(at + 1), tokens.get(at + 2))
                    {
                        self.tests.push(name.clone());
                    }
                }
                Token::Sign('{' | '(' | '[') => nesting += 1,
                Token::Sign(close @ ('}' | ')' | ']')) => {
                    nesting = nesting.saturating_sub(1);
                    if nesting == 0 && *close == '}' && !is_use {
                        return at + 1;
                    }
                }
                Token::Sign(';') if nesting == 0 => return at + 1,
                _ => {}
            }
            at += 1;
        }
        at
    }

    /// Reads a use tree from `at`, below `prefix`; returns where it ends.
    fn import(&mut self, tokens: &[Token], mut at: usize, prefix: &mut Vec<String>, public: bool) -> usize {
        let outer = prefix.len();
        // `use ::name` means a crate, as a word that is no module does anyway.
        while let Some(token) = tokens.get(at) {
            match token {
                Token::Path => at += 1,
                Token::Word(word) if word == "as" => {
                    if let Some(Token::Word(name)) = tokens.get(at + 1) {
                        self.add(prefix, Some(name.clone()), public);
                    }
                    prefix.truncate(outer);
                    at += 2;
                }
                Token::Word(word) => {
                    prefix.push(word.clone());
                    at += 1;
                }
                Token::Sign('*') => {
                    self.add(prefix, None, public);
                    prefix.truncate(outer);
                    at += 1;
                }
                Token::Sign('{') => {
                    at += 1;
                    while tokens.get(at).is_some_and(|token| *token != Token::Sign('}')) {
                        at = self.import(tokens, at, prefix, public);
                        if tokens.get(at) == Some(&Token::Sign(',')) {
                            at += 1;
                        }
                    }
                    prefix.truncate(outer);
                    at += 1;
                }
                _ => break,
            }
        }
        if prefix.len() > outer {
            // `a::{self}` names `a`.
            if prefix.len() > 1 && prefix.last().is_some_and(|last| last == "self") {
                prefix.pop();
            }
            let name = prefix.last().cloned();
            self.add(prefix, name, public);
        }
        prefix.truncate(outer);
        at
    }

    fn add(&mut self, path: &[String], name: Option<String>, public: bool) {
        let mut path = path.to_vec();
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        self.imports.push(Import { path, name, public });
    }

    fn import_of(&self, name: &str) -> Option<&Import> {
        self.imports.iter().find(|import| import.name.as_deref() == Some(name))
    }
}

/// Where the attribute that starts at `at` ends; behind a lone `#` otherwise.
fn attribute(tokens: &[Token], at: usize) -> usize {
    let mut end = at + 1;
    if tokens.get(end) == Some(&Token::Sign('!')) {
        end += 1;
    }
    let mut nesting = 0_usize;
    while let Some(token) = tokens.get(end) {
        match token {
            Token::Sign('[') => nesting += 1,
            Token::Sign(']') => nesting = nesting.saturating_sub(1),
            _ if nesting == 0 => return end,
            _ => {}
        }
        end += 1;
        if nesting == 0 {
            return end;
        }
    }
    end
}

fn is_for_tests(attribute: &[Token]) -> bool {
    let has = |word: &str| attribute.iter().any(|token| matches!(token, Token::Word(there) if there == word));
    attribute.get(1) != Some(&Token::Sign('!')) && has("cfg") && has("test") && !has("not")
}

/// Whether what comes before an item ends in `pub` or `pub(…)`.
fn is_public(before: &[Token]) -> bool {
    let is_pub = |token: Option<&Token>| matches!(token, Some(Token::Word(word)) if word == "pub");
    match before.last() {
        Some(Token::Sign(')')) => {
            let open = before.iter().rposition(|token| *token == Token::Sign('('));
            is_pub(open.and_then(|open| open.checked_sub(1)).and_then(|at| before.get(at)))
        }
        last => is_pub(last),
    }
}

/// The path that starts at `at`, and where it ends.
fn path(tokens: &[Token], mut at: usize) -> (Vec<String>, usize) {
    let mut path = Vec::new();
    while let Some(Token::Word(word)) = tokens.get(at) {
        path.push(word.clone());
        at += 1;
        match (tokens.get(at), tokens.get(at + 1)) {
            (Some(Token::Path), Some(Token::Word(_))) => at += 1,
            _ => break,
        }
    }
    (path, at)
}

/// What a path leads to.
enum Target {
    Module(Vec<String>),
    /// An item in this module.
    Item(Vec<String>),
}

struct Crate(BTreeMap<Vec<String>, Source>);

impl Crate {
    /// The files whose items a file names.
    fn used_by<'a>(&'a self, at: &[String], source: &'a Source) -> Vec<&'a str> {
        let mut used: Vec<Vec<String>> = Vec::new();
        let mut take = |target: Option<Target>| {
            if let Some(Target::Item(module)) = target {
                used.push(module);
            }
        };
        for import in &source.imports {
            let target = self.resolve(at, &import.path, 0);
            match (&import.name, target) {
                (Some(name), target) if !import.public || source.words.contains(name) => take(target),
                (None, Some(Target::Module(module))) => {
                    for word in source.words.iter().filter(|word| !source.defines.contains(*word)) {
                        if source.import_of(word).is_none() && self.offers(&module, word) {
                            take(self.walk(module.clone(), std::slice::from_ref(word), 0));
                        }
                    }
                }
                (None, target) => take(target),
                _ => {}
            }
        }
        for path in &source.paths {
            take(self.resolve(at, path, 0));
        }
        used.iter().filter_map(|module| self.0.get(module)).map(|source| source.file.as_str()).collect()
    }

    fn offers(&self, module: &[String], name: &str) -> bool {
        self.0
            .get(module)
            .is_some_and(|source| source.defines.contains(name) || source.import_of(name).is_some())
    }

    /// Where a path leads that stands in module `at`; nothing for other crates.
    fn resolve(&self, at: &[String], path: &[String], depth: usize) -> Option<Target> {
        if depth > MAX_DEPTH {
            return None;
        }
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.walk(Vec::new(), rest, depth),
            "self" => self.walk(at.to_vec(), rest, depth),
            "super" => {
                let mut above = at.to_vec();
                above.pop()?;
                let mut rest = rest;
                while let Some(("super", more)) =
                    rest.split_first().map(|(first, more)| (first.as_str(), more))
                {
                    above.pop()?;
                    rest = more;
                }
                self.walk(above, rest, depth)
            }
            name => {
                let child = [at, std::slice::from_ref(first)].concat();
                let source = self.0.get(at)?;
                if self.0.contains_key(&child) {
                    return self.walk(child, rest, depth);
                }
                if let Some(import) = source.import_of(name).filter(|import| import.path != path) {
                    return self.resolve(at, &[import.path.as_slice(), rest].concat(), depth + 1);
                }
                None
            }
        }
    }

    fn walk(&self, mut at: Vec<String>, path: &[String], depth: usize) -> Option<Target> {
        let mut path = path;
        while let Some((name, rest)) = path.split_first() {
            let child = [at.as_slice(), std::slice::from_ref(name)].concat();
            if self.0.contains_key(&child) {
                (at, path) = (child, rest);
                continue;
            }
            let source = self.0.get(&at)?;
            if source.defines.contains(name) {
                return Some(Target::Item(at));
            }
            if let Some(import) = source.import_of(name) {
                return self.resolve(&at, &[import.path.as_slice(), rest].concat(), depth + 1);
            }
            for import in source.imports.iter().filter(|import| import.name.is_none()) {
                if let Some(Target::Module(module)) = self.resolve(&at, &import.path, depth + 1)
                    && self.offers(&module, name)
                {
                    return self.walk(module, path, depth + 1);
                }
            }
            return Some(Target::Item(at));
        }
        Some(Target::Module(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrows(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let texts = files.iter().map(|&(file, text)| (file.to_owned(), text.to_owned())).collect();
        Modules::of(&texts).arrows.into_iter().collect()
    }

    fn arrow(from: &str, to: &str) -> (String, String) {
        (from.to_owned(), to.to_owned())
    }

    #[test]
    fn a_use_leads_to_the_file_that_defines_the_item() {
        let found =
            arrows(&[("lib.rs", "mod a; mod b;"), ("a.rs", "pub struct A;"), ("b.rs", "use crate::a::A;")]);
        assert_eq!(found, [arrow("b.rs", "a.rs")]);
    }

    #[test]
    fn a_nested_use_is_taken_apart() {
        let files = [
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a/mod.rs", "pub mod x; pub fn f() {}"),
            ("a/x.rs", "pub const X: u8 = 1;"),
            ("b.rs", "pub enum B {}"),
            ("c.rs", "use crate::{a::{self, x::X as Y}, b::*}; fn c(_: B) { a::f() }"),
        ];
        assert_eq!(
            arrows(&files),
            [arrow("c.rs", "a/mod.rs"), arrow("c.rs", "a/x.rs"), arrow("c.rs", "b.rs")]
        );
    }

    #[test]
    fn a_path_in_the_code_counts() {
        let files =
            [("lib.rs", "mod a; mod b;"), ("a.rs", "pub fn f() {}"), ("b.rs", "fn g() { crate::a::f() }")];
        assert_eq!(arrows(&files), [arrow("b.rs", "a.rs")]);
    }

    #[test]
    fn super_leads_up_as_often_as_it_is_said() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod x;"),
            ("a/x.rs", "use super::super::b::B;"),
            ("b.rs", "pub struct B;"),
        ];
        assert_eq!(arrows(&files), [arrow("a/x.rs", "b.rs")]);
    }

    #[test]
    fn a_re_export_is_followed_and_is_no_use_itself() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod x; pub(crate) use x::X; pub fn own() {}"),
            ("a/x.rs", "pub struct X;"),
            ("b.rs", "use crate::a::X;"),
        ];
        assert_eq!(arrows(&files), [arrow("b.rs", "a/x.rs")]);
    }

    #[test]
    fn who_re_exports_an_item_and_names_it_uses_it() {
        let files = [("lib.rs", "mod a; pub use a::A; fn f(_: A) {}"), ("a.rs", "pub struct A;")];
        assert_eq!(arrows(&files), [arrow("lib.rs", "a.rs")]);
    }

    #[test]
    fn a_re_export_of_everything_is_followed() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod x; pub use x::*;"),
            ("a/x.rs", "pub struct X;"),
            ("b.rs", "use crate::a::X;"),
        ];
        assert_eq!(arrows(&files), [arrow("b.rs", "a/x.rs")]);
    }

    #[test]
    fn a_child_that_uses_its_parent_which_uses_it_makes_two_arrows() {
        let files = [
            ("lib.rs", "mod a;"),
            ("a.rs", "mod x; use x::X; pub struct A(X);"),
            ("a/x.rs", "use super::A; pub struct X;"),
        ];
        assert_eq!(arrows(&files), [arrow("a.rs", "a/x.rs"), arrow("a/x.rs", "a.rs")]);
    }

    #[test]
    fn what_the_head_of_a_folder_defines_is_there_for_those_inside() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a/mod.rs", "mod x; pub struct A(x::X);"),
            ("a/x.rs", "use super::A; use crate::b::B; pub struct X;"),
            ("b.rs", "use crate::a::A; pub struct B;"),
        ];
        let texts = files.iter().map(|&(file, text)| (file.to_owned(), text.to_owned())).collect();
        let modules = Modules::of(&texts);
        let found: Vec<_> = modules.arrows_between_rooms().collect();
        assert_eq!(found, [("a/mod.rs", "a/x.rs"), ("a/x.rs", "b.rs"), ("b.rs", "a/mod.rs")]);
    }

    #[test]
    fn code_for_tests_does_not_count() {
        let files = [
            ("lib.rs", "mod a; mod b; #[cfg(test)] mod tests;"),
            ("a.rs", "pub struct A;"),
            (
                "b.rs",
                "#[cfg(test)] mod tests { use crate::a::A; fn f() { let _ = [1; 2]; } } #[cfg(test)] use crate::a::{A};",
            ),
            ("tests.rs", "use crate::a::A;"),
        ];
        assert_eq!(arrows(&files), []);
    }

    #[test]
    fn other_crates_are_nobodys_file() {
        let files = [
            ("lib.rs", "mod http; mod b;"),
            ("http.rs", "pub struct A;"),
            ("b.rs", "use http::Uri; fn f(_: ::http::A) {}"),
        ];
        assert_eq!(arrows(&files), []);
    }

    #[test]
    fn a_folder_is_the_first_part_of_the_path() {
        assert_eq!(["serve/a/b.rs", "serve.rs", "lib.rs"].map(folder), ["serve", "serve", "lib"]);
    }
}
