//! What configuration means to the system: files and environment variables that resources name, read on the thread that
//! applies the resources, and socket options.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use portolan_dataplane_config::value::{External, Invalid, Keepalive, Valid};

/// Longest accepted file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Reads a file at most once, when its resource is compiled.
pub(crate) fn load(from: External<'_>) -> Valid<Option<Vec<u8>>> {
    match from {
        External::File(path) => {
            let cannot = |error: std::io::Error| Invalid(format!("cannot read {path}: {error}"));
            if std::fs::metadata(path).map_err(cannot)?.len() > MAX_FILE_BYTES {
                return Err(Invalid(format!("{path} is larger than {MAX_FILE_BYTES} bytes")));
            }
            std::fs::read(path).map(Some).map_err(cannot)
        }
        External::Variable(name) => match std::env::var(name) {
            Ok(text) => Ok(Some(text.into_bytes())),
            Err(_) => Err(Invalid(format!("environment variable {name} is not set"))),
        },
    }
}

/// The address by which this machine reaches others (RFC 5737 has the one that is asked for; nothing is sent to it), or
/// loopback.
pub(crate) fn own_address() -> IpAddr {
    let address = || {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    address().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

/// Socket options of a keepalive.
pub(crate) fn keepalive(from: Keepalive) -> socket2::TcpKeepalive {
    let mut keepalive = socket2::TcpKeepalive::new();
    if let Some(time) = from.time {
        keepalive = keepalive.with_time(time);
    }
    if let Some(interval) = from.interval {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(probes) = from.probes {
        keepalive = keepalive.with_retries(probes);
    }
    keepalive
}
