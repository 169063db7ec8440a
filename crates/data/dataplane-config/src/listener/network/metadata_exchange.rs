//! `istio.metadata_exchange` on connections: our own proxies exchange metadata in headers and by the metadata of
//! endpoints; the frame in front of TCP streams is not spoken.

use super::{Compiled, Kind};

pub(super) const KIND: Kind =
    Kind { types: &["istio.metadata_exchange"], compile: |_, _| Ok(Compiled::Nothing) };
