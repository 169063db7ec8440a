//! Adding and removing header fields.

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::format::{Format, Render};
use crate::pb::core;
use crate::value::{At as _, Invalid, Valid, bool_or};

/// Changes of one level of the route configuration.
#[derive(Debug, Default)]
pub struct Mutations {
    /// To requests.
    pub request: Changes,
    /// To responses.
    pub response: Changes,
}

/// Changes in one direction. Removals come before additions.
#[derive(Debug, Default)]
pub struct Changes {
    add: Vec<Addition>,
    remove: Vec<HeaderName>,
}

#[derive(Debug)]
struct Addition {
    name: HeaderName,
    value: Format,
    mode: Mode,
    keep_empty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Append,
    AddIfAbsent,
    Overwrite,
    OverwriteIfPresent,
}

impl Mutations {
    /// Compiles the four fields in which Envoy's messages say it.
    pub fn compile(
        request_add: &[core::HeaderValueOption],
        request_remove: &[String],
        response_add: &[core::HeaderValueOption],
        response_remove: &[String],
    ) -> Valid<Self> {
        Ok(Mutations {
            request: Changes::compile(request_add, request_remove).at("request headers")?,
            response: Changes::compile(response_add, response_remove).at("response headers")?,
        })
    }
}

impl Changes {
    /// Compiles one direction.
    pub fn compile(add: &[core::HeaderValueOption], remove: &[String]) -> Valid<Self> {
        Ok(Changes {
            add: add.iter().map(Addition::compile).collect::<Valid<_>>()?,
            remove: remove.iter().map(|name| mutable(name)).collect::<Valid<_>>()?,
        })
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    /// Works out the values, then changes `headers`.
    pub fn apply(&self, headers: &mut HeaderMap, context: Option<&dyn Render>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for addition in &self.add {
            let text = match (addition.value.literal(), context) {
                (Some(text), _) => text.to_owned(),
                (None, Some(context)) => context.text(&addition.value),
                (None, None) => String::new(),
            };
            if text.is_empty() && !addition.keep_empty {
                continue;
            }
            let Ok(value) = HeaderValue::from_str(&text) else { continue };
            let present = headers.contains_key(&addition.name);
            match addition.mode {
                Mode::Append => {
                    let _ = headers.try_append(&addition.name, value);
                }
                Mode::AddIfAbsent if present => {}
                Mode::OverwriteIfPresent if !present => {}
                _ => {
                    headers.insert(&addition.name, value);
                }
            }
        }
    }
}

impl Addition {
    fn compile(from: &core::HeaderValueOption) -> Valid<Addition> {
        use core::header_value_option::HeaderAppendAction as A;
        let header = from.header.as_ref().ok_or_else(|| Invalid::new("header is missing"))?;
        let value = if header.raw_value.is_empty() {
            header.value.clone()
        } else {
            String::from_utf8(header.raw_value.clone()).map_err(|_| Invalid::new("raw_value is not UTF-8"))?
        };
        let mode = match (&from.append, A::try_from(from.append_action)) {
            (Some(append), _) if bool_or(Some(append), true) => Mode::Append,
            (Some(_), _) => Mode::Overwrite,
            (None, Ok(A::AppendIfExistsOrAdd)) => Mode::Append,
            (None, Ok(A::AddIfAbsent)) => Mode::AddIfAbsent,
            (None, Ok(A::OverwriteIfExistsOrAdd)) => Mode::Overwrite,
            (None, Ok(A::OverwriteIfExists)) => Mode::OverwriteIfPresent,
            (None, Err(_)) => return Err(Invalid::new("unknown append_action")),
        };
        Ok(Addition {
            name: mutable(&header.key)?,
            value: Format::compile(&value).at(&header.key)?,
            mode,
            keep_empty: from.keep_empty_value,
        })
    }
}

/// A field that may be changed: no pseudo field, no host, nothing that frames.
fn mutable(name: &str) -> Valid<HeaderName> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(Invalid(format!("{name:?} cannot be changed as a header")));
    }
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Invalid(format!("{name:?} is not a header name")))
}
