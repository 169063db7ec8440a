//! The floor: one small TLS record to each of as many connections, by a program that does nothing else. Nobody who keeps a
//! connection per proxy can tell them anything for less.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use parking_lot::Mutex;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::api::certificates;
use super::cpu::Threads;
use super::credentials::{Authority, Credentials};
use super::wait::until;
use crate::configuration::free_port;
use crate::error::BenchError;
use crate::process::Process;
use crate::statistics::{Spread, percentile, spread};

/// With TLS 1.3's 22 bytes around it, a record of 200.
const PAYLOAD: [u8; 178] = [b'x'; 178];
/// Records to each connection, one round after the other.
const ROUNDS: usize = 15;
/// Between the arrival of the last record and the look at the CPU.
const SETTLE: Duration = Duration::from_millis(100);
/// How long a round, a handshake or the start may take.
const WITHIN: Duration = Duration::from_secs(30);
/// How often the server is tried.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// The command line of the server.
#[derive(Debug, Args)]
pub(crate) struct FloorOptions {
    /// Port of the connections.
    #[arg(long)]
    port: u16,
    /// Port of the connection whose bytes each stand for a record to everybody.
    #[arg(long)]
    control_port: u16,
    /// Folder of the certificate.
    #[arg(long)]
    folder: PathBuf,
}

/// What a record costs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Floor {
    pub(crate) connections: usize,
    pub(crate) server_us: Option<Spread>,
    pub(crate) client_us: Option<Spread>,
    pub(crate) p50_ms: Option<Spread>,
    pub(crate) p99_ms: Option<Spread>,
}

/// The server: a task per connection, woken for each round.
pub(crate) fn serve(options: &FloorOptions) -> Result<(), BenchError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(BenchError::Runtime)?;
    runtime.block_on(async {
        let read = |name: &str| {
            let path = options.folder.join(name);
            std::fs::read(&path).map_err(|source| BenchError::File { path, source })
        };
        let failed = |error: &dyn std::fmt::Display| BenchError::Client(error.to_string());
        let key = PrivateKeyDer::from_pem_slice(&read("floor.key")?).map_err(|error| failed(&error))?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(certificates(&read("floor.pem")?)?, key)
            .map_err(|error| failed(&error))?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let bind =
            async |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(BenchError::Resources);
        let (listener, control) = (bind(options.port).await?, bind(options.control_port).await?);
        let rounds = watch::Sender::new(0_u64);
        let told = rounds.subscribe();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(write(acceptor.clone(), socket, told.clone()));
            }
        });
        let (mut control, _) = control.accept().await.map_err(BenchError::Resources)?;
        while control.read_u8().await.is_ok() {
            rounds.send_modify(|round| *round += 1);
        }
        Ok(())
    })
}

async fn write(acceptor: TlsAcceptor, socket: TcpStream, mut rounds: watch::Receiver<u64>) {
    let Ok(Ok(mut stream)) = timeout(WITHIN, acceptor.accept(socket)).await else { return };
    while rounds.changed().await.is_ok() {
        if stream.write_all(&PAYLOAD).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// Records that have arrived in this round, by the time since its beginning.
#[derive(Debug)]
struct Round {
    since: Instant,
    arrived: Vec<f64>,
}

/// Measures it with as many connections.
pub(crate) async fn measure(connections: usize, folder: &Path) -> Result<Floor, BenchError> {
    let authority = Authority::own()?;
    let made = authority.issue("floor", "floor", &["localhost".to_owned()])?;
    for (name, text) in [("floor.pem", &made.chain), ("floor.key", &made.key)] {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|source| BenchError::File { path, source })?;
    }
    let (port, control_port) = (free_port()?, free_port()?);
    let own = std::env::current_exe().map_err(BenchError::Resources)?;
    let arguments = [
        "floor",
        "--port",
        &port.to_string(),
        "--control-port",
        &control_port.to_string(),
        "--folder",
        &folder.display().to_string(),
    ]
    .map(str::to_owned);
    let mut server = Process::spawn("the floor's server", &own, &arguments, folder.join("floor.log"))?;
    let mut control = connect(control_port, &mut server).await?;
    let round = Arc::new(Mutex::new(Round { since: Instant::now(), arrived: Vec::new() }));
    let _readers = readers(connections, port, &made, &round).await?;

    let (mut server_us, mut client_us, mut p50, mut p99) = (vec![], vec![], vec![], vec![]);
    let per_connection = |milliseconds: f64| milliseconds * 1e3 / connections as f64;
    for _ in 0..ROUNDS {
        let before = (Threads::of(server.pid())?, Threads::of(std::process::id())?);
        *round.lock() = Round { since: Instant::now(), arrived: Vec::with_capacity(connections) };
        control.write_all(b"r").await.map_err(BenchError::Resources)?;
        if !until(WITHIN, || round.lock().arrived.len() == connections).await {
            return Err(BenchError::Client("a record of the floor has not arrived".to_owned()));
        }
        sleep(SETTLE).await;
        server_us.push(per_connection(before.0.milliseconds_until(&Threads::of(server.pid())?)));
        client_us.push(per_connection(before.1.milliseconds_until(&Threads::of(std::process::id())?)));
        let arrived = std::mem::take(&mut round.lock().arrived);
        p50.extend(percentile(&arrived, 50.0));
        p99.extend(percentile(&arrived, 99.0));
    }
    server.end().await;
    Ok(Floor {
        connections,
        server_us: spread(server_us),
        client_us: spread(client_us),
        p50_ms: spread(p50),
        p99_ms: spread(p99),
    })
}

/// Connects as soon as the server listens.
async fn connect(port: u16, server: &mut Process) -> Result<TcpStream, BenchError> {
    let deadline = Instant::now() + WITHIN;
    loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => return Err(BenchError::Resources(error)),
            Err(_) => server.alive()?,
        }
        sleep(TRY_EVERY).await;
    }
}

/// Opens the connections; each notes when a record is there.
async fn readers(
    connections: usize,
    port: u16,
    credentials: &Credentials,
    round: &Arc<Mutex<Round>>,
) -> Result<JoinSet<()>, BenchError> {
    let failed = |error: &dyn std::fmt::Display| BenchError::Client(error.to_string());
    let mut roots = RootCertStore::empty();
    for root in certificates(credentials.roots.as_bytes())? {
        roots.add(root).map_err(|error| failed(&error))?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let mut readers = JoinSet::new();
    for _ in 0..connections {
        let name = ServerName::try_from("localhost").map_err(|error| failed(&error))?;
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(BenchError::Resources)?;
        let mut stream = connector.connect(name, socket).await.map_err(BenchError::Resources)?;
        let round = round.clone();
        readers.spawn(async move {
            let mut record = PAYLOAD;
            while stream.read_exact(&mut record).await.is_ok() {
                let mut round = round.lock();
                let after = round.since.elapsed().as_secs_f64() * 1e3;
                round.arrived.push(after);
            }
        });
    }
    Ok(readers)
}
