//! Checks in the running namespace that capture works: a connection of this process must arrive at the outbound port
//! with its original destination kept.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use ipnet::IpNet;
use socket2::{SockAddr, SockRef};

use crate::model::{Family, Rules};
use portolan_names::ports;

/// How long the probe connection may take (istio-iptables' value).
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// TEST-NET-1: nobody owns it, so a connection that is not captured cannot succeed.
const PROBE_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Why capture does not work.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// Something listens where the proxy has to.
    #[error("port {port} is taken in this network namespace ({source}): only the proxy may listen there")]
    Listen {
        /// The port.
        port: u16,
        /// The reason.
        source: io::Error,
    },
    /// The probe did not arrive.
    #[error(
        "a connection to {target} did not arrive at port {port} ({source}): the rules are not in effect in this network \
         namespace, or the probe runs as the proxy's own user, which is not captured"
    )]
    NotCaptured {
        /// Where the probe went.
        target: SocketAddr,
        /// Where it should have arrived.
        port: u16,
        /// The reason.
        source: io::Error,
    },
    /// Arrived, but without its destination.
    #[error("the original destination of the probe was lost: expected {expected}, found {found}")]
    OriginalDestination {
        /// What the probe asked for.
        expected: SocketAddr,
        /// What the kernel says.
        found: String,
    },
}

/// Connects to an address that the rules must capture. Must run before the proxy listens. `Ok(false)`: the rules capture no
/// IPv4 destination that could be probed.
pub fn validate(rules: &Rules) -> Result<bool, ValidateError> {
    let Some(address) = probe_address(rules) else { return Ok(false) };
    let target = SocketAddr::V4(SocketAddrV4::new(address, ports::CAPTURE_VALIDATION));
    let port = rules.outbound_port;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .map_err(|source| ValidateError::Listen { port, source })?;
    let not_captured = |source| ValidateError::NotCaptured { target, port, source };
    // The kernel completes the handshake from the backlog, so one thread is enough.
    let probe = TcpStream::connect_timeout(&target, PROBE_TIMEOUT).map_err(not_captured)?;
    listener.set_nonblocking(true).map_err(not_captured)?;
    let (accepted, _) = listener.accept().map_err(not_captured)?;
    let found = SockRef::from(&accepted).original_dst_v4();
    drop(probe);
    kept(target, found)
}

/// Whether the kernel kept where a connection was going to.
fn kept(expected: SocketAddr, found: io::Result<SockAddr>) -> Result<bool, ValidateError> {
    match found {
        Ok(addr) if addr.as_socket() == Some(expected) => Ok(true),
        Ok(addr) => Err(ValidateError::OriginalDestination { expected, found: format!("{addr:?}") }),
        Err(error) => Err(ValidateError::OriginalDestination { expected, found: error.to_string() }),
    }
}

fn probe_address(rules: &Rules) -> Option<Ipv4Addr> {
    let candidate = match rules.included(Family::V4) {
        None => PROBE_ADDRESS,
        Some(nets) => nets.iter().find_map(|net| match net {
            IpNet::V4(net) => net.hosts().next(),
            IpNet::V6(_) => None,
        })?,
    };
    let excluded = rules.networks_exclude.iter().any(|net| net.contains(&IpAddr::V4(candidate)));
    (!excluded && !rules.outbound_exclude.contains(&ports::CAPTURE_VALIDATION)).then_some(candidate)
}

#[cfg(test)]
mod tests;
