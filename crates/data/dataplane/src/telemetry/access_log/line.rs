//! The line of one request: a text, or a JSON object.

use super::super::format::{Context, Format};
use crate::pb::{self, core};
use crate::value::{Invalid, Valid, data};

/// Envoy's default format.
const DEFAULT_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";
/// Room for a text line from the start; most fit.
const USUAL_LINE: usize = 512;

/// A compiled line.
#[derive(Debug)]
pub(super) enum Line {
    Text(Format),
    Json { fields: Vec<(String, Node)>, omit_empty: bool },
}

/// A value in a JSON line.
#[derive(Debug)]
pub(super) enum Node {
    Value(Format),
    Object(Vec<(String, Node)>),
    List(Vec<Node>),
}

impl Line {
    pub(super) fn text(format: &str) -> Valid<Line> {
        Ok(Line::Text(Format::compile(format)?))
    }

    /// By default Envoy's own format.
    pub(super) fn optional(format: Option<&core::SubstitutionFormatString>) -> Valid<Line> {
        format.map_or_else(|| Line::text(DEFAULT_FORMAT), Line::compile)
    }

    pub(super) fn compile(format: &core::SubstitutionFormatString) -> Valid<Line> {
        use core::substitution_format_string::Format as F;
        match &format.format {
            Some(F::TextFormat(text)) => Line::text(text),
            Some(F::TextFormatSource(source)) => {
                let text =
                    String::from_utf8(data(source)?).map_err(|_| Invalid::new("format is not UTF-8"))?;
                Line::text(&text)
            }
            Some(F::JsonFormat(fields)) => Line::json(fields, format.omit_empty_values),
            None => Err(Invalid::new("empty log format")),
        }
    }

    pub(super) fn json(fields: &pb::Struct, omit_empty: bool) -> Valid<Line> {
        Ok(Line::Json { fields: nodes(fields)?, omit_empty })
    }

    pub(super) fn write(&self, context: &Context<'_>, out: &mut Vec<u8>) {
        match self {
            Line::Text(format) => {
                let mut text = String::with_capacity(USUAL_LINE);
                format.write(context, "-", &mut text);
                out.extend_from_slice(text.as_bytes());
            }
            Line::Json { fields, omit_empty } => {
                write_object(fields, context, *omit_empty, out);
                out.push(b'\n');
            }
        }
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

/// Straight into the buffer: a tree of values per line would cost more than the rest of the log.
fn write_object(fields: &[(String, Node)], context: &Context<'_>, omit_empty: bool, out: &mut Vec<u8>) {
    out.push(b'{');
    let mut first = true;
    for (name, node) in fields {
        let before = out.len();
        if !first {
            out.push(b',');
        }
        // Text cannot fail to be JSON, nor can a Vec be written to in vain.
        let _ = serde_json::to_writer(&mut *out, name);
        out.push(b':');
        if write_node(node, context, omit_empty, out) || !omit_empty {
            first = false;
        } else {
            out.truncate(before);
        }
    }
    out.push(b'}');
}

/// False when it is null.
fn write_node(node: &Node, context: &Context<'_>, omit_empty: bool, out: &mut Vec<u8>) -> bool {
    match node {
        Node::Value(format) => format.write_json(context, out),
        Node::Object(fields) => {
            write_object(fields, context, omit_empty, out);
            true
        }
        Node::List(nodes) => {
            out.push(b'[');
            for (at, node) in nodes.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_node(node, context, omit_empty, out);
            }
            out.push(b']');
            true
        }
    }
}
