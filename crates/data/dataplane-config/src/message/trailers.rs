//! Whether trailers pass.

use crate::pb::core;

/// Whether trailers of HTTP/1 pass (`enable_trailers`). They are read in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trailers {
    Pass,
    Drop,
}

impl Trailers {
    pub fn of(options: Option<&core::Http1ProtocolOptions>) -> Self {
        if options.is_some_and(|options| options.enable_trailers) { Trailers::Pass } else { Trailers::Drop }
    }
}
