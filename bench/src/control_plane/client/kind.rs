//! The types of resources that a proxy subscribes to.

use portolan_xds::type_url;

/// Virtual hosts as resources of their own (Envoy: VHDS).
const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";

/// A type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Cluster,
    Endpoint,
    Listener,
    Route,
    VirtualHost,
    Secret,
}

impl Kind {
    /// All of them; the place of each is its number.
    pub(crate) const ALL: [Kind; 6] =
        [Kind::Cluster, Kind::Endpoint, Kind::Listener, Kind::Route, Kind::VirtualHost, Kind::Secret];

    /// The URL in requests and responses.
    pub(crate) fn type_url(self) -> &'static str {
        match self {
            Kind::Cluster => type_url::CLUSTER,
            Kind::Endpoint => type_url::ENDPOINT,
            Kind::Listener => type_url::LISTENER,
            Kind::Route => type_url::ROUTE,
            Kind::VirtualHost => VIRTUAL_HOST,
            Kind::Secret => type_url::SECRET,
        }
    }

    /// The kind of a URL.
    pub(crate) fn of(type_url: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url().as_bytes() == type_url)
    }

    /// Whether everything of it is wanted; otherwise what other resources name.
    pub(crate) fn is_wildcard(self) -> bool {
        matches!(self, Kind::Cluster | Kind::Listener | Kind::VirtualHost)
    }

    /// The kind whose resources name those of this one.
    pub(crate) fn named_by(self) -> Option<Kind> {
        match self {
            Kind::Endpoint => Some(Kind::Cluster),
            Kind::Route | Kind::Secret => Some(Kind::Listener),
            Kind::Cluster | Kind::Listener | Kind::VirtualHost => None,
        }
    }
}

/// A few kinds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KindSet(u8);

impl KindSet {
    /// Makes a set.
    pub(crate) const fn of(kinds: &[Kind]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < kinds.len() {
            bits |= 1 << kinds[index] as u8;
            index += 1;
        }
        KindSet(bits)
    }

    pub(crate) fn insert(&mut self, kind: Kind) {
        self.0 |= 1 << kind as u8;
    }

    /// Whether they have one in common.
    pub(crate) fn meets(self, other: KindSet) -> bool {
        self.0 & other.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_their_urls() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of(kind.type_url().as_bytes()), Some(kind));
            assert_eq!(Kind::ALL[kind as usize], kind);
            assert_eq!(kind.is_wildcard(), kind.named_by().is_none());
        }
        assert_eq!(Kind::of(b"x"), None);
    }

    #[test]
    fn sets() {
        let mut seen = KindSet::default();
        let routes = KindSet::of(&[Kind::Route, Kind::VirtualHost]);
        assert!(!seen.meets(routes));
        seen.insert(Kind::VirtualHost);
        assert!(seen.meets(routes));
        assert!(!seen.meets(KindSet::of(&[Kind::Cluster])));
    }
}
