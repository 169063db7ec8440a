//! CoreDNS' place: the cluster's name server, at the DNS address inside the node namespace.

mod zone;

use std::net::SocketAddr;
use std::time::Duration;

use portolan_dns::{Forwarder, ResolvConf, Role, Server};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

use crate::mirror::{HOSTS_KEY, Mirror};
use crate::network::{Network, NetworkError};

/// Seconds that an answer may be kept (CoreDNS' default for the cluster zone).
const TTL: u32 = 5;
const PORT: u16 = 53;
/// The machine's own resolver, in its own network namespace: it is asked for names outside the cluster.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How long nobody outside is asked after silence: the machine has no network then.
const HOLD_OFF: Duration = Duration::from_secs(5);

/// Opens the sockets and serves in `tasks`.
pub(crate) async fn start(
    network: &Network,
    mirror: Mirror,
    tasks: &mut JoinSet<()>,
) -> Result<(), NetworkError> {
    let address = SocketAddr::new(network.plan().dns_address().into(), PORT);
    let io = |e| NetworkError::io(format!("DNS server on {address}"), e);
    let handle = network.handle().clone();
    let sockets = tokio::task::spawn_blocking(move || {
        Ok::<_, NetworkError>((handle.bind_udp(address)?, handle.listen_tcp(address)?))
    });
    let (udp, tcp) = sockets.await.map_err(|e| io(std::io::Error::other(e)))??;
    let udp = UdpSocket::from_std(udp).map_err(io)?;
    let tcp = TcpListener::from_std(tcp).map_err(io)?;
    let machine = ResolvConf::parse(&tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default());
    let forwarder = Forwarder::new(machine.servers).hold_off(HOLD_OFF);
    let server = Server::new(Role::NameServer, TTL, forwarder);
    tasks.spawn(keep_zone(server.clone(), mirror));
    tasks.spawn(server.clone().serve_udp(udp));
    tasks.spawn(server.serve_tcp(tcp));
    Ok(())
}

async fn keep_zone(server: Server, mut mirror: Mirror) {
    loop {
        let maps = mirror.hosts.state();
        let hosts = maps.first().and_then(|m| m.data.as_ref()).and_then(|d| d.get(HOSTS_KEY));
        server.set_zone(zone::build(
            &mirror.services.state(),
            &mirror.slices.state(),
            hosts.map(String::as_str).unwrap_or_default(),
        ));
        if !mirror.changed().await {
            return;
        }
    }
}
