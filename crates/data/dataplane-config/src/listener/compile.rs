//! What the parts of a listener need besides their messages to be compiled.

use crate::value::{Direction, Loader};

/// What compilation needs besides the message.
#[derive(Debug, Clone, Copy)]
pub struct Compile {
    /// Of the listener.
    pub direction: Direction,
    /// Reads what lies outside of messages.
    pub load: Loader,
}
