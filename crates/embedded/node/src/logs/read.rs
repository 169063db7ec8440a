//! `kubectl logs`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::{Logs, Progress, rotated};

/// Chunks that wait for a slow reader.
const QUEUE: usize = 16;
/// Lines are sent together up to this size.
const CHUNK: usize = 32 << 10;
/// `tail` beyond this is cut: the lines are held in memory.
const MAX_TAIL: usize = 100_000;
/// A stored line that is longer is damaged; it is skipped.
const MAX_STORED_LINE: u64 = 64 << 10;

/// What to read.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Namespace of the Pod.
    pub namespace: String,
    /// Name of the Pod.
    pub pod: String,
    /// Uid of the Pod; the newest Pod of that name when `None`.
    pub uid: Option<String>,
    /// Container; may be left out when the Pod has one only.
    pub container: Option<String>,
    /// The attempt before the current one.
    pub previous: bool,
    /// Go on with what is written later, until the container ends.
    pub follow: bool,
    /// Only the last lines.
    pub tail_lines: Option<usize>,
    /// Only lines that are not older.
    pub since: Option<Timestamp>,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The Pod has none.
    #[error("no logs of pod {namespace}/{pod} on this node: its containers have not started yet")]
    NoPod {
        /// Namespace.
        namespace: String,
        /// Pod.
        pod: String,
    },
    /// The container has none.
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start or does not exist")]
    NoContainer {
        /// Container.
        container: String,
        /// Pod.
        pod: String,
    },
    /// More than one container.
    #[error("a container name must be specified for pod {pod}, choose one of: [{choices}]")]
    Ambiguous {
        /// Pod.
        pod: String,
        /// Its containers.
        choices: String,
    },
    /// No earlier attempt.
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious {
        /// Container.
        container: String,
        /// Pod.
        pod: String,
    },
    /// A name that is not a name.
    #[error("`{0}` is not a valid name")]
    Name(String),
    /// File error.
    #[error("reading the log: {0}")]
    Io(#[from] io::Error),
}

/// The log's bytes.
pub type LogStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

impl Logs {
    /// Reads a log.
    pub fn read(&self, query: LogQuery) -> Result<LogStream, LogError> {
        let path = self.locate(&query)?;
        let progress = if query.follow { self.active.lock().get(&path).cloned() } else { None };
        let (tx, mut rx) = mpsc::channel(QUEUE);
        let emit =
            Emit { tx, query: query.clone(), left: query.limit_bytes.unwrap_or(u64::MAX), chunk: Vec::new() };
        tokio::spawn(produce(path, emit, progress));
        Ok(Box::pin(futures::stream::poll_fn(move |cx| rx.poll_recv(cx))))
    }

    fn locate(&self, query: &LogQuery) -> Result<PathBuf, LogError> {
        for name in [&query.namespace, &query.pod].into_iter().chain(&query.container).chain(&query.uid) {
            if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
                return Err(LogError::Name(name.clone()));
            }
        }
        let no_pod = || LogError::NoPod { namespace: query.namespace.clone(), pod: query.pod.clone() };
        let dir = match &query.uid {
            Some(uid) => self.pod_dir(&query.namespace, &query.pod, uid),
            None => self.newest(&query.namespace, &query.pod).ok_or_else(no_pod)?,
        };
        let containers = names(&dir).ok_or_else(no_pod)?;
        let container = match (&query.container, containers.as_slice()) {
            (Some(name), _) => name.clone(),
            (None, [only]) => only.clone(),
            (None, all) => {
                return Err(LogError::Ambiguous { pod: query.pod.clone(), choices: all.join(" ") });
            }
        };
        let no_container = || LogError::NoContainer { container: container.clone(), pod: query.pod.clone() };
        let dir = dir.join(&container);
        let mut attempts: Vec<i32> = names(&dir)
            .ok_or_else(no_container)?
            .iter()
            .filter_map(|name| name.strip_suffix(".log")?.parse().ok())
            .collect();
        attempts.sort_unstable();
        let last = attempts.pop().ok_or_else(no_container)?;
        let attempt = if query.previous {
            attempts.pop().ok_or_else(|| LogError::NoPrevious {
                container: container.clone(),
                pod: query.pod.clone(),
            })?
        } else {
            last
        };
        Ok(dir.join(format!("{attempt}.log")))
    }

    fn newest(&self, namespace: &str, pod: &str) -> Option<PathBuf> {
        let prefix = format!("{namespace}_{pod}_");
        std::fs::read_dir(&self.root)
            .ok()?
            .flatten()
            .filter(|e| e.file_name().to_str().is_some_and(|n| n.starts_with(&prefix)))
            .max_by_key(|e| e.metadata().and_then(|m| m.modified()).ok())
            .map(|e| e.path())
    }
}

fn names(dir: &Path) -> Option<Vec<String>> {
    let entries = std::fs::read_dir(dir).ok()?;
    let mut names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    Some(names)
}

struct Emit {
    tx: mpsc::Sender<io::Result<Bytes>>,
    query: LogQuery,
    left: u64,
    chunk: Vec<u8>,
}

impl Emit {
    /// The text to send for a stored line, if the query wants it.
    fn format(&self, line: &[u8]) -> Option<Vec<u8>> {
        let mut parts = line.splitn(4, |b| *b == b' ');
        let (time, _stream, tag) = (parts.next()?, parts.next()?, parts.next()?);
        let text = parts.next().unwrap_or_default();
        if let Some(since) = self.query.since {
            let time: Timestamp = std::str::from_utf8(time).ok()?.parse().ok()?;
            if time < since {
                return None;
            }
        }
        let mut out = Vec::with_capacity(line.len() + 1);
        if self.query.timestamps {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        out.extend_from_slice(text);
        if tag == b"F" {
            out.push(b'\n');
        }
        Some(out)
    }

    /// `false`: enough was sent, or nobody reads any more.
    async fn push(&mut self, text: &[u8]) -> bool {
        let take = text.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= take as u64;
        self.chunk.extend_from_slice(text.get(..take).unwrap_or_default());
        if self.chunk.len() >= CHUNK || self.left == 0 {
            return self.flush().await && self.left > 0;
        }
        true
    }

    async fn flush(&mut self) -> bool {
        if self.chunk.is_empty() {
            return !self.tx.is_closed();
        }
        self.tx.send(Ok(std::mem::take(&mut self.chunk).into())).await.is_ok()
    }
}

/// Reads what is there, then, with `progress`, what comes.
async fn produce(path: PathBuf, mut emit: Emit, progress: Option<watch::Receiver<Progress>>) {
    let mut generation = progress.as_ref().map_or(0, |p| p.borrow().generation);
    let mut current = match File::open(&path) {
        Ok(file) => BufReader::new(file),
        Err(error) => return drop(emit.tx.send(Err(error)).await),
    };
    let mut files: VecDeque<BufReader<File>> =
        rotated(&path).iter().filter_map(|p| File::open(p).ok()).map(BufReader::new).collect();
    let tail = emit.query.tail_lines.map(|n| n.min(MAX_TAIL));
    let mut last: VecDeque<Vec<u8>> = VecDeque::new();
    loop {
        let mut old = files.pop_front();
        let reader = old.as_mut().unwrap_or(&mut current);
        while let Some(line) = next_line(reader) {
            let Some(text) = emit.format(&line) else { continue };
            match tail {
                None => {
                    if !emit.push(&text).await {
                        return;
                    }
                }
                Some(limit) => {
                    last.push_back(text);
                    if last.len() > limit {
                        last.pop_front();
                    }
                }
            }
        }
        if old.is_none() {
            break;
        }
    }
    for text in last {
        if !emit.push(&text).await {
            return;
        }
    }
    if !emit.flush().await {
        return;
    }
    let Some(mut progress) = progress else { return };
    loop {
        let now = *progress.borrow_and_update();
        while let Some(line) = next_line(&mut current) {
            if let Some(text) = emit.format(&line)
                && !emit.push(&text).await
            {
                return;
            }
        }
        if !emit.flush().await {
            return;
        }
        if now.generation != generation {
            // The old file was read to its end above; it gets no more lines.
            generation = now.generation;
            match File::open(&path) {
                Ok(file) => current = BufReader::new(file),
                Err(_) => return,
            }
            continue;
        }
        if now.closed {
            return;
        }
        tokio::select! {
            changed = progress.changed() => if changed.is_err() && progress.borrow().closed == now.closed { return },
            () = emit.tx.closed() => return,
        }
    }
}

/// The next whole line without its end. A line that is not finished yet is left for later.
fn next_line(reader: &mut BufReader<File>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let read = reader.by_ref().take(MAX_STORED_LINE).read_until(b'\n', &mut line).ok()?;
    if read == 0 {
        return None;
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Some(line);
    }
    if (read as u64) < MAX_STORED_LINE {
        let _ = reader.seek_relative(-i64::try_from(read).ok()?);
        return None;
    }
    Some(line)
}
