//! The clock and the random numbers that load balancing is given.

use std::sync::LazyLock;
use std::time::Instant;

use portolan_balance::{Environment, Moment};

use crate::io::timer;

static START: LazyLock<Instant> = LazyLock::new(timer::now);

/// The process's monotonic clock and this thread's random numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here;

/// Now, since the first time that anybody asked.
pub(crate) fn now() -> Moment {
    let start = *START;
    Moment::at(timer::now().saturating_duration_since(start))
}

impl Environment for Here {
    fn now(&mut self) -> Moment {
        now()
    }

    fn random(&mut self) -> u64 {
        fastrand::u64(..)
    }
}
