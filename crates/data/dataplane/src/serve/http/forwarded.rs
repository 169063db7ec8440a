//! Fields about the client: x-forwarded-*, x-request-id, x-forwarded-client-cert (Envoy: "HTTP header manipulation").

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::listener::{ForwardCert, Hcm};
use crate::message::{ConnectionInfo, Request};
use crate::tracers::sampling;

const XFF: HeaderName = HeaderName::from_static("x-forwarded-for");
const XFP: HeaderName = HeaderName::from_static("x-forwarded-proto");
const XFCC: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const IS_INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Fields that only an internal client may set; cut off all other requests.
const INTERNAL: [&str; 11] = [
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
];

/// What an edge cuts off besides.
const EDGE: [&str; 6] = [
    "x-envoy-external-address",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
    "x-envoy-decorator-operation",
];

/// What came out of the fields.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    /// The trusted client address.
    pub(crate) remote: SocketAddr,
    /// Whether router headers of the request are obeyed.
    pub(crate) internal: bool,
}

/// Brings the fields in order.
pub(crate) fn apply(hcm: &Hcm, connection: &ConnectionInfo, request: &mut Request) -> Client {
    let edge = hcm.use_remote_address;
    let listed = listed(&request.headers);
    let hops = hcm.trusted_hops as usize;
    let trusted = if edge {
        // Our peer is the client, or the last of the trusted proxies in front of us.
        if hops == 0 { None } else { listed.get(listed.len().wrapping_sub(hops)).copied() }
    } else {
        listed.get(listed.len().wrapping_sub(hops + 1)).copied()
    };
    let remote = match trusted {
        Some(ip) => SocketAddr::new(ip, 0),
        None => connection.remote,
    };
    let inside = |ip: IpAddr| hcm.internal.iter().any(|range| range.contains(&ip.to_canonical()));
    let internal =
        if edge { listed.is_empty() && inside(remote.ip()) } else { listed.len() == 1 && inside(listed[0]) };
    request.headers.remove(IS_INTERNAL);
    if internal {
        request.headers.insert(IS_INTERNAL, HeaderValue::from_static("true"));
    } else if request.headers.keys().any(|name| name.as_str().starts_with("x-envoy-")) {
        // Nearly no request has one, and looking for each would cost more than this.
        let edge_only = if edge { EDGE.as_slice() } else { &[] };
        for name in INTERNAL.iter().chain(edge_only) {
            request.headers.remove(*name);
        }
    }
    if edge {
        if !hcm.skip_xff_append {
            let own = connection.remote.ip().to_string();
            let text = match request.headers.get(XFF).and_then(|value| value.to_str().ok()) {
                Some(old) if !old.is_empty() => format!("{old},{own}"),
                _ => own,
            };
            request.set(XFF, &text);
        }
        if !internal {
            request.set(HeaderName::from_static("x-envoy-external-address"), &remote.ip().to_string());
        }
    }
    // At the edge only a trusted hop before us may say which scheme the client used.
    match request.headers.get(XFP).filter(|_| !edge || hops > 0) {
        Some(claimed) => {
            request.scheme = if claimed.as_bytes().eq_ignore_ascii_case(b"https") { "https" } else { "http" };
        }
        None => {
            request.headers.insert(XFP, HeaderValue::from_static(request.scheme));
        }
    }
    if let Some(via) = &hcm.via {
        let old = request.headers.get(header::VIA).and_then(|value| value.to_str().ok());
        let text = old.map_or_else(String::new, |old| format!("{old}, "));
        request.set(header::VIA, &format!("{text}{}", via.to_str().unwrap_or_default()));
    }
    request_id(hcm, edge && !internal, &mut request.headers);
    client_certificate(hcm, connection, &mut request.headers);
    Client { remote, internal }
}

/// The addresses of all `x-forwarded-for` fields in order; a list with anything else in it is not trusted at all.
fn listed(headers: &HeaderMap) -> Vec<IpAddr> {
    let parts = headers
        .get_all(XFF)
        .iter()
        .map(|value| value.to_str().unwrap_or("?"))
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts.map(str::parse).collect::<Result<Vec<IpAddr>, _>>().unwrap_or_default()
}

fn request_id(hcm: &Hcm, from_outside: bool, headers: &mut HeaderMap) {
    let known = headers.contains_key(REQUEST_ID);
    if known && from_outside && hcm.preserve_request_id {
        // The id may stay; whether the request is traced is not for its sender to say.
        sampling::forget(headers);
        return;
    }
    if !hcm.generate_request_id || (known && !from_outside) {
        return;
    }
    if let Ok(value) = HeaderValue::from_bytes(&uuid()) {
        headers.insert(REQUEST_ID, value);
    }
}

/// A random UUID (version 4) as text.
fn uuid() -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut random = fastrand::u128(..);
    random = (random & !(0xf << 76)) | (0x4 << 76);
    random = (random & !(0x3 << 62)) | (0x2 << 62);
    let mut out = [b'-'; 36];
    let mut shift = 124;
    for (at, byte) in out.iter_mut().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            continue;
        }
        *byte = DIGITS[((random >> shift) & 0xf) as usize];
        shift = if shift == 0 { 0 } else { shift - 4 };
    }
    out
}

fn client_certificate(hcm: &Hcm, connection: &ConnectionInfo, headers: &mut HeaderMap) {
    match hcm.forward_cert {
        ForwardCert::AlwaysForwardOnly => return,
        ForwardCert::Sanitize => {
            headers.remove(XFCC);
            return;
        }
        ForwardCert::ForwardOnly => {
            // Only an authenticated proxy may speak for its client.
            if connection.peer().is_none() {
                headers.remove(XFCC);
            }
            return;
        }
        ForwardCert::SanitizeSet => {
            headers.remove(XFCC);
        }
        ForwardCert::AppendForward => {
            if connection.peer().is_none() {
                headers.remove(XFCC);
            }
        }
    }
    let Some(peer) = connection.peer() else { return };
    let facts = &peer.facts;
    let mut text = String::new();
    if let Some(by) = connection_principal(connection) {
        text.push_str(&format!("By={by};"));
    }
    text.push_str(&format!("Hash={}", peer.hash));
    if hcm.cert_subject {
        let subject = facts.subject.replace('\\', "\\\\").replace('"', "\\\"");
        text.push_str(&format!(";Subject=\"{subject}\""));
    }
    if hcm.cert_uri {
        facts.uris.iter().for_each(|uri| text.push_str(&format!(";URI={uri}")));
    }
    if hcm.cert_dns {
        facts.dns_names.iter().for_each(|dns| text.push_str(&format!(";DNS={dns}")));
    }
    let old = headers.get(XFCC).and_then(|value| value.to_str().ok()).filter(|old| !old.is_empty());
    let text = match old {
        Some(old) => format!("{old},{text}"),
        None => text,
    };
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(XFCC, value);
    }
}

fn connection_principal(connection: &ConnectionInfo) -> Option<&str> {
    connection.own_principal.as_deref().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_version_4() {
        for _ in 0..100 {
            let text = String::from_utf8(uuid().to_vec()).unwrap();
            assert_eq!(text.len(), 36);
            assert_eq!(text.as_bytes()[14], b'4', "{text}");
            assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
        }
        assert_ne!(uuid(), uuid());
    }
}
