//! Finds the end of a head incrementally, so that a head that arrives byte by byte costs linear time.

use crate::error::Reject;

/// Looks for the empty line that ends a head, and refuses bad line ends on the way.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeadScanner {
    /// Bytes already looked at.
    scanned: usize,
    /// Where the current line starts.
    line_start: usize,
}

impl HeadScanner {
    /// Length of the head including its empty line, or `None` when more input is needed. `buf` must be the
    /// same buffer as in the last call, with bytes appended. Nothing behind `limit` is looked at, so that the
    /// reason for a refusal is the same however much has arrived.
    pub(crate) fn find_end(&mut self, buf: &[u8], limit: usize) -> Result<Option<usize>, Reject> {
        let end = self.find_empty_line(buf.get(..limit).unwrap_or(buf))?;
        if end.is_none() && buf.len() > limit { Err(Reject::HeadTooLarge) } else { Ok(end) }
    }

    fn find_empty_line(&mut self, buf: &[u8]) -> Result<Option<usize>, Reject> {
        while let Some(offset) = buf.get(self.scanned..).and_then(|rest| memchr::memchr2(b'\r', b'\n', rest))
        {
            let at = self.scanned + offset;
            if buf.get(at) == Some(&b'\n') {
                return Err(Reject::BareLf);
            }
            match buf.get(at + 1) {
                None => {
                    self.scanned = at;
                    return Ok(None);
                }
                Some(b'\n') => {
                    let empty = at == self.line_start;
                    self.scanned = at + 2;
                    self.line_start = at + 2;
                    if empty {
                        return Ok(Some(at + 2));
                    }
                }
                Some(_) => return Err(Reject::BareCr),
            }
        }
        self.scanned = buf.len();
        Ok(None)
    }

    /// Bytes of complete lines seen so far.
    pub(crate) fn first_line_complete(&self) -> bool {
        self.line_start > 0
    }

    /// Starts over, for the next message.
    pub(crate) fn reset(&mut self) {
        *self = HeadScanner::default();
    }
}
