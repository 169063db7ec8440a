//! Memory of idle connections. Every round starts its proxies anew: memory that was once used is rarely given back.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::configuration::{BODY, HOST};
use crate::contender::{Bench, Contender};
use crate::error::BenchError;
use crate::load;
use crate::report::ScenarioReport;
use crate::rounds::IdleRound;
use crate::scenario::{Implementation, Scenario};
use crate::statistics::rotated;

/// Load before the first look, so that what is needed once is there.
const WARM_UP: Duration = Duration::from_secs(1);
/// Connections of that load: few, because their memory is reused by those that are measured.
const WARM_UP_CONNECTIONS: u32 = 2;
/// Connections that are open before those that are measured: they take what starting up and the load left free in the
/// allocator's pages, which would hide what a connection needs.
const OPEN_BEFORE: u32 = 3000;
/// Time in which a proxy may put away what an idle connection does not need.
const SETTLE: Duration = Duration::from_secs(2);
/// Longest wait for one connection and its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

pub(crate) async fn measure(
    bench: &Bench<'_>,
    scenario: &'static Scenario,
    connections: u32,
) -> Result<ScenarioReport, BenchError> {
    let implementations = scenario.implementations(bench.options.baseline.is_some());
    let mut rounds: Vec<(Implementation, Vec<IdleRound>)> =
        implementations.iter().map(|implementation| (*implementation, Vec::new())).collect();
    for round in 0..bench.options.rounds() as usize {
        for turn in rotated(implementations.len(), round) {
            let Some((implementation, rounds)) = rounds.get_mut(turn) else { continue };
            let contender = bench.start(scenario, *implementation, round).await?;
            rounds.push(one(bench, &contender, connections).await?);
            for process in contender.processes {
                process.end().await;
            }
        }
    }
    Ok(ScenarioReport::of_idle(scenario, rounds))
}

async fn one(bench: &Bench<'_>, contender: &Contender, connections: u32) -> Result<IdleRound, BenchError> {
    let warm = load::wrk(&bench.folder, contender.entry, WARM_UP_CONNECTIONS, WARM_UP).await?;
    sleep(SETTLE).await;
    let start = contender.memory()?;
    let mut open = Vec::new();
    let mut errors = warm.errors + open_more(contender.entry, OPEN_BEFORE, &mut open).await;
    sleep(SETTLE).await;
    let before = contender.memory()?;
    errors += open_more(contender.entry, connections, &mut open).await;
    sleep(SETTLE).await;
    let after = contender.memory()?;
    // A connection that was closed behind our back is not an idle one.
    errors += open.iter().filter(|stream| stream.try_read(&mut [0]).is_ok()).count() as u64;
    let count = f64::from(connections);
    Ok(IdleRound {
        errors,
        base_anonymous: start.anonymous,
        base_resident: start.resident,
        anonymous: (after.anonymous - before.anonymous) / count,
        resident: (after.resident - before.resident) / count,
    })
}

/// Opens connections one after the other; gives the number of those that failed.
async fn open_more(port: u16, connections: u32, open: &mut Vec<TcpStream>) -> u64 {
    let mut failed = 0;
    for _ in 0..connections {
        match timeout(ANSWER_WITHIN, one_request(port)).await {
            Ok(Ok(stream)) => open.push(stream),
            _ => failed += 1,
        }
    }
    failed
}

/// A connection that has had one request and its whole answer.
async fn one_request(port: u16) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(format!("GET /products/1 HTTP/1.1\r\nhost: {HOST}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    while !(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(BODY.as_bytes())) {
        let read = stream.read(&mut buffer).await?;
        if read == 0 || answer.len() > buffer.len() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    Ok(stream)
}
