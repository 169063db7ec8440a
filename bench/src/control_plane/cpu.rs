//! CPU time of a process, finer than the hundredths of a second of /proc/PID/stat: a change costs a proxy's share of it
//! less than that.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::error::BenchError;

/// CPU time of each thread so far, in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Threads(BTreeMap<u32, u64>);

impl Threads {
    /// Reads them: the first field of /proc/PID/task/TID/schedstat, which is what /proc/PID/stat rounds.
    pub(crate) fn of(pid: u32) -> Result<Self, BenchError> {
        let folder = PathBuf::from(format!("/proc/{pid}/task"));
        let failed = |source| BenchError::File { path: folder.clone(), source };
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A thread may end while they are read; what it has used is gone with it.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            if let Some(nanoseconds) = on_cpu(&text) {
                threads.insert(id, nanoseconds);
            }
        }
        if threads.is_empty() { Err(BenchError::NoCpuTime(pid)) } else { Ok(Threads(threads)) }
    }

    /// Milliseconds that were used between two looks. A thread that ended between them counts with nothing: those that
    /// end are the runtime's idle ones, which have done nothing for a while.
    pub(crate) fn milliseconds_until(&self, later: &Self) -> f64 {
        let used = later.0.iter().map(|(id, after)| after.saturating_sub(*self.0.get(id).unwrap_or(&0)));
        used.sum::<u64>() as f64 / 1e6
    }
}

fn on_cpu(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_start_count_and_those_that_end_take_nothing_away() {
        let before = Threads([(1, 5_000_000), (2, 900_000_000)].into());
        let after = Threads([(1, 7_000_000), (3, 1_000_000)].into());
        assert!((before.milliseconds_until(&after) - 3.0).abs() < 1e-9);
    }

    #[test]
    fn figures_of_the_kernel() {
        assert_eq!(on_cpu("123 45 6\n"), Some(123));
        assert_eq!(on_cpu(""), None);
        assert!(!Threads::of(std::process::id()).unwrap().0.is_empty());
    }
}
