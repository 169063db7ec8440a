//! From a container's pipes into its log file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::{Logs, MAX_LOG_BYTES, MAX_LOG_FILES, Progress, rotated};

/// A line longer than this is written in parts (the CRI's limit).
const MAX_LINE: usize = 16 << 10;
/// Read buffer per stream.
const BUFFER: usize = 32 << 10;

/// Which pipe a line came from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

struct Target {
    file: File,
    path: PathBuf,
    progress: watch::Sender<Progress>,
    logs: Logs,
}

/// Writes one container attempt's log; shared by its two streams, closed with the last clone.
#[derive(Clone)]
pub(crate) struct LogWriter(Arc<Mutex<Target>>);

impl Logs {
    /// Begins the log of an attempt.
    pub(crate) fn open(
        &self,
        namespace: &str,
        pod: &str,
        uid: &str,
        container: &str,
        attempt: i32,
    ) -> io::Result<LogWriter> {
        let dir = self.pod_dir(namespace, pod, uid).join(container);
        std::fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{attempt}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let progress = Progress { generation: 0, length: file.metadata()?.len(), closed: false };
        let (progress, receiver) = watch::channel(progress);
        self.active.lock().insert(path.clone(), receiver);
        Ok(LogWriter(Arc::new(Mutex::new(Target { file, path, progress, logs: self.clone() }))))
    }
}

impl LogWriter {
    /// Copies a stream until its end.
    pub(crate) async fn copy(self, stream: Stream, mut from: pipe::Receiver) {
        let mut buffer = vec![0; BUFFER];
        let mut line: Vec<u8> = Vec::new();
        loop {
            let read = match from.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(n) => n,
            };
            let mut out = Vec::with_capacity(read + 128);
            for &byte in &buffer[..read] {
                if byte == b'\n' {
                    record(&mut out, stream, "F", &line);
                    line.clear();
                } else {
                    line.push(byte);
                    if line.len() >= MAX_LINE {
                        record(&mut out, stream, "P", &line);
                        line.clear();
                    }
                }
            }
            self.append(out).await;
        }
        if !line.is_empty() {
            let mut out = Vec::new();
            record(&mut out, stream, "F", &line);
            self.append(out).await;
        }
    }

    async fn append(&self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let target = self.0.clone();
        // The disk may take its time. A failure is a runtime that is shutting down.
        let _ = tokio::task::spawn_blocking(move || {
            let mut target = target.lock();
            if let Err(error) = target.append(&bytes) {
                // The container goes on: its log is worth less than its work.
                tracing::warn!(path = %target.path.display(), %error, "container log not written");
            }
        })
        .await;
    }
}

impl Target {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut progress = *self.progress.borrow();
        if progress.length >= MAX_LOG_BYTES {
            self.rotate()?;
            progress.generation += 1;
            progress.length = 0;
        }
        self.file.write_all(bytes)?;
        progress.length += bytes.len() as u64;
        self.progress.send_replace(progress);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let stamp = Timestamp::now().as_microsecond();
        let mut old = self.path.clone().into_os_string();
        old.push(format!(".{stamp}"));
        std::fs::rename(&self.path, PathBuf::from(old))?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let files = rotated(&self.path);
        let surplus = (files.len() + 1).saturating_sub(MAX_LOG_FILES);
        for file in files.iter().take(surplus) {
            std::fs::remove_file(file)?;
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.progress.send_modify(|p| p.closed = true);
        self.logs.active.lock().remove(&self.path);
    }
}

fn record(out: &mut Vec<u8>, stream: Stream, tag: &str, text: &[u8]) {
    let _ = write!(out, "{:.9} {} {tag} ", Timestamp::now(), stream.name());
    out.extend_from_slice(text);
    out.push(b'\n');
}
