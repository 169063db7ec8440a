//! Authorities: host names with and without a port.

/// `host:port` without the port; IPv6 literals keep their brackets.
pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() => {
            if host.starts_with('[') == host.ends_with(']') { host } else { authority }
        }
        _ => authority,
    }
}
