//! HTTP/1 messages as a peer that knows nothing of the proxy's code reads them.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Longest wait for anything that a case waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);
/// Bodies beyond this are shown by their length.
const SHOWN: usize = 300;

/// What was read of a message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    /// The connection ended in the middle.
    pub(crate) cut: bool,
    /// The body ran until the connection ended.
    pub(crate) until_close: bool,
}

impl Message {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        self.field(name).is_some_and(|value| value.to_ascii_lowercase().contains(token))
    }

    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The body as one line of a transcript.
    pub(crate) fn shown_body(&self) -> Option<String> {
        if self.body.is_empty() {
            return None;
        }
        if self.body.len() > SHOWN {
            let sum =
                self.body.iter().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
            return Some(format!("({} bytes, sum {sum:08x})", self.body.len()));
        }
        Some(format!("{:?}", String::from_utf8_lossy(&self.body)))
    }
}

/// Why there is no (more) message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Closed,
    TimedOut,
}

/// A connection that is read message by message; keeps every byte for waits.
pub(crate) struct Reader {
    stream: Option<TcpStream>,
    pub(crate) raw: Vec<u8>,
    at: usize,
    pub(crate) eof: bool,
}

impl Reader {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Reader { stream: Some(stream), raw: Vec::new(), at: 0, eof: false }
    }

    /// Reads what there is.
    fn fill(&mut self, deadline: Instant) -> Result<(), Stop> {
        let mut piece = [0; 65536];
        loop {
            if self.eof {
                return Err(Stop::Closed);
            }
            let Some(stream) = &mut self.stream else { return Err(Stop::Closed) };
            match stream.read(&mut piece) {
                Ok(0) => self.eof = true,
                Ok(count) => {
                    self.raw.extend_from_slice(&piece[..count]);
                    return Ok(());
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(_) => self.eof = true,
            }
            if !self.eof && Instant::now() >= deadline {
                return Err(Stop::TimedOut);
            }
        }
    }

    pub(crate) fn wait_for(&mut self, text: &[u8]) -> Result<(), Stop> {
        let deadline = Instant::now() + PATIENCE;
        while !self.raw.windows(text.len()).any(|window| window == text) {
            self.fill(deadline)?;
        }
        Ok(())
    }

    pub(crate) fn wait_for_end(&mut self) -> Result<(), Stop> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.fill(deadline) {
                Ok(()) => {}
                Err(Stop::Closed) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
    }

    /// Whether something came in; waits a moment for it.
    pub(crate) fn peek(&mut self) -> bool {
        !self.raw.is_empty() || self.fill(Instant::now()).is_ok()
    }

    /// Gives up its handle of the connection.
    pub(crate) fn leave(&mut self) {
        self.stream = None;
    }

    /// Bytes that no message took.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.raw[self.at..]
    }

    fn line(&mut self, deadline: Instant) -> Result<String, Stop> {
        loop {
            if let Some(end) = self.rest().windows(2).position(|window| window == b"\r\n") {
                let line = String::from_utf8_lossy(&self.rest()[..end]).into_owned();
                self.at += end + 2;
                return Ok(line);
            }
            self.fill(deadline)?;
        }
    }

    fn take(&mut self, count: usize, into: &mut Vec<u8>, deadline: Instant) -> Result<(), Stop> {
        let mut left = count;
        while left > 0 {
            let some = self.rest().len().min(left);
            into.extend_from_slice(&self.raw[self.at..self.at + some]);
            self.at += some;
            left -= some;
            if left > 0 {
                self.fill(deadline)?;
            }
        }
        Ok(())
    }

    /// A head: start line and fields.
    pub(crate) fn head(&mut self) -> Result<Message, Stop> {
        self.head_until(Instant::now() + PATIENCE)
    }

    pub(crate) fn head_until(&mut self, deadline: Instant) -> Result<Message, Stop> {
        let mut message = Message { start: self.line(deadline)?, ..Message::default() };
        message.fields = self.fields(deadline)?;
        Ok(message)
    }

    fn fields(&mut self, deadline: Instant) -> Result<Vec<(String, String)>, Stop> {
        let mut fields = Vec::new();
        loop {
            let line = self.line(deadline)?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, "(no colon)"));
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// The body that belongs to a head. `bodiless`: an answer to HEAD and the like.
    pub(crate) fn body(&mut self, message: &mut Message, response: bool, bodiless: bool) -> Result<(), Stop> {
        let deadline = Instant::now() + PATIENCE;
        if bodiless {
            return Ok(());
        }
        let result = if message.has_token("transfer-encoding", "chunked") {
            self.chunks(message, deadline)
        } else if let Some(length) = message.field("content-length").and_then(|text| text.parse().ok()) {
            let mut body = Vec::new();
            let result = self.take(length, &mut body, deadline);
            message.body = body;
            result
        } else if response {
            message.until_close = true;
            let result = self.wait_for_end();
            message.body = self.rest().to_vec();
            self.at = self.raw.len();
            result
        } else {
            Ok(())
        };
        match result {
            Err(Stop::Closed) => {
                message.cut = true;
                Ok(())
            }
            other => other,
        }
    }

    fn chunks(&mut self, message: &mut Message, deadline: Instant) -> Result<(), Stop> {
        loop {
            let line = self.line(deadline)?;
            let size = line.split(';').next().unwrap_or("").trim();
            let size = usize::from_str_radix(size, 16).unwrap_or(0);
            if size == 0 {
                message.trailers = self.fields(deadline)?;
                return Ok(());
            }
            let mut body = std::mem::take(&mut message.body);
            let result = self.take(size, &mut body, deadline);
            message.body = body;
            result?;
            self.line(deadline)?;
        }
    }
}
