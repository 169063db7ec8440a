//! The line of one request: a text, or a JSON object.

use crate::format::Format;
use crate::pb::{self, core};
use crate::value::{Invalid, Loader, Valid, data};

/// Envoy's default format.
const DEFAULT_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";
/// A compiled line.
#[derive(Debug)]
pub enum Line {
    /// Text.
    Text(Format),
    /// A JSON object.
    Json {
        /// Sorted by name.
        fields: Vec<(String, Node)>,
        /// Leave out what has no value.
        omit_empty: bool,
    },
}

/// A value in a JSON line.
#[derive(Debug)]
pub enum Node {
    /// A value: alone it keeps its type.
    Value(Format),
    /// An object.
    Object(Vec<(String, Node)>),
    /// A list.
    List(Vec<Node>),
}

impl Line {
    /// A text format.
    pub fn text(format: &str) -> Valid<Line> {
        Ok(Line::Text(Format::compile(format)?))
    }

    /// By default Envoy's own format.
    pub fn optional(format: Option<&core::SubstitutionFormatString>, load: Loader) -> Valid<Line> {
        format.map_or_else(|| Line::text(DEFAULT_FORMAT), |format| Line::compile(format, load))
    }

    /// A format of the access log's message.
    pub fn compile(format: &core::SubstitutionFormatString, load: Loader) -> Valid<Line> {
        use core::substitution_format_string::Format as F;
        match &format.format {
            Some(F::TextFormat(text)) => Line::text(text),
            Some(F::TextFormatSource(source)) => {
                let text = String::from_utf8(data(source, load)?.unwrap_or_default())
                    .map_err(|_| Invalid::new("format is not UTF-8"))?;
                Line::text(&text)
            }
            Some(F::JsonFormat(fields)) => Line::json(fields, format.omit_empty_values),
            None => Err(Invalid::new("empty log format")),
        }
    }

    /// A JSON format.
    pub fn json(fields: &pb::Struct, omit_empty: bool) -> Valid<Line> {
        Ok(Line::Json { fields: nodes(fields)?, omit_empty })
    }
}

/// Sorted by name: the message's map has no order and lines should be stable.
fn nodes(fields: &pb::Struct) -> Valid<Vec<(String, Node)>> {
    let mut out = fields
        .fields
        .iter()
        .map(|(name, value)| Ok((name.clone(), node(value)?)))
        .collect::<Valid<Vec<_>>>()?;
    out.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(out)
}

fn node(value: &pb::Value) -> Valid<Node> {
    Ok(match &value.kind {
        Some(pb::Kind::StringValue(text)) => Node::Value(Format::compile(text)?),
        Some(pb::Kind::NumberValue(number)) => Node::Value(Format::compile(&number.to_string())?),
        Some(pb::Kind::BoolValue(value)) => Node::Value(Format::compile(&value.to_string())?),
        Some(pb::Kind::StructValue(fields)) => Node::Object(nodes(fields)?),
        Some(pb::Kind::ListValue(list)) => Node::List(list.values.iter().map(node).collect::<Valid<_>>()?),
        Some(pb::Kind::NullValue(_)) | None => Node::Value(Format::default()),
    })
}
