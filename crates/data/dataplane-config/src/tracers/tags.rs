//! Custom tags of spans, compiled.

use http::HeaderName;

use super::span::Tags;
use crate::format::{Command, Format, Op, Render};
use crate::message::Request;
use crate::pb::{span_tag, span_tag::custom_tag::Type};
use crate::value::{At as _, External, Invalid, Loader, Valid};

/// Tags of one span at most, custom ones of a connection manager and of a route each.
const MAX_CUSTOM: usize = 64;

/// A tag that the configuration names.
#[derive(Debug)]
pub struct CustomTag {
    name: String,
    value: Value,
    /// Without a value; empty: then there is no tag.
    default: String,
}

#[derive(Debug)]
enum Value {
    Text(String),
    Field(HeaderName),
    Format(Format),
}

impl CustomTag {
    /// Compiles the tags of a connection manager or route.
    pub fn compile_all(from: &[span_tag::CustomTag], load: Loader) -> Valid<Vec<CustomTag>> {
        if from.len() > MAX_CUSTOM {
            return Err(Invalid(format!("custom_tags: more than {MAX_CUSTOM}")));
        }
        let compiled = |from| Self::compile(from, load).at(&format!("custom_tags {:?}", from.tag));
        from.iter().map(compiled).collect()
    }

    fn compile(from: &span_tag::CustomTag, load: Loader) -> Valid<CustomTag> {
        let (value, default) = match from.r#type.as_ref().ok_or_else(|| Invalid::new("missing type"))? {
            Type::Literal(literal) => (Value::Text(literal.value.clone()), ""),
            Type::Environment(variable) => {
                // One that is not set is no error: it has a default, or there is no tag.
                let text = load(External::Variable(&variable.name)).ok().flatten();
                let text = text.and_then(|text| String::from_utf8(text).ok()).unwrap_or_default();
                (Value::Text(text), variable.default_value.as_str())
            }
            Type::RequestHeader(field) => {
                let name = HeaderName::from_bytes(field.name.as_bytes())
                    .map_err(|_| Invalid(format!("request_header: {:?} is not a header name", field.name)))?;
                (Value::Field(name), field.default_value.as_str())
            }
            Type::Metadata(metadata) => {
                (Value::Format(of_metadata(metadata).at("metadata")?), metadata.default_value.as_str())
            }
            Type::Value(format) => (Value::Format(Format::compile(format).at("value")?), ""),
        };
        Ok(CustomTag { name: from.tag.clone(), value, default: default.to_owned() })
    }

    /// Sets the tag of a span.
    pub fn apply(&self, request: &Request, render: &dyn Render, tags: &mut Tags) {
        let value = match &self.value {
            Value::Text(text) => text.clone(),
            Value::Field(name) => {
                let value = request.headers.get(name);
                value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default()
            }
            Value::Format(format) => render.text(format),
        };
        tags.set(self.name.clone(), if value.is_empty() { self.default.clone() } else { value });
    }
}

/// Dynamic metadata of the request; those of routes, clusters and hosts are not kept.
fn of_metadata(from: &span_tag::custom_tag::Metadata) -> Valid<Format> {
    use crate::pb::metadata::metadata_key::path_segment::Segment;
    use crate::pb::metadata::metadata_kind::Kind;
    match from.kind.as_ref().and_then(|kind| kind.kind.as_ref()) {
        None | Some(Kind::Request(_)) => {}
        Some(Kind::Route(_)) => return Err(Invalid::new("kind.route is not supported")),
        Some(Kind::Cluster(_)) => return Err(Invalid::new("kind.cluster is not supported")),
        Some(Kind::Host(_)) => return Err(Invalid::new("kind.host is not supported")),
    }
    let key = from.metadata_key.as_ref().ok_or_else(|| Invalid::new("missing metadata_key"))?;
    let mut path = vec![key.key.clone()];
    for segment in &key.path {
        match &segment.segment {
            Some(Segment::Key(key)) => path.push(key.clone()),
            Some(Segment::Index(_)) => return Err(Invalid::new("metadata_key: indexes are not supported")),
            None => return Err(Invalid::new("metadata_key: empty path segment")),
        }
    }
    Ok(Format(vec![Op::Command(Command::DynamicMetadata(path), None)]))
}
