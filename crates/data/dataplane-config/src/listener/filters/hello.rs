//! Reads SNI and ALPN from a TLS ClientHello without I/O, however it is cut into records and reads.

/// Largest ClientHello (Envoy: 64 KiB); post-quantum key shares need a few.
pub(super) const MAX_HELLO: usize = 64 * 1024;
/// Most ALPN names that are looked at.
const MAX_PROTOCOLS: usize = 64;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hello {
    /// More bytes are needed.
    Partial,
    /// This is not TLS.
    NotTls,
    /// A ClientHello.
    Tls { sni: Option<String>, alpn: Vec<Vec<u8>> },
}

/// Looks at the first bytes of a connection.
pub(super) fn parse(bytes: &[u8]) -> Hello {
    let mut handshake = Vec::new();
    let mut rest = bytes;
    loop {
        // A record: type 22, version 3.x, length.
        match rest {
            [] => return Hello::Partial,
            [22] | [22, 3] => return Hello::Partial,
            [22, 3, minor, ..] if *minor > 4 => return Hello::NotTls,
            [22, 3, _] | [22, 3, _, _] => return Hello::Partial,
            [22, 3, _, high, low, body @ ..] => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if length == 0 || length > 16 * 1024 + 256 {
                    return Hello::NotTls;
                }
                handshake.extend_from_slice(&body[..length.min(body.len())]);
                match complete(&handshake) {
                    Some(hello) => return hello,
                    None if body.len() < length => return Hello::Partial,
                    None => rest = &body[length..],
                }
            }
            _ => return Hello::NotTls,
        }
    }
}

/// The hello if all of it is there; always something once there is more than [`MAX_HELLO`] and a header.
fn complete(handshake: &[u8]) -> Option<Hello> {
    match handshake.first() {
        None => return None,
        Some(1) => {}
        Some(_) => return Some(Hello::NotTls),
    }
    let length = match handshake.get(1..4) {
        Some([a, b, c]) => usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c),
        _ => return None,
    };
    if length > MAX_HELLO {
        return Some(Hello::NotTls);
    }
    let body = handshake.get(4..4 + length)?;
    Some(extensions(body).unwrap_or(Hello::NotTls))
}

/// Cuts a length-prefixed piece off the front.
fn take<'a>(from: &mut &'a [u8], prefix: usize) -> Option<&'a [u8]> {
    let (length, rest) = from.split_at_checked(prefix)?;
    let length = length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
    let (piece, rest) = rest.split_at_checked(length)?;
    *from = rest;
    Some(piece)
}

fn extensions(body: &[u8]) -> Option<Hello> {
    // Version and random.
    let mut rest = body.get(34..)?;
    take(&mut rest, 1)?;
    take(&mut rest, 2)?;
    take(&mut rest, 1)?;
    let (mut sni, mut alpn) = (None, Vec::new());
    if rest.is_empty() {
        return Some(Hello::Tls { sni, alpn });
    }
    let mut list = take(&mut rest, 2)?;
    while let Some((kind, after)) = list.split_at_checked(2).filter(|(kind, _)| kind.len() == 2) {
        list = after;
        let mut value = take(&mut list, 2)?;
        match kind {
            [0, 0] => {
                let mut names = take(&mut value, 2)?;
                while let Some((kind, after)) = names.split_first() {
                    names = after;
                    let name = take(&mut names, 2)?;
                    if *kind == 0 && sni.is_none() {
                        sni = std::str::from_utf8(name).ok().map(str::to_ascii_lowercase);
                    }
                }
            }
            [0, 16] => {
                let mut names = take(&mut value, 2)?;
                while !names.is_empty() && alpn.len() < MAX_PROTOCOLS {
                    alpn.push(take(&mut names, 1)?.to_vec());
                }
            }
            _ => {}
        }
    }
    Some(Hello::Tls { sni, alpn })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn client_hello() -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"portolan-h2".to_vec(), b"istio".to_vec()];
        let name = "outbound_.8080_._.reviews.bookinfo.svc.cluster.local".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut out = Vec::new();
        client.write_tls(&mut out).unwrap();
        out
    }

    #[test]
    fn split_at_every_byte() {
        let hello = client_hello();
        for end in 0..hello.len() {
            assert_eq!(parse(&hello[..end]), Hello::Partial, "{end}");
        }
        let Hello::Tls { sni, alpn } = parse(&hello) else { panic!("not TLS") };
        assert_eq!(sni.as_deref(), Some("outbound_.8080_._.reviews.bookinfo.svc.cluster.local"));
        assert_eq!(alpn, [b"portolan-h2".to_vec(), b"istio".to_vec()]);
    }

    #[test]
    fn several_records() {
        let hello = client_hello();
        let mut cut = Vec::new();
        for piece in hello[5..].chunks(7) {
            cut.extend_from_slice(&[22, 3, 1, 0, piece.len() as u8]);
            cut.extend_from_slice(piece);
        }
        assert!(matches!(parse(&cut), Hello::Tls { .. }));
    }

    #[test]
    fn other_protocols() {
        for bytes in
            [&b"GET / HTTP/1.1\r\n"[..], &[22, 9, 1], &[22, 3, 1, 0, 0], &[22, 3, 1, 0, 1, 2], b"\x00"]
        {
            assert_eq!(parse(bytes), Hello::NotTls, "{bytes:?}");
        }
        // Lengths that lie.
        let mut bad = client_hello();
        // Record, handshake header, version and random come first, then the session id and its length: the next length
        // is that of the cipher suites.
        let suites = 44 + usize::from(bad[43]);
        bad[suites..suites + 2].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(parse(&bad), Hello::NotTls);
    }

    #[test]
    fn records_have_a_version_and_a_length() {
        for (bytes, wanted) in [
            (vec![22, 3, 4], Hello::Partial),
            (vec![22, 3, 5], Hello::NotTls),
            (vec![22, 3, 6, 0, 1], Hello::NotTls),
            // 16 KiB and what encryption adds.
            (vec![22, 3, 1, 0x41, 0x00], Hello::Partial),
            (vec![22, 3, 1, 0x41, 0x01], Hello::NotTls),
            (vec![22, 3, 1, 0x4e, 0x20], Hello::NotTls),
        ] {
            assert_eq!(parse(&bytes), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn a_hello_has_a_longest_length() {
        // One record with the header of a hello that announces so many bytes.
        let announced = |length: [u8; 3]| parse(&[&[22, 3, 1, 0, 4, 1], &length[..]].concat());
        assert_eq!(announced([1, 0, 0]), Hello::Partial);
        assert_eq!(announced([1, 0, 1]), Hello::NotTls);
        assert_eq!(announced([2, 0, 0]), Hello::NotTls);
    }

    /// Bytes behind their length in `prefix` bytes.
    fn sized(prefix: usize, bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes()[4 - prefix..], bytes].concat()
    }

    /// What is found in a hello with these extensions.
    fn found(extensions: &[(u16, Vec<u8>)]) -> (Option<String>, Vec<Vec<u8>>) {
        let list: Vec<u8> = extensions
            .iter()
            .flat_map(|(kind, value)| [kind.to_be_bytes().to_vec(), sized(2, value)].concat())
            .collect();
        let body = [vec![0; 34], sized(1, &[]), sized(2, &[19, 1]), sized(1, &[0]), sized(2, &list)].concat();
        let hello = [vec![1], sized(3, &body)].concat();
        match parse(&[vec![22, 3, 1], sized(2, &hello)].concat()) {
            Hello::Tls { sni, alpn } => (sni, alpn),
            other => panic!("{other:?}"),
        }
    }

    fn names(names: &[(u8, &str)]) -> (u16, Vec<u8>) {
        let list: Vec<u8> =
            names.iter().flat_map(|(kind, name)| [vec![*kind], sized(2, name.as_bytes())].concat()).collect();
        (0, sized(2, &list))
    }

    #[test]
    fn the_first_host_name_counts() {
        assert_eq!(found(&[names(&[(0, "A.example"), (0, "b.example")])]).0.as_deref(), Some("a.example"));
        assert_eq!(found(&[names(&[(1, "x"), (0, "a.example")])]).0.as_deref(), Some("a.example"));
        assert_eq!(found(&[names(&[(1, "x")])]).0, None);
    }

    #[test]
    fn extensions_of_any_length_stand_in_front() {
        let long = (21, vec![0; 300]);
        assert_eq!(found(&[long, names(&[(0, "a.example")])]).0.as_deref(), Some("a.example"));
    }

    #[test]
    fn no_more_protocols_are_looked_at_than_allowed() {
        let all: Vec<u8> = (0..=MAX_PROTOCOLS).flat_map(|at| sized(1, &[at as u8])).collect();
        assert_eq!(found(&[(16, sized(2, &all))]).1.len(), MAX_PROTOCOLS);
    }
}
