//! Listening sockets: one per worker on the same address, by SO_REUSEPORT.

use std::io;
use std::net::{SocketAddr, TcpListener};

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait for `accept`, unless configured.
const DEFAULT_BACKLOG: u32 = 4096;

/// How to bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BindOptions {
    pub(crate) address: SocketAddr,
    pub(crate) transparent: bool,
    pub(crate) freebind: bool,
    pub(crate) backlog: Option<u32>,
}

/// The sockets of one address. Workers take theirs once; they close when the accept loops end.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) options: BindOptions,
    pub(crate) local: SocketAddr,
    sockets: Mutex<Vec<Option<TcpListener>>>,
}

impl Bound {
    /// Binds `workers` sockets.
    pub(crate) fn open(options: BindOptions, workers: usize) -> io::Result<Bound> {
        let first = bind(&options, options.address)?;
        let local = first.local_addr()?;
        let mut sockets = vec![Some(first)];
        for _ in 1..workers {
            // With port 0 the others take the port that the first one got.
            sockets.push(Some(bind(&options, local)?));
        }
        Ok(Bound { options, local, sockets: Mutex::new(sockets) })
    }

    /// The socket of a worker, the first time.
    pub(crate) fn take(&self, worker: usize) -> Option<TcpListener> {
        self.sockets.lock().get_mut(worker)?.take()
    }
}

fn bind(options: &BindOptions, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if options.transparent {
        socket.set_ip_transparent_v4(true)?;
    }
    if options.freebind {
        socket.set_freebind_v4(true)?;
    }
    socket.bind(&address.into())?;
    let backlog = options.backlog.unwrap_or(DEFAULT_BACKLOG).min(i32::MAX as u32) as i32;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
