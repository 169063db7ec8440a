//! `envoy.filters.listener.tls_inspector`: reads the client's hello.

use super::hello::{self, Hello};
use super::{Inspected, Kind, ListenerFilter, Verdict};

pub(super) const KIND: Kind = Kind {
    message: "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    name: "envoy.filters.listener.tls_inspector",
    make: || Box::new(TlsInspector),
};

#[derive(Debug)]
struct TlsInspector;

impl ListenerFilter for TlsInspector {
    fn inspect(&self, bytes: &[u8], found: &mut Inspected) -> Verdict {
        if bytes.is_empty() {
            return Verdict::More;
        }
        match hello::parse(bytes) {
            Hello::Tls { sni, alpn } => {
                *found = Inspected { is_tls: true, sni, protocols: alpn };
                Verdict::Done
            }
            Hello::NotTls => {
                found.is_tls = false;
                Verdict::Done
            }
            Hello::Partial => {
                // Already known to be TLS, should the rest never come.
                found.is_tls = true;
                Verdict::More
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_is_told_from_tls_by_its_first_byte() {
        let mut found = Inspected::default();
        assert_eq!(TlsInspector.inspect(b"", &mut found), Verdict::More);
        assert_eq!(TlsInspector.inspect(b"GET", &mut found), Verdict::Done);
        assert!(!found.is_tls);
    }

    #[test]
    fn half_a_hello_is_tls_already() {
        let mut found = Inspected::default();
        assert_eq!(TlsInspector.inspect(b"\x16\x03\x01\x02\x00\x01", &mut found), Verdict::More);
        assert!(found.is_tls);
    }
}
