//! How routes match paths, and how they rewrite them.

#[cfg(test)]
mod tests;

use regex_automata::meta::Regex;

use crate::message::Request;

/// How a route matches the path.
#[derive(Debug)]
pub enum PathMatch {
    /// Its beginning; whether case counts.
    Prefix(String, bool),
    /// All of it; whether case counts.
    Exact(String, bool),
    /// `/a` matches `/a` and `/a/b` but not `/ab`.
    Separated(String, bool),
    /// All of it by an expression.
    Regex(Box<regex_automata::meta::Regex>),
    /// `CONNECT` requests.
    Connect,
}

impl PathMatch {
    /// `CONNECT` requests have no path and match connect routes only.
    pub fn matches(&self, request: &Request) -> bool {
        let path = request.path_only();
        let eq = |text: &str, want: &str, case: bool| {
            if case { text == want } else { text.eq_ignore_ascii_case(want) }
        };
        let starts = |want: &str, case: bool| {
            path.is_char_boundary(want.len())
                && path.len() >= want.len()
                && eq(&path[..want.len()], want, case)
        };
        match self {
            _ if request.method == http::Method::CONNECT => matches!(self, PathMatch::Connect),
            PathMatch::Prefix(want, case) => path.len() >= want.len() && starts(want, *case),
            PathMatch::Exact(want, case) => eq(path, want, *case),
            PathMatch::Separated(want, case) => {
                path.len() >= want.len()
                    && starts(want, *case)
                    && (path.len() == want.len() || path.as_bytes().get(want.len()) == Some(&b'/'))
            }
            PathMatch::Regex(regex) => regex.is_match(path),
            PathMatch::Connect => false,
        }
    }
}

/// Path rewrite.
#[derive(Debug)]
pub enum PathRewrite {
    /// What comes in the place of what the route matched.
    Prefix(String),
    /// What comes in the place of all of it.
    Full(String),
    /// What comes in the place of what an expression matches.
    Regex(Box<Regex>, String),
}

impl PathRewrite {
    /// The new path with the old query.
    pub fn apply(&self, path_match: &PathMatch, full: &str) -> String {
        let (path, query) = match full.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (full, None),
        };
        let mut out = match self {
            PathRewrite::Full(new) => new.clone(),
            PathRewrite::Prefix(new) => {
                let matched = match path_match {
                    PathMatch::Prefix(text, _)
                    | PathMatch::Exact(text, _)
                    | PathMatch::Separated(text, _) => text.len(),
                    PathMatch::Regex(_) | PathMatch::Connect => path.len(),
                };
                format!("{new}{}", path.get(matched..).unwrap_or(""))
            }
            PathRewrite::Regex(regex, substitution) => substitute(regex, path, substitution),
        };
        // A target must not be empty; Envoy would send one without slash.
        if !out.starts_with('/') {
            out.insert(0, '/');
        }
        if let Some(query) = query {
            out.push('?');
            out.push_str(query);
        }
        out
    }
}

/// Replaces all matches; `\1` is a group as in RE2.
pub fn substitute(regex: &Regex, text: &str, substitution: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut last = 0;
    for captures in regex.captures_iter(text) {
        let Some(all) = captures.get_match() else { continue };
        out.push_str(&text[last..all.start()]);
        let mut chars = substitution.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some(digit) if digit.is_ascii_digit() => {
                        let group = digit.to_digit(10).unwrap_or(0) as usize;
                        if let Some(span) = captures.get_group(group) {
                            out.push_str(&text[span.start..span.end]);
                        }
                    }
                    Some(other) => out.push(other),
                    None => {}
                },
                c => out.push(c),
            }
        }
        last = all.end();
    }
    out.push_str(&text[last..]);
    out
}
