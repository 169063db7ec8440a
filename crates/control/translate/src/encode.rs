//! Resources as bytes. Equal messages have equal bytes, their maps being sorted ones; so equal resources have equal versions.

use std::sync::Arc;

use bytes::Bytes;
use portolan_xds::Resource;
use prost::Message;

/// Encodes a resource.
pub(crate) fn resource<T: Message>(name: &str, url: &'static str, message: &T) -> Arc<Resource> {
    Arc::new(Resource::new(name, url, Bytes::from(message.encode_to_vec())))
}

#[cfg(test)]
mod tests {
    use portolan_xds::type_url;

    use super::*;
    use crate::pb::*;

    /// Maps with many entries come out the same every time, and decode to the same message.
    #[test]
    fn maps_are_sorted() {
        let metadata = || {
            let fields = (0..20).map(|i| (format!("k{i}"), text(format!("v{i}")))).collect();
            let inner = Struct { fields };
            let outer = (0..20).map(|i| (format!("f{i}"), inner.clone())).collect();
            core::Metadata { filter_metadata: outer, ..Default::default() }
        };
        let cluster = || cluster::Cluster {
            name: "x".to_owned(),
            metadata: Some(metadata()),
            lb_policy: 3,
            connect_timeout: zero(),
            ..Default::default()
        };
        let first = resource("x", type_url::CLUSTER, &cluster());
        for _ in 0..10 {
            let again = resource("x", type_url::CLUSTER, &cluster());
            assert_eq!(again.version, first.version);
        }
        assert_eq!(cluster::Cluster::decode(first.body.clone()).unwrap(), cluster());
    }
}
