//! What the server must be told.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::BoxFuture;
use ipnet::Ipv4Net;
use tokio::net::TcpStream;

use crate::logs::{NoLogs, PodLogs};
use crate::store::Window;

/// Opens connections to addresses of Services and Pods, which only the cluster's own network reaches.
pub type Dialer = Arc<dyn Fn(SocketAddr) -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync>;

/// Opens connections to a port of a Pod, by the Pod's uid, as a port-forward does.
pub type PodDialer = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<TcpStream>> + Send + Sync>;

/// For a server without a node runtime.
#[must_use]
pub(crate) fn no_pods() -> PodDialer {
    Arc::new(|_, _| Box::pin(async { Err(io::Error::other("this server has no node that runs Pods")) }))
}

/// A dialer for a network that this process is part of.
#[must_use]
pub fn direct_dialer() -> Dialer {
    Arc::new(|address| Box::pin(TcpStream::connect(address)))
}

/// The server's configuration.
pub struct Config {
    /// Name of the cluster, as it stands in the kubeconfig.
    pub cluster_name: String,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// The database file.
    pub store_path: PathBuf,
    /// Directory of keys and certificates.
    pub pki_dir: PathBuf,
    /// Bound sockets; all of them speak TLS. The first one's address goes into the kubeconfig.
    pub listeners: Vec<std::net::TcpListener>,
    /// Range of Service addresses; its first is the API server's, its tenth is kept for DNS.
    pub service_cidr: Ipv4Net,
    /// Ports of Services of type NodePort and LoadBalancer.
    pub node_ports: std::ops::RangeInclusive<u16>,
    /// Where Pods reach the API server behind the Service `kubernetes`: the node's address and port.
    pub advertise: Option<SocketAddr>,
    /// More names for the serving certificate.
    pub extra_names: Vec<String>,
    /// More addresses for the serving certificate.
    pub extra_addresses: Vec<IpAddr>,
    /// Opens connections to admission webhooks.
    pub dial: Dialer,
    /// Opens connections for the `proxy` sub-resource of Pods.
    pub dial_pod: PodDialer,
    /// Reads the logs of containers.
    pub logs: Arc<dyn PodLogs>,
    /// How much history the store keeps for watches.
    pub window: Window,
}

impl Config {
    /// Everything below `state_dir`, the usual ranges, direct connections, no logs.
    #[must_use]
    pub fn new(state_dir: &Path, listeners: Vec<std::net::TcpListener>) -> Config {
        Config {
            cluster_name: "portolan".into(),
            cluster_domain: "cluster.local".into(),
            store_path: state_dir.join("store.db"),
            pki_dir: state_dir.join("pki"),
            listeners,
            service_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16),
            node_ports: 30000..=32767,
            advertise: None,
            extra_names: Vec::new(),
            extra_addresses: Vec::new(),
            dial: direct_dialer(),
            dial_pod: no_pods(),
            logs: Arc::new(NoLogs),
            window: Window::default(),
        }
    }
}
