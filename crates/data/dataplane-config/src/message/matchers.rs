//! String, header, query and path matchers, compiled.

use http::HeaderName;
use regex_automata::meta::Regex;

use super::Request;
use crate::pb::{matcher, route};
use crate::value::{At as _, Invalid, Valid};

/// Largest compiled automaton of one expression; RE2's default budget in Envoy is of this order.
const MAX_REGEX_BYTES: usize = 1024 * 1024;

/// A regular expression in RE2's syntax that must match the whole text.
pub fn full_regex(pattern: &str) -> Valid<Regex> {
    automaton(pattern, |text| format!(r"\A(?:{text})\z"))
}

/// A regular expression in RE2's syntax to search with, for rewrites.
pub fn search_regex(pattern: &str) -> Valid<Regex> {
    automaton(pattern, |text| text)
}

fn automaton(pattern: &str, around: impl Fn(String) -> String) -> Valid<Regex> {
    let invalid = |reason: String| Invalid(format!("regular expression {}: {reason}", shown(pattern)));
    let rewritten = portolan_re2::rewrite(pattern).map_err(|error| invalid(error.to_string()))?;
    Regex::builder()
        .configure(Regex::config().nfa_size_limit(Some(MAX_REGEX_BYTES)))
        .build(&around(rewritten.text))
        .map_err(|error| invalid(error.to_string()))
}

/// The beginning of an expression, for people.
fn shown(pattern: &str) -> String {
    const MOST: usize = 80;
    let more = if pattern.chars().nth(MOST).is_some() { "..." } else { "" };
    format!("{:?}{more}", pattern.chars().take(MOST).collect::<String>())
}

/// A condition on a text.
#[derive(Debug, Clone)]
pub enum StringMatch {
    /// The whole text.
    Exact(String),
    /// Its beginning.
    Prefix(String),
    /// Its end.
    Suffix(String),
    /// A part of it.
    Contains(String),
    /// The whole text, whatever its case.
    ExactIgnoreCase(String),
    /// Its beginning, whatever its case.
    PrefixIgnoreCase(String),
    /// Its end, whatever its case.
    SuffixIgnoreCase(String),
    /// A part of it, whatever its case.
    ContainsIgnoreCase(String),
    /// The whole text by an expression.
    Regex(Box<Regex>),
}

impl StringMatch {
    /// Compiles the message.
    pub fn compile(from: &matcher::StringMatcher) -> Valid<Self> {
        use matcher::string_matcher::MatchPattern as P;
        let fold = from.ignore_case;
        let pattern =
            from.match_pattern.as_ref().ok_or_else(|| Invalid::new("string matcher without pattern"))?;
        Ok(match pattern {
            P::Exact(text) if fold => StringMatch::ExactIgnoreCase(text.to_lowercase()),
            P::Exact(text) => StringMatch::Exact(text.clone()),
            P::Prefix(text) if fold => StringMatch::PrefixIgnoreCase(text.to_lowercase()),
            P::Prefix(text) => StringMatch::Prefix(text.clone()),
            P::Suffix(text) if fold => StringMatch::SuffixIgnoreCase(text.to_lowercase()),
            P::Suffix(text) => StringMatch::Suffix(text.clone()),
            P::Contains(text) if fold => StringMatch::ContainsIgnoreCase(text.to_lowercase()),
            P::Contains(text) => StringMatch::Contains(text.clone()),
            P::SafeRegex(regex) => StringMatch::Regex(Box::new(full_regex(&regex.regex)?)),
            P::Custom(_) => return Err(Invalid::new("custom string matchers are not supported")),
        })
    }

    /// Whether a text fulfils it.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            StringMatch::Exact(want) => text == want,
            StringMatch::Prefix(want) => text.starts_with(want.as_str()),
            StringMatch::Suffix(want) => text.ends_with(want.as_str()),
            StringMatch::Contains(want) => text.contains(want.as_str()),
            StringMatch::ExactIgnoreCase(want) => text.to_lowercase() == *want,
            StringMatch::PrefixIgnoreCase(want) => text.to_lowercase().starts_with(want.as_str()),
            StringMatch::SuffixIgnoreCase(want) => text.to_lowercase().ends_with(want.as_str()),
            StringMatch::ContainsIgnoreCase(want) => text.to_lowercase().contains(want.as_str()),
            StringMatch::Regex(regex) => regex.is_match(text),
        }
    }
}

/// What a header matcher reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderSource {
    /// `:method`.
    Method,
    /// `:authority` or `host`.
    Authority,
    /// `:path`.
    Path,
    /// `:scheme`.
    Scheme,
    /// Any other field.
    Field(HeaderName),
}

impl HeaderSource {
    /// The source of a name.
    pub fn compile(name: &str) -> Valid<Self> {
        Ok(match name.to_ascii_lowercase().as_str() {
            ":method" => HeaderSource::Method,
            ":authority" | "host" => HeaderSource::Authority,
            ":path" => HeaderSource::Path,
            ":scheme" => HeaderSource::Scheme,
            name => HeaderSource::Field(
                HeaderName::from_bytes(name.as_bytes())
                    .map_err(|_| Invalid(format!("{name:?} is not a header name")))?,
            ),
        })
    }

    /// Calls `check` with each value until one is accepted. Values are never joined: a list of fields is not one
    /// string.
    fn any(&self, request: &Request, mut check: impl FnMut(&str) -> bool) -> bool {
        match self {
            HeaderSource::Method => check(request.method.as_str()),
            HeaderSource::Authority => check(&request.authority),
            HeaderSource::Path => check(&request.path),
            HeaderSource::Scheme => check(request.scheme),
            HeaderSource::Field(name) => request
                .headers
                .get_all(name)
                .iter()
                .any(|value| std::str::from_utf8(value.as_bytes()).is_ok_and(&mut check)),
        }
    }

    fn present(&self, request: &Request) -> bool {
        match self {
            HeaderSource::Field(name) => request.headers.contains_key(name),
            _ => true,
        }
    }
}

#[derive(Debug, Clone)]
enum ValueMatch {
    String(StringMatch),
    Range(i64, i64),
    Present(bool),
}

/// A condition on a field of a request.
#[derive(Debug, Clone)]
pub struct HeaderMatch {
    source: HeaderSource,
    value: ValueMatch,
    invert: bool,
    missing_is_empty: bool,
}

impl HeaderMatch {
    /// Compiles the message.
    pub fn compile(from: &route::HeaderMatcher) -> Valid<Self> {
        use route::header_matcher::HeaderMatchSpecifier as S;
        let value = match &from.header_match_specifier {
            None => ValueMatch::Present(true),
            Some(S::ExactMatch(text)) => ValueMatch::String(StringMatch::Exact(text.clone())),
            Some(S::SafeRegexMatch(regex)) => {
                ValueMatch::String(StringMatch::Regex(Box::new(full_regex(&regex.regex)?)))
            }
            Some(S::RangeMatch(range)) => ValueMatch::Range(range.start, range.end),
            Some(S::PresentMatch(present)) => ValueMatch::Present(*present),
            Some(S::PrefixMatch(text)) => ValueMatch::String(StringMatch::Prefix(text.clone())),
            Some(S::SuffixMatch(text)) => ValueMatch::String(StringMatch::Suffix(text.clone())),
            Some(S::ContainsMatch(text)) => ValueMatch::String(StringMatch::Contains(text.clone())),
            Some(S::StringMatch(string)) => ValueMatch::String(StringMatch::compile(string)?),
        };
        Ok(HeaderMatch {
            source: HeaderSource::compile(&from.name)?,
            value,
            invert: from.invert_match,
            missing_is_empty: from.treat_missing_header_as_empty,
        })
    }

    /// Compiles several, all of which must hold.
    pub fn compile_all(from: &[route::HeaderMatcher]) -> Valid<Vec<Self>> {
        from.iter().map(Self::compile).collect::<Valid<Vec<_>>>().at("headers")
    }

    /// Whether a request fulfils it.
    pub fn matches(&self, request: &Request) -> bool {
        if let ValueMatch::Present(wanted) = self.value {
            return (self.source.present(request) == wanted) != self.invert;
        }
        if !self.source.present(request) {
            if !self.missing_is_empty {
                return self.invert;
            }
            let empty = matches!(&self.value, ValueMatch::String(string) if string.matches(""));
            return empty != self.invert;
        }
        let matched = self.source.any(request, |value| match &self.value {
            ValueMatch::String(string) => string.matches(value),
            ValueMatch::Range(start, end) => {
                value.parse::<i64>().is_ok_and(|number| number >= *start && number < *end)
            }
            ValueMatch::Present(_) => true,
        });
        matched != self.invert
    }

    /// The same on a response's fields.
    pub fn matches_fields(&self, headers: &http::HeaderMap) -> bool {
        let HeaderSource::Field(name) = &self.source else { return false };
        let mut values =
            headers.get_all(name).iter().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
        let matched = match &self.value {
            ValueMatch::Present(wanted) => headers.contains_key(name) == *wanted,
            ValueMatch::String(string) => values.any(|value| string.matches(value)),
            ValueMatch::Range(start, end) => {
                values.any(|value| value.parse::<i64>().is_ok_and(|number| number >= *start && number < *end))
            }
        };
        matched != self.invert
    }
}

/// A condition on a parameter of the query.
#[derive(Debug, Clone)]
pub struct QueryMatch {
    name: String,
    /// `None` = present.
    value: Option<StringMatch>,
}

impl QueryMatch {
    /// Compiles the message.
    pub fn compile(from: &route::QueryParameterMatcher) -> Valid<Self> {
        use route::query_parameter_matcher::QueryParameterMatchSpecifier as S;
        let value = match &from.query_parameter_match_specifier {
            Some(S::StringMatch(string)) => Some(StringMatch::compile(string)?),
            Some(S::PresentMatch(true)) | None => None,
            Some(S::PresentMatch(false)) => {
                return Err(Invalid::new("present_match: false is not supported"));
            }
        };
        Ok(QueryMatch { name: from.name.clone(), value })
    }

    /// Looks at the first parameter of that name, undecoded as Envoy does.
    pub fn matches(&self, query: &str) -> bool {
        let found = query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(name, _)| *name == self.name);
        match (found, &self.value) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some((_, value)), Some(string)) => string.matches(value),
        }
    }
}
