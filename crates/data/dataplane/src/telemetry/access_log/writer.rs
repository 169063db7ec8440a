//! The way of lines from the workers to the disk.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Destination;

/// Chunks that wait for the writer at most; a worker never waits for a slow disk, it drops.
const MAX_QUEUED_CHUNKS: usize = 256;
/// A worker's buffer of one destination is handed over at this size at the latest.
const FLUSH_BYTES: usize = 64 * 1024;
/// How long the end of the data plane waits for the disk.
const FINISH_LIMIT: Duration = Duration::from_secs(5);

/// Pause between looks at whether the thread has ended.
const FINISH_PAUSE: Duration = Duration::from_millis(10);

enum Job {
    Write(Destination, Vec<u8>),
    End,
}

/// The one thread that writes the access logs of a data plane.
#[derive(Debug)]
pub(crate) struct LogWriter {
    jobs: SyncSender<Job>,
    thread: JoinHandle<()>,
}

/// The buffers of one worker.
#[derive(Debug)]
pub(crate) struct LogBuffers {
    waiting: RefCell<HashMap<Destination, Vec<u8>>>,
    jobs: SyncSender<Job>,
}

impl LogWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system refuses it.
    pub(crate) fn start() -> io::Result<LogWriter> {
        let (jobs, work) = sync_channel(MAX_QUEUED_CHUNKS);
        let thread = std::thread::Builder::new().name("ptl-access-log".into());
        Ok(LogWriter { jobs, thread: thread.spawn(move || write_all(&work))? })
    }

    /// Buffers for one worker.
    pub(crate) fn buffers(&self) -> LogBuffers {
        LogBuffers { waiting: RefCell::default(), jobs: self.jobs.clone() }
    }

    /// Waits until everything that was handed over is written, or the disk takes too long.
    pub(crate) fn finish(self) {
        // Neither sending nor joining has a limit of its own: a disk that hangs would hold up the end for ever.
        let deadline = Instant::now() + FINISH_LIMIT;
        let mut told = false;
        while !self.thread.is_finished() && Instant::now() < deadline {
            told = told || self.jobs.try_send(Job::End).is_ok();
            #[expect(clippy::disallowed_methods, reason = "the last words of a process that ends")]
            std::thread::sleep(FINISH_PAUSE);
        }
        if !self.thread.is_finished() {
            tracing::warn!("access log is written too slowly; its end is lost");
        }
    }
}

impl LogBuffers {
    pub(super) fn with(&self, destination: &Destination, write: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = self.waiting.borrow_mut();
        let buffer = match waiting.get_mut(destination) {
            Some(buffer) => buffer,
            None => waiting.entry(destination.clone()).or_default(),
        };
        write(buffer);
        if buffer.len() >= FLUSH_BYTES {
            self.hand_over(destination, buffer);
        }
    }

    /// Hands everything over to the writer. Called by the worker's ticker and at its end.
    pub(crate) fn flush(&self) {
        for (destination, buffer) in self.waiting.borrow_mut().iter_mut() {
            if !buffer.is_empty() {
                self.hand_over(destination, buffer);
            }
        }
    }

    fn hand_over(&self, destination: &Destination, buffer: &mut Vec<u8>) {
        let job = Job::Write(destination.clone(), std::mem::take(buffer));
        if let Err(TrySendError::Full(_)) = self.jobs.try_send(job) {
            tracing::warn!("access log is written too slowly; dropped a part of it");
        }
    }
}

fn write_all(work: &Receiver<Job>) {
    let mut files: HashMap<Arc<str>, File> = HashMap::new();
    while let Ok(Job::Write(destination, chunk)) = work.recv() {
        let result = match &destination {
            Destination::Stdout => io::stdout().write_all(&chunk).and_then(|()| io::stdout().flush()),
            Destination::Stderr => io::stderr().write_all(&chunk),
            Destination::File(path) => {
                let opened = match files.remove(path) {
                    Some(file) => Ok(file),
                    None => OpenOptions::new().create(true).append(true).open(&**path),
                };
                opened.and_then(|mut file| {
                    file.write_all(&chunk)?;
                    files.insert(path.clone(), file);
                    Ok(())
                })
            }
        };
        if let Err(error) = result {
            tracing::warn!(%error, ?destination, "cannot write the access log");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_waits_for_what_was_handed_over() {
        const CHUNKS: usize = 200;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let destination = Destination::File(path.to_str().unwrap().into());
        let writer = LogWriter::start().unwrap();
        let buffers = writer.buffers();
        for _ in 0..CHUNKS {
            buffers.with(&destination, |out| out.resize(FLUSH_BYTES, b'x'));
        }
        buffers.with(&destination, |out| out.extend_from_slice(b"the tail"));
        buffers.flush();
        writer.finish();
        let written = std::fs::read(path).unwrap();
        assert_eq!(written.len(), CHUNKS * FLUSH_BYTES + b"the tail".len());
        assert!(written.ends_with(b"the tail"));
    }

    #[test]
    fn a_worker_drops_rather_than_waits() {
        let (jobs, work) = sync_channel(1);
        let buffers = LogBuffers { waiting: RefCell::default(), jobs };
        for text in ["first", "second"] {
            buffers.with(&Destination::Stdout, |out| out.extend_from_slice(text.as_bytes()));
            buffers.flush();
        }
        let Ok(Job::Write(_, chunk)) = work.try_recv() else { panic!("nothing was handed over") };
        assert_eq!(chunk, b"first");
        assert!(work.try_recv().is_err());
    }
}
