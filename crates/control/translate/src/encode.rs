//! Resources as bytes. Equal messages have equal bytes, their maps being sorted ones; so equal resources have equal versions.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use bytes::Bytes;
use portolan_xds::{Resource, Version};
use prost::Message;

/// Resources in use. Whoever makes an equal one gets the same, so that its bytes exist once however many views have it.
/// Nothing but memory depends on it.
static IN_USE: LazyLock<Mutex<InUse>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct InUse {
    /// Weak: what nobody has any more goes away by itself.
    resources: HashMap<(&'static str, Arc<str>, Version), Weak<Resource>>,
    /// How many there were when dead ones were last swept out.
    swept: usize,
}

/// Entries up to which dead ones are left in peace.
const FEW: usize = 4096;

impl InUse {
    /// Forgets dead ones when there are twice as many entries as after the last time.
    fn sweep(&mut self) {
        if self.resources.len() >= FEW.max(2 * self.swept) {
            self.resources.retain(|_, resource| resource.strong_count() > 0);
            self.swept = self.resources.len();
        }
    }
}

/// Encodes a resource.
pub(crate) fn resource<T: Message>(name: &str, url: &'static str, message: &T) -> Arc<Resource> {
    let made = Arc::new(Resource::new(name, url, Bytes::from(message.encode_to_vec())));
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (url, made.name.clone(), made.version);
    if let Some(same) = in_use.resources.get(&key).and_then(Weak::upgrade) {
        return same;
    }
    in_use.sweep();
    in_use.resources.insert(key, Arc::downgrade(&made));
    made
}

#[cfg(test)]
mod tests {
    use portolan_xds::type_url;

    use super::*;
    use crate::pb::*;

    #[test]
    fn equal_resources_are_one() {
        let cluster = |name: &str| cluster::Cluster { name: name.to_owned(), ..Default::default() };
        let first = resource("one", type_url::CLUSTER, &cluster("one"));
        assert!(Arc::ptr_eq(&first, &resource("one", type_url::CLUSTER, &cluster("one"))));
        assert!(!Arc::ptr_eq(&first, &resource("one", type_url::CLUSTER, &cluster("other"))));
        let version = first.version;
        drop(first);
        assert_eq!(resource("one", type_url::CLUSTER, &cluster("one")).version, version);
    }

    #[test]
    fn dead_ones_are_forgotten_when_there_are_many() {
        let alive = Arc::new(Resource::new("alive", type_url::CLUSTER, Bytes::new()));
        for (entries, swept, left) in [
            (FEW - 1, 0, FEW - 1),
            (FEW, 0, 2),
            (FEW + 1, FEW, FEW + 1),
            (2 * FEW - 1, FEW, 2 * FEW - 1),
            (2 * FEW, FEW, 2),
        ] {
            let key = |n: usize| (type_url::CLUSTER, n.to_string().into(), alive.version);
            let weak = |n: usize| if n < 2 { Arc::downgrade(&alive) } else { Weak::new() };
            let resources = (0..entries).map(|n| (key(n), weak(n))).collect();
            let mut in_use = InUse { resources, swept };
            in_use.sweep();
            assert_eq!(in_use.resources.len(), left, "{entries} {swept}");
            assert_eq!(in_use.swept, if left == 2 { 2 } else { swept }, "{entries} {swept}");
        }
    }

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
