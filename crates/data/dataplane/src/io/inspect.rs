//! The listener filters: what a connection starts with decides its filter chain.

use bytes::BytesMut;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::hello::{self, Hello};

/// First line of HTTP that is waited for at most.
const MAX_FIRST_LINE: usize = 8 * 1024;
/// Start of an HTTP/2 connection.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// What the inspectors found.
#[derive(Debug, Default)]
pub(crate) struct Inspected {
    pub(crate) is_tls: bool,
    pub(crate) sni: Option<String>,
    /// ALPN, or what the HTTP inspector made of plaintext.
    pub(crate) protocols: Vec<Vec<u8>>,
}

/// Reads into `prefix` until it is clear what is spoken, or the peer ends.
pub(crate) async fn inspect(
    stream: &mut TcpStream,
    prefix: &mut BytesMut,
    tls: bool,
    http: bool,
    found: &mut Inspected,
) -> std::io::Result<()> {
    let mut tls_open = tls;
    loop {
        if tls_open && !prefix.is_empty() {
            match hello::parse(prefix) {
                Hello::Tls { sni, alpn } => {
                    *found = Inspected { is_tls: true, sni, protocols: alpn };
                    return Ok(());
                }
                Hello::NotTls => tls_open = false,
                // Already known to be TLS, should the rest never come.
                Hello::Partial => found.is_tls = true,
            }
            if !tls_open {
                found.is_tls = false;
            }
        }
        if !tls_open {
            if !http {
                return Ok(());
            }
            match http_version(prefix) {
                Guess::More => {}
                Guess::No => return Ok(()),
                Guess::Is(protocol) => {
                    found.protocols = vec![protocol.as_bytes().to_vec()];
                    return Ok(());
                }
            }
        }
        if prefix.len() > hello::MAX_HELLO + MAX_FIRST_LINE {
            return Ok(());
        }
        if stream.read_buf(prefix).await? == 0 {
            return Ok(());
        }
    }
}

enum Guess {
    More,
    No,
    Is(&'static str),
}

fn http_version(bytes: &[u8]) -> Guess {
    if bytes.starts_with(H2_PREFACE) {
        return Guess::Is("h2c");
    }
    if bytes.is_empty() || H2_PREFACE.starts_with(bytes) {
        return Guess::More;
    }
    let Some(end) = memchr::memchr(b'\n', bytes) else {
        let method = bytes.iter().take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-').count();
        let plausible = match bytes.get(method) {
            None => method <= 32,
            Some(b' ') => {
                method > 0 && bytes[method..].iter().all(|byte| (0x20..0x7f).contains(byte) || *byte == b'\r')
            }
            Some(_) => false,
        };
        return if plausible && bytes.len() < MAX_FIRST_LINE { Guess::More } else { Guess::No };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    if line.ends_with(b" HTTP/1.1") {
        Guess::Is("http/1.1")
    } else if line.ends_with(b" HTTP/1.0") {
        Guess::Is("http/1.0")
    } else {
        Guess::No
    }
}
