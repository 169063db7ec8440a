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
const EDGE: [&str; 8] = [
    "x-envoy-external-address",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-stream-duration-ms",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
    "x-envoy-decorator-operation",
];

/// Fields that are one list, on however many lines it stands (as far as Envoy holds them so, and we or a policy read them).
const LISTS: [HeaderName; 7] = [
    XFF,
    XFP,
    HeaderName::from_static("x-forwarded-host"),
    XFCC,
    REQUEST_ID,
    header::VIA,
    header::USER_AGENT,
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
    join_lists(&mut request.headers);
    let edge = hcm.use_remote_address;
    let hops = hcm.trusted_hops as usize;
    let listed = request.headers.get(XFF).map(HeaderValue::as_bytes);
    // At an edge our peer is the client, or the last of the trusted proxies in front of us.
    let skip = if edge { hops.checked_sub(1) } else { Some(hops) };
    let trusted = listed.zip(skip).and_then(|(list, skip)| from_end(list, skip));
    let remote = trusted.map_or(connection.remote, |ip| SocketAddr::new(ip, 0));
    let inside = hcm.internal.iter().any(|range| range.contains(&remote.ip().to_canonical()));
    // Whoever has passed another proxy came from outside of it.
    let direct = match listed {
        None => edge,
        Some(list) => !edge && hops == 0 && trusted.is_some() && !list.contains(&b','),
    };
    let internal = direct && inside;
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
            append(&mut request.headers, XFF, ",", connection.remote.ip().to_string().as_bytes());
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
        append(&mut request.headers, header::VIA, ", ", via.as_bytes());
    }
    request_id(hcm, edge && !internal, &mut request.headers);
    client_certificate(hcm, connection, &mut request.headers);
    Client { remote, internal }
}

/// The element of a list of addresses before which, from its end, `skip` others stand. Nothing else of the list is
/// looked at: what a client writes in front says nothing about what a proxy appended. An element that is empty, or no
/// address, is one all the same.
fn from_end(list: &[u8], skip: usize) -> Option<IpAddr> {
    let element = list.rsplit(|byte| *byte == b',').nth(skip)?;
    std::str::from_utf8(element).ok()?.trim_matches([' ', '\t']).parse().ok()
}

/// Makes one line of each list that came on several.
fn join_lists(headers: &mut HeaderMap) {
    if headers.len() == headers.keys_len() {
        return;
    }
    for name in LISTS {
        let mut lines = headers.get_all(&name).iter();
        if lines.next().and(lines.next()).is_none() {
            continue;
        }
        let lines = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
        let all = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(&b',');
        set_bytes(headers, name, &all);
    }
}

/// Adds to a list of one line.
fn append(headers: &mut HeaderMap, name: HeaderName, separator: &str, element: &[u8]) {
    let text = match headers.get(&name).map(HeaderValue::as_bytes) {
        Some(old) if !old.is_empty() => [old, separator.as_bytes(), element].concat(),
        _ => element.to_vec(),
    };
    set_bytes(headers, name, &text);
}

/// Sets a field; one that cannot be written is not sent at all, least of all as the client had it.
fn set_bytes(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    match HeaderValue::from_bytes(value) {
        Ok(value) => drop(headers.insert(name, value)),
        Err(_) => drop(headers.remove(name)),
    }
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
    append(headers, XFCC, ",", text.as_bytes());
}

fn connection_principal(connection: &ConnectionInfo) -> Option<&str> {
    connection.own_principal.as_deref().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_element_that_counts_is_read() {
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (list, skip, wanted) in [
            ("6.6.6.6", 0, ip("6.6.6.6")),
            ("x, 6.6.6.6", 0, ip("6.6.6.6")),
            ("1.2.3.4:80,unknown,\u{ff}, ,\t::1 ", 0, ip("::1")),
            ("1.1.1.1,2.2.2.2", 1, ip("1.1.1.1")),
            ("1.1.1.1,2.2.2.2", 2, None),
            ("1.1.1.1,,2.2.2.2", 1, None),
            ("1.1.1.1,,2.2.2.2", 2, ip("1.1.1.1")),
            ("1.1.1.1,", 0, None),
            ("1.1.1.1,", 1, ip("1.1.1.1")),
            ("1.1.1.1,x", 0, None),
            ("", 0, None),
        ] {
            assert_eq!(from_end(list.as_bytes(), skip), wanted, "{list:?} {skip}");
        }
    }

    fn map(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()))
            .collect()
    }

    #[test]
    fn lists_on_several_lines_become_one() {
        let mut headers = HeaderMap::new();
        for value in [&b"1.1.1.1"[..], b"", b"\xff", b"2.2.2.2"] {
            headers.append(XFF, HeaderValue::from_bytes(value).unwrap());
            headers.append("x-other", HeaderValue::from_bytes(value).unwrap());
        }
        join_lists(&mut headers);
        assert_eq!(headers.get_all(XFF).iter().collect::<Vec<_>>(), [&b"1.1.1.1,\xff,2.2.2.2"[..]]);
        assert_eq!(headers.get_all("x-other").iter().count(), 4);
    }

    #[test]
    fn elements_come_behind_whatever_bytes_there_are() {
        let mut headers = map(&[("via", b"\xff"), ("x-forwarded-for", b"")]);
        append(&mut headers, header::VIA, ", ", b"edge");
        append(&mut headers, XFF, ",", b"1.1.1.1");
        append(&mut headers, XFCC, ",", b"Hash=1");
        assert_eq!(headers[header::VIA], &b"\xff, edge"[..]);
        assert_eq!(
            (&headers[XFF], &headers[XFCC]),
            (&HeaderValue::from_static("1.1.1.1"), &HeaderValue::from_static("Hash=1"))
        );
        append(&mut headers, XFCC, ",", b"Subject=\"\n\"");
        assert!(
            !headers.contains_key(XFCC),
            "what the client said must not stand for what could not be written"
        );
    }

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
