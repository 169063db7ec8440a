//! The line of one request: a text, or a JSON object.

use portolan_dataplane_config::access_log::{Line, Node};

use crate::telemetry::format::{self, Context};

/// Room for a text line from the start; most fit.
const USUAL_LINE: usize = 512;

pub(super) fn write(line: &Line, context: &Context<'_>, out: &mut Vec<u8>) {
    match line {
        Line::Text(format) => {
            let mut text = String::with_capacity(USUAL_LINE);
            format::write(format, context, "-", &mut text);
            out.extend_from_slice(text.as_bytes());
        }
        Line::Json { fields, omit_empty } => {
            write_object(fields, context, *omit_empty, out);
            out.push(b'\n');
        }
    }
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
        Node::Value(format) => format::write_json(format, context, out),
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
