//! Name resolution for STRICT_DNS and LOGICAL_DNS clusters, by the system's resolver.

use std::net::IpAddr;
use std::time::Duration;

/// Longest wait for an answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of one name that are used at most.
const MAX_ADDRESSES: usize = 256;

/// Resolves a name; empty when that fails. `v6` limits the address family.
pub(crate) async fn lookup(name: String, v6: Option<bool>) -> (String, Vec<IpAddr>) {
    let looking = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((name.clone(), 0)));
    let mut addresses: Vec<IpAddr> = match looking.await {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(error)) => {
            tracing::debug!(name, %error, "cannot resolve");
            Vec::new()
        }
        Err(_) => Vec::new(),
    };
    match v6 {
        Some(v6) => addresses.retain(|ip| ip.is_ipv6() == v6),
        // Envoy's AUTO: IPv6 if there is any, which breaks on machines without IPv6 routes; prefer IPv4 instead.
        None if addresses.iter().any(IpAddr::is_ipv4) => addresses.retain(IpAddr::is_ipv4),
        None => {}
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(MAX_ADDRESSES);
    (name, addresses)
}
