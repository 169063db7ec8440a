//! Access logs: compiled formats, filters, and buffered writing off the workers.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock};

use super::format::{Context, Format};
use crate::message::Flags;
use crate::message::matchers::HeaderMatch;
use crate::pb::{self, accesslog, core, file_log, stream_log};
use crate::value::{At as _, Invalid, PerMillion, Valid, data, drawn, fraction, type_of, unpack};

/// Envoy's default format.
const DEFAULT_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \
\"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";
/// Chunks that wait for the writer at most; a worker never waits for a slow disk, it drops.
const MAX_QUEUED_CHUNKS: usize = 256;
/// A worker's buffer of one file is handed over at this size at the latest.
pub(crate) const FLUSH_BYTES: usize = 64 * 1024;

/// One `access_log` entry.
#[derive(Debug)]
pub(crate) struct AccessLog {
    path: Arc<str>,
    line: Line,
    filter: Option<Filter>,
}

#[derive(Debug)]
enum Line {
    Text(Format),
    Json { fields: Vec<(String, Node)>, omit_empty: bool },
}

#[derive(Debug)]
enum Node {
    Value(Format),
    Object(Vec<(String, Node)>),
    List(Vec<Node>),
}

#[derive(Debug)]
enum Filter {
    Status(i32, u32),
    Duration(i32, u32),
    Runtime(PerMillion),
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Header(HeaderMatch),
    Flags(Vec<Flags>),
    Always,
}

impl AccessLog {
    pub(crate) fn compile_all(logs: &[accesslog::AccessLog]) -> Valid<Vec<AccessLog>> {
        logs.iter()
            .filter_map(|log| Self::compile(log).at(&format!("access_log {:?}", log.name)).transpose())
            .collect()
    }

    fn compile(log: &accesslog::AccessLog) -> Valid<Option<AccessLog>> {
        let Some(accesslog::access_log::ConfigType::TypedConfig(config)) = &log.config_type else {
            return Err(Invalid::new("missing typed_config"));
        };
        let filter = log.filter.as_ref().map(Filter::compile).transpose().at("filter")?;
        let (path, line) = match type_of(config) {
            "envoy.extensions.access_loggers.file.v3.FileAccessLog" => {
                let file: file_log::FileAccessLog = unpack(config)?;
                use file_log::file_access_log::AccessLogFormat as F;
                let line = match &file.access_log_format {
                    None => Line::Text(Format::compile(DEFAULT_FORMAT)?),
                    Some(F::Format(text)) => Line::Text(Format::compile(text)?),
                    Some(F::JsonFormat(fields) | F::TypedJsonFormat(fields)) => Line::json(fields, false)?,
                    Some(F::LogFormat(format)) => Line::compile(format)?,
                };
                (file.path, line)
            }
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog" => {
                let log: stream_log::StdoutAccessLog = unpack(config)?;
                use stream_log::stdout_access_log::AccessLogFormat as F;
                let format = log.access_log_format.map(|F::LogFormat(format)| format);
                ("/dev/stdout".to_owned(), Line::optional(format.as_ref())?)
            }
            "envoy.extensions.access_loggers.stream.v3.StderrAccessLog" => {
                let log: stream_log::StderrAccessLog = unpack(config)?;
                use stream_log::stderr_access_log::AccessLogFormat as F;
                let format = log.access_log_format.map(|F::LogFormat(format)| format);
                ("/dev/stderr".to_owned(), Line::optional(format.as_ref())?)
            }
            name => return Err(Invalid(format!("unsupported access logger {name}"))),
        };
        Ok(Some(AccessLog { path: path.into(), line, filter }))
    }

    /// Appends the line of one request to the worker's buffers.
    pub(crate) fn log(&self, context: &Context<'_>, buffers: &LogBuffers) {
        if !self.filter.as_ref().is_none_or(|filter| filter.passes(context)) {
            return;
        }
        buffers.with(&self.path, |out| match &self.line {
            Line::Text(format) => {
                let mut text = String::with_capacity(512);
                format.write(context, "-", &mut text);
                out.extend_from_slice(text.as_bytes());
            }
            Line::Json { fields, omit_empty } => {
                write_object(fields, context, *omit_empty, out);
                out.push(b'\n');
            }
        });
    }
}

impl Line {
    fn optional(format: Option<&core::SubstitutionFormatString>) -> Valid<Line> {
        format.map_or_else(|| Ok(Line::Text(Format::compile(DEFAULT_FORMAT)?)), Line::compile)
    }

    fn compile(format: &core::SubstitutionFormatString) -> Valid<Line> {
        use core::substitution_format_string::Format as F;
        match &format.format {
            Some(F::TextFormat(text)) => Ok(Line::Text(Format::compile(text)?)),
            Some(F::TextFormatSource(source)) => {
                let text =
                    String::from_utf8(data(source)?).map_err(|_| Invalid::new("format is not UTF-8"))?;
                Ok(Line::Text(Format::compile(&text)?))
            }
            Some(F::JsonFormat(fields)) => Line::json(fields, format.omit_empty_values),
            None => Err(Invalid::new("empty log format")),
        }
    }

    fn json(fields: &pb::Struct, omit_empty: bool) -> Valid<Line> {
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

impl Filter {
    fn compile(filter: &accesslog::AccessLogFilter) -> Valid<Filter> {
        use accesslog::access_log_filter::FilterSpecifier as S;
        let comparison = |comparison: &Option<accesslog::ComparisonFilter>| {
            let comparison = comparison.as_ref().ok_or_else(|| Invalid::new("missing comparison"))?;
            Ok::<_, Invalid>((
                comparison.op,
                comparison.value.as_ref().map_or(0, |value| value.default_value),
            ))
        };
        let many = |filters: &[accesslog::AccessLogFilter]| {
            filters.iter().map(Filter::compile).collect::<Valid<Vec<_>>>()
        };
        Ok(match &filter.filter_specifier {
            Some(S::StatusCodeFilter(status)) => {
                comparison(&status.comparison).map(|(op, value)| Filter::Status(op, value))?
            }
            Some(S::DurationFilter(duration)) => {
                comparison(&duration.comparison).map(|(op, value)| Filter::Duration(op, value))?
            }
            Some(S::RuntimeFilter(runtime)) => Filter::Runtime(fraction(runtime.percent_sampled.as_ref())),
            Some(S::AndFilter(and)) => Filter::And(many(&and.filters)?),
            Some(S::OrFilter(or)) => Filter::Or(many(&or.filters)?),
            Some(S::HeaderFilter(header)) => {
                let header = header.header.as_ref().ok_or_else(|| Invalid::new("missing header"))?;
                Filter::Header(HeaderMatch::compile(header)?)
            }
            Some(S::ResponseFlagFilter(flags)) => Filter::Flags(
                flags
                    .flags
                    .iter()
                    .map(|flag| {
                        Flags::parse(flag).ok_or_else(|| Invalid(format!("unknown response flag {flag:?}")))
                    })
                    .collect::<Valid<_>>()?,
            ),
            Some(S::NotHealthCheckFilter(_) | S::TraceableFilter(_)) => Filter::Always,
            Some(_) => return Err(Invalid::new("unsupported access log filter")),
            None => return Err(Invalid::new("empty access log filter")),
        })
    }

    fn passes(&self, context: &Context<'_>) -> bool {
        let info = context.info;
        match self {
            Filter::Status(op, value) => compare(*op, u64::from(info.response_code), u64::from(*value)),
            Filter::Duration(op, value) => {
                let elapsed = context.now.saturating_duration_since(info.start).as_millis();
                compare(*op, u64::try_from(elapsed).unwrap_or(u64::MAX), u64::from(*value))
            }
            Filter::Runtime(share) => drawn(*share),
            Filter::And(filters) => filters.iter().all(|filter| filter.passes(context)),
            Filter::Or(filters) => filters.iter().any(|filter| filter.passes(context)),
            Filter::Header(header) => context.request.is_some_and(|request| header.matches(request)),
            Filter::Flags(flags) if flags.is_empty() => !info.flags.is_empty(),
            Filter::Flags(flags) => flags.iter().any(|flag| info.flags.contains(*flag)),
            Filter::Always => true,
        }
    }
}

fn compare(op: i32, left: u64, right: u64) -> bool {
    match op {
        1 => left >= right,
        2 => left <= right,
        3 => left != right,
        _ => left == right,
    }
}

/// The buffers of one worker.
#[derive(Debug, Default)]
pub(crate) struct LogBuffers(std::cell::RefCell<HashMap<Arc<str>, Vec<u8>>>);

impl LogBuffers {
    fn with(&self, path: &Arc<str>, write: impl FnOnce(&mut Vec<u8>)) {
        let mut buffers = self.0.borrow_mut();
        let buffer = match buffers.get_mut(path) {
            Some(buffer) => buffer,
            None => buffers.entry(path.clone()).or_default(),
        };
        write(buffer);
        if buffer.len() >= FLUSH_BYTES {
            WRITER.send(path.clone(), std::mem::take(buffer));
        }
    }

    /// Hands everything over to the writer. Called by the worker's ticker and at its end.
    pub(crate) fn flush(&self) {
        for (path, buffer) in self.0.borrow_mut().iter_mut() {
            if !buffer.is_empty() {
                WRITER.send(path.clone(), std::mem::take(buffer));
            }
        }
    }
}

/// The one thread that writes log files of this process.
static WRITER: LazyLock<Writer> = LazyLock::new(Writer::start);

struct Writer(Option<SyncSender<(Arc<str>, Vec<u8>)>>);

impl Writer {
    fn start() -> Writer {
        let (sender, receiver) = sync_channel(MAX_QUEUED_CHUNKS);
        match std::thread::Builder::new().name("ptl-access-log".into()).spawn(move || write_all(receiver)) {
            Ok(_) => Writer(Some(sender)),
            Err(error) => {
                tracing::error!(%error, "cannot start the access log thread; access logs are off");
                Writer(None)
            }
        }
    }

    fn send(&self, path: Arc<str>, chunk: Vec<u8>) {
        if let Some(Err(TrySendError::Full(_))) = self.0.as_ref().map(|sender| sender.try_send((path, chunk)))
        {
            tracing::warn!("access log is written too slowly; dropped a part of it");
        }
    }
}

#[allow(clippy::needless_pass_by_value)]
fn write_all(receiver: Receiver<(Arc<str>, Vec<u8>)>) {
    let mut files: HashMap<Arc<str>, std::fs::File> = HashMap::new();
    while let Ok((path, chunk)) = receiver.recv() {
        let result = match &*path {
            "/dev/stdout" => std::io::stdout().write_all(&chunk).and_then(|()| std::io::stdout().flush()),
            "/dev/stderr" => std::io::stderr().write_all(&chunk),
            name => {
                let opened = match files.remove(&path) {
                    Some(file) => Ok(file),
                    None => std::fs::OpenOptions::new().create(true).append(true).open(name),
                };
                opened.and_then(|mut file| {
                    file.write_all(&chunk)?;
                    files.insert(path.clone(), file);
                    Ok(())
                })
            }
        };
        if let Err(error) = result {
            tracing::warn!(%error, %path, "cannot write the access log");
        }
    }
}
