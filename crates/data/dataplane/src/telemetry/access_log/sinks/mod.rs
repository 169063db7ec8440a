//! Where access logs can go.

mod file;
mod stderr;
mod stdout;

use super::Destination;
use super::line::Line;
use crate::pb::Any;
use crate::value::{Invalid, Valid, type_of};

/// A kind of sink: the message that configures it, and how that is read.
pub(super) struct Sink {
    message: &'static str,
    compile: fn(&Any) -> Valid<(Destination, Line)>,
}

/// The sinks that there are.
const SINKS: [Sink; 3] = [file::SINK, stdout::SINK, stderr::SINK];

pub(super) fn compile(config: &Any) -> Valid<(Destination, Line)> {
    let name = type_of(config);
    let sink = SINKS.iter().find(|sink| sink.message == name);
    let sink = sink.ok_or_else(|| Invalid(format!("unsupported access logger {name}")))?;
    (sink.compile)(config)
}
