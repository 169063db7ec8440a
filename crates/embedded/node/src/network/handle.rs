//! Threads that live inside a network namespace: one opens sockets there, one runs programs, so that a program that
//! takes its time keeps nobody from connecting.
//!
//! A socket belongs to the namespace of the thread that made it, for ever: so it is made here and then used by any thread.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::mpsc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;

use super::command;
use super::error::NetworkError;

/// Jobs that may wait for the thread; each takes milliseconds.
const QUEUE: usize = 256;
/// Listen backlog.
const BACKLOG: i32 = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Runs work inside one network namespace. Cheap to clone; its threads end with the last clone.
#[derive(Clone)]
pub struct NetnsHandle {
    sockets: Thread,
    programs: Thread,
    name: std::sync::Arc<str>,
}

impl std::fmt::Debug for NetnsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetnsHandle").field("name", &self.name).finish()
    }
}

/// One thread in the namespace; it ends with the last clone.
#[derive(Clone)]
struct Thread(mpsc::SyncSender<Job>);

impl Thread {
    fn start(netns: &str, what: &str) -> Result<Thread, NetworkError> {
        let path = format!("/run/netns/{netns}");
        let file = std::fs::File::open(&path).map_err(|e| NetworkError::io(format!("opening {path}"), e))?;
        let (jobs, queue) = mpsc::sync_channel::<Job>(QUEUE);
        let (ready, entered) = mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name(format!("{what}-{netns}"))
            .spawn(move || {
                let moved = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
                let failed = moved.is_err();
                let _ = ready.send(moved);
                if failed {
                    return;
                }
                while let Ok(job) = queue.recv() {
                    job();
                }
            })
            .map_err(|e| NetworkError::io("starting the namespace thread", e))?;
        match entered.recv() {
            Ok(Ok(())) => Ok(Thread(jobs)),
            Ok(Err(error)) => Err(NetworkError::io(format!("entering network namespace {netns}"), error)),
            Err(_) => Err(NetworkError::Closed),
        }
    }

    fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NetworkError> {
        let (tx, rx) = mpsc::sync_channel(1);
        let job: Job = Box::new(move || {
            let _ = tx.send(work());
        });
        self.0.send(job).map_err(|_| NetworkError::Closed)?;
        rx.recv().map_err(|_| NetworkError::Closed)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NetworkError> {
        let (tx, rx) = oneshot::channel();
        let mut job: Job = Box::new(move || {
            let _ = tx.send(work());
        });
        // A full queue is rare and short; a blocking send would hold up the whole runtime.
        loop {
            match self.0.try_send(job) {
                Ok(()) => break,
                Err(mpsc::TrySendError::Disconnected(_)) => return Err(NetworkError::Closed),
                Err(mpsc::TrySendError::Full(back)) => {
                    job = back;
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
        }
        rx.await.map_err(|_| NetworkError::Closed)
    }
}

impl NetnsHandle {
    /// Starts the threads in the named namespace.
    pub fn enter(netns: &str) -> Result<NetnsHandle, NetworkError> {
        let (sockets, programs) = (Thread::start(netns, "net")?, Thread::start(netns, "run")?);
        Ok(NetnsHandle { sockets, programs, name: netns.into() })
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As [`NetnsHandle::run`], blocking.
    pub fn run_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NetworkError> {
        self.sockets.run_blocking(work)
    }

    /// Runs `work`, which opens sockets or the like, inside the namespace and waits. It holds up all others that do
    /// the same: no waiting in it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NetworkError> {
        self.sockets.run(work).await
    }

    /// Runs `work`, which starts a program, inside the namespace and waits.
    pub async fn run_program<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NetworkError> {
        self.programs.run(work).await
    }

    /// Opens a listening TCP socket (non-blocking, ready for `tokio::net::TcpListener::from_std`). Blocks shortly.
    pub fn listen_tcp(&self, address: SocketAddr) -> Result<TcpListener, NetworkError> {
        self.sockets
            .run_blocking(move || {
                let socket = tcp_socket(address)?;
                socket.set_reuse_address(true)?;
                socket.bind(&address.into())?;
                socket.listen(BACKLOG)?;
                Ok::<_, io::Error>(TcpListener::from(socket))
            })?
            .map_err(|e| NetworkError::io(format!("listening on {address} in {}", self.name), e))
    }

    /// Opens a bound UDP socket (non-blocking, ready for `tokio::net::UdpSocket::from_std`). Blocks shortly.
    pub fn bind_udp(&self, address: SocketAddr) -> Result<UdpSocket, NetworkError> {
        self.sockets
            .run_blocking(move || {
                let socket = UdpSocket::bind(address)?;
                socket.set_nonblocking(true)?;
                Ok::<_, io::Error>(socket)
            })?
            .map_err(|e| NetworkError::io(format!("binding udp {address} in {}", self.name), e))
    }

    /// Connects from inside the namespace: to a Pod, a ClusterIP, a LoadBalancer address. The caller sets the deadline.
    pub async fn connect(&self, address: SocketAddr) -> Result<TcpStream, NetworkError> {
        let failed = |e| NetworkError::io(format!("connecting to {address} from {}", self.name), e);
        let socket = self.run(move || tcp_socket(address)).await?.map_err(failed)?;
        TcpSocket::from_std_stream(socket.into()).connect(address).await.map_err(failed)
    }

    pub(crate) fn ip_batch_blocking(&self, lines: String) -> Result<(), NetworkError> {
        Ok(self.programs.run_blocking(move || command::ip_batch(&lines))??)
    }

    pub(crate) fn write_sysctl_blocking(
        &self,
        name: &'static str,
        value: &'static str,
    ) -> Result<(), NetworkError> {
        // /proc/sys/net shows the namespace of the thread that opens it.
        self.sockets
            .run_blocking(move || std::fs::write(format!("/proc/sys/{name}"), value))?
            .map_err(|e| NetworkError::io(format!("setting {name}"), e))
    }

    pub(crate) async fn ip_batch(&self, lines: String) -> Result<(), NetworkError> {
        Ok(self.programs.run(move || command::ip_batch(&lines)).await??)
    }

    /// Goes on after lines that fail, for removals of what may be gone.
    pub(crate) async fn ip_batch_forced(&self, lines: String) -> Result<(), NetworkError> {
        let outcome =
            self.programs.run(move || command::run("ip", &["-force", "-batch", "-"], &lines)).await?;
        if let Err(error) = outcome {
            tracing::debug!(%error, "ip batch");
        }
        Ok(())
    }

    pub(crate) async fn ip_batch_in(&self, netns: &str, lines: String) -> Result<(), NetworkError> {
        let netns = netns.to_owned();
        let work = move || command::run("ip", &["-n", &netns, "-batch", "-"], &lines).map(drop);
        Ok(self.programs.run(work).await??)
    }

    /// Loads nftables rules in one transaction.
    pub(crate) async fn nft(&self, rules: String) -> Result<(), NetworkError> {
        Ok(self.programs.run(move || command::run("nft", &["-f", "-"], &rules).map(drop)).await??)
    }
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
