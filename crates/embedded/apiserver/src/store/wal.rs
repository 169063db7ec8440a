//! Damage of the write-ahead log. SQLite takes a log up to the first frame whose checksum is wrong, and cannot tell a
//! frame that was being written when the power went from one that has rotted since. We can: a commit is synced before
//! the next begins, so that of what is being written at most one commit is ever seen.
//!
//! Source: SQLite's documentation, "WAL-mode File Format".

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// The first word of a log, but for its lowest bit, which says whether checksums are big-endian.
const MAGIC: u32 = 0x377f_0682;
/// The largest page of SQLite.
const MAX_PAGE: usize = 65_536;

/// Looks at the log of the database at `path`: how many commits stand behind damage, `None` if nothing is lost that was
/// ever acknowledged.
pub(super) fn check(path: &Path) -> io::Result<Option<usize>> {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    match File::open(PathBuf::from(name)) {
        Ok(file) => lost(BufReader::new(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn lost(mut log: impl Read) -> io::Result<Option<usize>> {
    let mut header = [0; HEADER];
    if !fill(&mut log, &mut header)? {
        return Ok(None);
    }
    let magic = word(&header, 0);
    let page = word(&header, 8) as usize;
    if magic & !1 != MAGIC || !page.is_power_of_two() || !(512..=MAX_PAGE).contains(&page) {
        return Ok(None);
    }
    let big = magic & 1 == 1;
    let mut sum = checksum((0, 0), header.get(..24).unwrap_or_default(), big);
    let mut sound = sum == (word(&header, 24), word(&header, 28));
    let mut frame = vec![0; FRAME_HEADER + page];
    // Commits of this log that are behind the first bad frame.
    let mut behind = 0;
    while fill(&mut log, &mut frame)? {
        if header.get(16..24) != frame.get(8..16) {
            // Left from before the log was last begun anew; or its salt has rotted, and more of this log may follow.
            sound = false;
            continue;
        }
        let (head, body) = frame.split_at(FRAME_HEADER);
        sum = checksum(checksum(sum, head.get(..8).unwrap_or_default(), big), body, big);
        sound = sound && sum == (word(&frame, 16), word(&frame, 20));
        if !sound && word(&frame, 4) != 0 {
            behind += 1;
        }
    }
    // The last one may have been on its way to the disk.
    Ok((behind > 1).then_some(behind))
}

/// Fills the buffer; `false` at the end of the file.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(bytes.get(at..at + 4).unwrap_or(&[0; 4]));
    u32::from_be_bytes(word)
}

/// The running checksum of the format, over pairs of words.
fn checksum(sum: (u32, u32), bytes: &[u8], big: bool) -> (u32, u32) {
    let read = |bytes: &[u8]| if big { word(bytes, 0) } else { word(bytes, 0).swap_bytes() };
    bytes.chunks_exact(8).fold(sum, |(first, second), pair| {
        let (left, right) = pair.split_at(4);
        let first = first.wrapping_add(read(left)).wrapping_add(second);
        (first, second.wrapping_add(read(right)).wrapping_add(first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log of a database after ten commits.
    fn log() -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch("CREATE TABLE t (a)").unwrap();
        for n in 0..9 {
            connection.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
        }
        assert_eq!(check(&path).unwrap(), None);
        std::fs::read(directory.path().join("x.db-wal")).unwrap()
    }

    fn frames(log: &[u8]) -> usize {
        (log.len() - HEADER) / (FRAME_HEADER + word(log, 8) as usize)
    }

    #[test]
    fn a_sound_log_has_lost_nothing() {
        assert_eq!(lost(&*log()).unwrap(), None);
        assert_eq!(lost(&b""[..]).unwrap(), None);
        assert_eq!(lost(&b"no log at all, but long enough to be one"[..]).unwrap(), None);
    }

    #[test]
    fn a_commit_that_was_cut_off_is_no_damage() {
        let whole = log();
        for cut in [1, 100, 5000] {
            assert_eq!(lost(&whole[..whole.len() - cut]).unwrap(), None, "{cut}");
        }
        let mut torn = whole;
        *torn.last_mut().unwrap() ^= 1;
        assert_eq!(lost(&*torn).unwrap(), None);
    }

    #[test]
    fn a_flipped_bit_before_other_commits_is_damage() {
        let whole = log();
        let size = (whole.len() - HEADER) / frames(&whole);
        for at in [FRAME_HEADER + 10, 9, 17] {
            let mut flipped = whole.clone();
            flipped[HEADER + size * 4 + at] ^= 4;
            let lost = lost(&*flipped).unwrap();
            assert!(lost.is_some_and(|lost| lost >= 2), "byte {at} of a frame: {lost:?}");
        }
        let mut flipped = whole;
        flipped[20] ^= 1;
        // With another salt in its head all frames look like those of an older log.
        assert_eq!(lost(&*flipped).unwrap(), None);
    }
}
