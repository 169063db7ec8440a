//! Whether trailers pass.

use crate::pb::core;

/// Whether trailers of HTTP/1 pass (`enable_trailers`). They are read in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trailers {
    /// They pass.
    Pass,
    /// They are dropped.
    Drop,
}

impl Trailers {
    /// What the options say; dropped by default.
    pub fn of(options: Option<&core::Http1ProtocolOptions>) -> Self {
        if options.is_some_and(|options| options.enable_trailers) { Trailers::Pass } else { Trailers::Drop }
    }
}
