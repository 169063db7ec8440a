//! The clock and the random numbers that load balancing is given.

use std::sync::LazyLock;
use std::time::Instant;

use portolan_balance::{Environment, Moment};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The process's monotonic clock and this thread's random numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here;

/// Now, since the first time that anybody asked.
pub(crate) fn now() -> Moment {
    Moment::at(START.elapsed())
}

impl Environment for Here {
    fn now(&mut self) -> Moment {
        now()
    }

    fn random(&mut self) -> u64 {
        fastrand::u64(..)
    }
}
