//! Domains of virtual hosts (docs/reference/xds.md). A domain may stand in one virtual host only: a proxy rejects the whole
//! configuration otherwise.

use std::collections::HashSet;

use portolan_mesh::Service;

/// Domains that are taken already.
#[derive(Default)]
pub(super) struct Taken(HashSet<String>);

impl Taken {
    /// The domains of `wanted` that are still free, in order; they are taken now.
    pub(super) fn claim(&mut self, wanted: Vec<String>) -> Vec<String> {
        wanted.into_iter().filter(|d| self.0.insert(d.to_ascii_lowercase())).collect()
    }

    /// Who has which domains when each wants some: an earlier one keeps a domain. Who has none left is left out.
    pub(super) fn settle<O>(wanted: impl Iterator<Item = (O, Vec<String>)>) -> Vec<(O, Vec<String>)> {
        let mut taken = Self::default();
        wanted
            .map(|(owner, domains)| (owner, taken.claim(domains)))
            .filter(|(_, domains)| !domains.is_empty())
            .collect()
    }
}

/// `host` and `host:port`.
pub(super) fn with_port(host: &str, port: u16) -> Vec<String> {
    if host == "*" { vec!["*".to_owned()] } else { vec![host.to_owned(), format!("{host}:{port}")] }
}

/// All names that a client with this DNS domain may use for a service: the full name, every shorter one that its DNS search
/// path completes, and the addresses.
pub(super) fn of_service(service: &Service, port: u16, dns_domain: &str) -> Vec<String> {
    let mut out = Vec::new();
    for name in std::iter::once(service.host.clone()).chain(shorter_names(&service.host, dns_domain)) {
        out.extend(with_port(&name, port));
        if service.headless {
            out.extend(with_port(&format!("*.{name}"), port));
        }
    }
    for address in service.virtual_addresses().iter().filter(|a| !a.contains('/')) {
        let bracketed = if address.contains(':') { format!("[{address}]") } else { address.clone() };
        out.extend(with_port(&bracketed, port));
    }
    out
}

/// Shorter forms of `host` for a client whose DNS domain is `ns.svc.cluster.local`: `reviews`, `reviews.ns`,
/// `reviews.ns.svc` in its own namespace, the last two in others.
fn shorter_names(host: &str, dns_domain: &str) -> Vec<String> {
    let Some((client_ns, svc_domain)) = dns_domain.split_once('.') else { return Vec::new() };
    let Some((name, ns)) = name_in(host, svc_domain) else { return Vec::new() };
    let svc = svc_domain.split('.').next().unwrap_or_default();
    let mut out = vec![format!("{name}.{ns}"), format!("{name}.{ns}.{svc}")];
    if ns == client_ns {
        out.insert(0, name.to_owned());
    }
    out
}

/// Name and namespace that a host is made of in the domain of services (`svc.cluster.local`): they stand before it.
fn name_in<'a>(host: &'a str, svc_domain: &str) -> Option<(&'a str, &'a str)> {
    let name_and_ns = host.strip_suffix(svc_domain)?.strip_suffix('.')?;
    name_and_ns.split_once('.').filter(|(_, ns)| !ns.contains('.'))
}

/// The namespace whose clients have one more name for a host, the shortest, when they look for names in `dns_domain`.
pub(super) fn namespace_of<'a>(host: &'a str, dns_domain: &str) -> Option<&'a str> {
    let (_, svc_domain) = dns_domain.split_once('.')?;
    name_in(host, svc_domain).map(|(_, ns)| ns)
}

/// Whether a domain could be such a shortest name, or one below it.
pub(super) fn is_shortest(domain: &str) -> bool {
    !domain.strip_prefix("*.").unwrap_or(domain).contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_forms() {
        let domain = "shop.svc.cluster.local";
        assert_eq!(shorter_names("a.shop.svc.cluster.local", domain), ["a", "a.shop", "a.shop.svc"]);
        assert_eq!(shorter_names("a.other.svc.cluster.local", domain), ["a.other", "a.other.svc"]);
        assert!(shorter_names("a.shop.svc.east-imports.local", domain).is_empty());
        assert!(shorter_names("example.com", domain).is_empty());
    }

    #[test]
    fn a_domain_is_claimed_once() {
        let mut taken = Taken::default();
        assert_eq!(taken.claim(vec!["a".into(), "b".into(), "a".into()]), ["a", "b"]);
        assert_eq!(taken.claim(vec!["B".into(), "c".into()]), ["c"]);
    }

    #[test]
    fn an_earlier_owner_keeps_a_domain_and_who_has_none_is_left_out() {
        let owned = |list: &[&str]| list.iter().map(|d| (*d).to_owned()).collect::<Vec<String>>();
        let wanted = [("old", owned(&["a", "b"])), ("young", owned(&["A", "c"])), ("late", owned(&["b"]))];
        let settled = Taken::settle(wanted.into_iter());
        let expected = [("old", owned(&["a", "b"])), ("young", owned(&["c"]))];
        assert_eq!(settled, expected);
    }
}
