//! Servers behind the program under test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A server; accepts until the test's runtime ends.
#[derive(Debug)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Peer {
    /// Runs `serve` for each connection, with its number, from 1 on.
    pub async fn new<F: Future<Output = ()> + Send>(
        serve: impl Fn(TcpStream, usize) -> F + Clone + Send + 'static,
    ) -> Peer {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let number = count.fetch_add(1, Relaxed) + 1;
                let serve = serve.clone();
                tokio::spawn(async move { serve(stream, number).await });
            }
        });
        Peer { address, connections }
    }

    /// Sends everything back, and closes its half when the client did.
    pub async fn echo() -> Peer {
        Peer::new(async |mut stream: TcpStream, _| {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        })
        .await
    }

    /// Says its name and closes.
    pub async fn name(name: &'static str) -> Peer {
        Peer::new(async move |mut stream: TcpStream, _| {
            let _ = stream.write_all(name.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        })
        .await
    }

    /// Connections so far.
    pub fn count(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Everything that comes until the end.
pub async fn read_all(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut all = Vec::new();
    let _ = crate::in_time(stream.read_to_end(&mut all)).await;
    String::from_utf8_lossy(&all).into_owned()
}

/// An address where nobody answers: its queue of connections is full.
#[derive(Debug)]
pub struct Busy {
    /// The address.
    pub address: SocketAddr,
    _sockets: Vec<socket2::Socket>,
}

impl Busy {
    /// Listens and fills the queue.
    #[allow(clippy::new_without_default, reason = "opens sockets: more than a default should do")]
    pub fn new() -> Busy {
        let new = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let socket = new();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let mut sockets = vec![socket];
        for _ in 0..4 {
            let filler = new();
            filler.set_nonblocking(true).unwrap();
            let _ = filler.connect(&address.into());
            sockets.push(filler);
        }
        Busy { address, _sockets: sockets }
    }
}
