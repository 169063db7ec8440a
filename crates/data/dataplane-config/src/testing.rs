//! What tests need of the world.

use portolan_balance::{Environment, Moment};

/// The beginning of all time, and no chance.
pub(crate) struct Beginning;

impl Environment for Beginning {
    fn now(&mut self) -> Moment {
        Moment::ZERO
    }

    fn random(&mut self) -> u64 {
        0
    }
}
